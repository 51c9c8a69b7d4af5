"""Accelerators: what they compute at best, what they hold, and what training really reaches on them.

No price: prices differ by place and month, and are given by the user. No guess: an accelerator without a
published rate of training has none here, and asks for a measured one.
"""

from __future__ import annotations

from dataclasses import dataclass


class HardwareError(ValueError):
    """Hardware that is not known, or a rate that nobody has given."""


@dataclass(frozen=True)
class Accelerator:
    """One GPU.

    Args:
        peak: dense FLOP/s in bf16 (float16 on a V100) without sparsity, from the maker's data sheet.
        memory_gib: as the driver reports it, rounded down.
        watts: power limit of the board.
        mfu: share of the peak that training of small transformers reaches, None where no table was found.
        source: of ``mfu``.
        link: bytes/s one way that NVLink gives a GPU within a node of eight; 0 where it is not sold in such.
        network: bytes/s of a GPU's network card in the maker's node (DGX B200, H200, H100 and A100: data
            sheets).
    """

    peak: float
    memory_gib: int
    watts: int
    mfu: float | None = None
    source: str = ""
    link: float = 0.0
    network: float = 0.0


_H100 = "llm-foundry's table: MPT 760M, 8 H100, bf16, sequences of 512: 40.4 %"
_A100 = "llm-foundry's table: MPT 125M, A100, bf16, sequences of 512: 42.6 %"

ACCELERATORS: dict[str, Accelerator] = {
    "b200": Accelerator(2250e12, 178, 1000, link=900e9, network=50e9),
    "h200": Accelerator(
        989e12, 140, 700, 0.40, f"as the H100, whose compute it has; {_H100}", link=450e9, network=50e9
    ),
    "h100": Accelerator(989e12, 79, 700, 0.40, _H100, link=450e9, network=50e9),
    "h100-nvl": Accelerator(835e12, 93, 400),
    "h100-pcie": Accelerator(756e12, 79, 350),
    "a100": Accelerator(312e12, 79, 400, 0.42, _A100, link=300e9, network=25e9),
    "a100-40gb": Accelerator(312e12, 39, 400, 0.42, _A100, link=300e9, network=25e9),
    "l40s": Accelerator(362e12, 44, 350),
    "l40": Accelerator(181e12, 44, 300),
    "l4": Accelerator(121e12, 22, 72),
    "rtx-4090": Accelerator(165e12, 23, 450),
    "rtx-3090": Accelerator(71e12, 23, 350),
    "v100": Accelerator(125e12, 31, 300),
}


def accelerator_named(device: str) -> str | None:
    """The key of the table for a device, None where it is not there.

    Whole words decide, and of several keys the longest: an L40 is no L4, a GB200 no B200.

    Args:
        device: the name that its driver gives, such as ``NVIDIA A100-SXM4-40GB``.
    """
    words = set(device.lower().replace("-", " ").split())
    known = [key for key in ACCELERATORS if set(key.split("-")) <= words]
    return max(known, key=len, default=None)


@dataclass(frozen=True)
class Rate:
    """FLOP/s of one GPU in training, and where the number comes from."""

    flops: float
    why: str


def accelerator(name: str) -> Accelerator:
    """One of the table.

    Raises:
        HardwareError: it is not there.
    """
    key = name.lower().replace(" ", "-").replace("_", "-")
    if key not in ACCELERATORS:
        raise HardwareError(
            f"--gpu {name}: not in the table, which has {', '.join(ACCELERATORS)}. For another one leave "
            "--gpu out and give its rate as --measured-flops (FLOP/s of one GPU; a run prints its own)."
        )
    return ACCELERATORS[key]


def training_rate(
    gpu: str | None, *, measured: float | None = None, mfu: float | None = None, precision: str = "bf16-mixed"
) -> Rate | None:
    """FLOP/s of one GPU: measured, else the peak times an MFU; None where neither is given.

    Raises:
        HardwareError: an unknown GPU, a GPU without a published MFU, or float32, whose rate is not tabled.
    """
    known = accelerator(gpu) if gpu else None
    for option, value, most in (("--measured-flops", measured, float("inf")), ("--mfu", mfu, 1.0)):
        if value is not None and not 0 < value <= most:
            raise HardwareError(
                f"{option} {value:g}: must be above 0" + (" and at most 1." if most == 1 else ".")
            )
    if measured is not None:
        return Rate(measured, "measured")
    if known is None:
        if mfu is not None:
            raise HardwareError("--mfu is a share of a peak: name the --gpu too.")
        return None
    if precision == "32":
        raise HardwareError(
            f"--gpu {gpu} --precision 32: the table holds peaks of reduced precision only. Give "
            "--measured-flops, or --precision bf16-mixed."
        )
    share = mfu if mfu is not None else known.mfu
    if share is None:
        raise HardwareError(
            f"--gpu {gpu}: no published rate of training is known for it. Give --measured-flops (a run "
            "prints its own), or --mfu 0.3 for a share of its peak."
        )
    why = "given" if mfu is not None else known.source
    return Rate(share * known.peak, f"{share:.0%} of {known.peak / 1e12:,.0f} TFLOP/s ({why})")
