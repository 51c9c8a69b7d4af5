"""The device that a person names, and the switches of PyTorch that computing on it needs."""

from __future__ import annotations

import torch

from chemscale.hardware.accelerators import HardwareError


def named_device(name: str | None, key: str = "--device") -> torch.device:
    """The device of a name, ready to compute on; for ``auto`` or None the GPU if there is one.

    Args:
        name: cpu, cuda, cuda:N or auto.
        key: by which it was given, for the message.

    Raises:
        HardwareError: another name, or a GPU that is not here.
    """
    set_backends()
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


def set_backends() -> None:
    """Leave cuDNN's attention out: it plans anew for every shape of a batch, and no two batches are alike.

    A plan takes about a second forward and backward, a hundred times the step itself. PyTorch prefers it for
    half precision on Hopper and newer; its other fused kernels need no plan.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def set_determinism(wanted: bool) -> None:
    """Make every operation give the same bits again, or raise where it cannot.

    Warnings alone are not enough: in that mode fused attention keeps its backward pass with atomic sums. What
    ``empty`` returns is not filled with NaN: nothing here reads memory that it did not write, and each of a
    step's thousands of tensors would cost a kernel more.

    Args:
        wanted: False: the fastest kernels, whatever their order of sums.
    """
    torch.use_deterministic_algorithms(wanted)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
