"""Whether a device can hold data here."""

from __future__ import annotations

import torch

__all__ = ["usable_device"]


def usable_device(device: torch.device | str) -> torch.device:
    """A device by its name, after a value was written to it and read from it.

    Raises:
        ValueError: there is no such device here, or it holds no data, as ``"meta"``.
    """
    try:
        value = torch.zeros(1, device=device)
        value.item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(f"device={str(device)!r} cannot be used here: {error}") from error
    return value.device
