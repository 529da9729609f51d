"""What the device says of itself."""

import torch


def device_memory() -> tuple[int, int] | None:
    """Bytes free and in all; None: the engine is on no GPU."""
    return torch.cuda.mem_get_info() if torch.cuda.is_available() else None
