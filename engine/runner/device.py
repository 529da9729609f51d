"""Questions to the CUDA device, and copies to it."""

from collections.abc import Sequence
from typing import Any

import torch


def device_memory() -> tuple[int, int] | None:
    """Return free and total bytes of the GPU's memory, or None without a GPU."""
    return torch.cuda.mem_get_info() if torch.cuda.is_available() else None


def is_device_error(error: BaseException) -> bool:
    """Return whether the CUDA context is gone: every later call fails too."""
    accelerator_error = getattr(torch, "AcceleratorError", None)  # torch ≥ 2.8
    if accelerator_error is not None and isinstance(error, accelerator_error):
        return True
    return isinstance(error, RuntimeError) and ("CUDA error" in str(error) or "device-side assert" in str(error))


def to_device(values: Sequence[Any], device: torch.device, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Create a small tensor on the device, in stream order and without a synchronisation.

    ``torch.tensor(…, device="cuda")`` waits until the device has done all earlier work.
    """
    if device.type == "cpu":
        return torch.tensor(values, dtype=dtype)
    return torch.tensor(values, dtype=dtype, pin_memory=True).to(device, non_blocking=True)


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor of the host to the device, in stream order and without a synchronisation."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
