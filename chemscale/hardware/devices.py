"""The device that a person names, refused in a sentence where this machine does not have it."""

from __future__ import annotations

import torch

from chemscale.hardware.accelerators import HardwareError


def named_device(name: str | None, key: str = "--device") -> torch.device:
    """The device of a name; for ``auto`` or None the GPU if there is one.

    Args:
        name: cpu, cuda, cuda:N or auto.
        key: by which it was given, for the message.

    Raises:
        HardwareError: another name, or a GPU that is not here.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name in (None, "auto"):
        return torch.device("cuda" if count else "cpu")
    kind, colon, number = str(name).partition(":")
    if kind not in ("cpu", "cuda") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise HardwareError(f"{key} {name}: give auto, cpu, cuda or cuda:N.")
    if kind == "cuda" and int(number or 0) >= count:
        built = "" if torch.version.cuda else " (this torch is built without CUDA)"
        has = f"it has {count}, counted from cuda:0" if count else f"torch sees none{built}"
        raise HardwareError(
            f"{key} {name}: this machine has no such GPU, {has}. {key} cpu runs on the processor."
        )
    return torch.device(str(name))
