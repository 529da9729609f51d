"""Small tensors on their way to the device."""

from collections.abc import Sequence
from typing import Any

import torch


def upload(numbers: Sequence[Any], device: torch.device, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """A tensor of these numbers, in the order of the device's work and without waiting for it.

    ``torch.tensor(…, device="cuda")`` waits until the device has done all that it was given before.
    """
    if device.type == "cpu":
        return torch.tensor(numbers, dtype=dtype)
    return torch.tensor(numbers, dtype=dtype, pin_memory=True).to(device, non_blocking=True)
