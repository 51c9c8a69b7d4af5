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
    """One GPU. Peaks are dense FLOP/s without sparsity, from the maker's data sheet.

    Args:
        peak: in bf16 (float16 on a V100), summed in float32.
        tf32: of matrix products in tf32; a GPU without it multiplies in float32.
        float32: without tensor cores.
        bandwidth: bytes/s of its memory.
        memory_gib: as CUDA reports it, which is less than ``nvidia-smi`` says, rounded down.
        watts: power limit of the board.
        mfu: share of the peak that training of small transformers reaches in reduced precision, None where no
            table was found.
        source: of ``mfu``.
        link: bytes/s one way that NVLink gives a GPU within a node of eight; 0 where it is not sold in such.
        network: bytes/s of a GPU's network card in the maker's node (DGX B200, H200, H100 and A100: data
            sheets).
        bf16: whether its matrix units take bf16; else it is computed as float32.
    """

    peak: float
    tf32: float
    float32: float
    bandwidth: float
    memory_gib: int
    watts: int
    mfu: float | None = None
    source: str = ""
    link: float = 0.0
    network: float = 0.0
    bf16: bool = True

    def peak_of(self, precision: str) -> float:
        """Peak FLOP/s of matrix products in a precision of training.

        Args:
            precision: ``32``, ``tf32``, or one of ``REDUCED``.
        """
        if precision in REDUCED:
            return self.peak if self.bf16 or precision == "16-mixed" else self.float32
        return self.tf32 if precision == "tf32" else self.float32


REDUCED = ("bf16-mixed", "16-mixed", "bf16-true")
"""Precisions of 16 bits, in which ``Accelerator.peak`` is given."""

_H100 = "llm-foundry's table: MPT 760M, 8 H100, bf16, sequences of 512: 40.4 %"
_A100 = "llm-foundry's table: MPT 125M, A100, bf16, sequences of 512: 42.6 %"
_H200 = f"as the H100, whose compute it has; {_H100}"

ACCELERATORS: dict[str, Accelerator] = {
    "gb200": Accelerator(2500e12, 1250e12, 80e12, 8.0e12, 184, 1200),
    "b200": Accelerator(2250e12, 1125e12, 75e12, 7.7e12, 178, 1000, link=900e9, network=50e9),
    "gh200": Accelerator(989e12, 494e12, 67e12, 4.0e12, 94, 900),
    "h200": Accelerator(989e12, 494e12, 67e12, 4.8e12, 139, 700, 0.40, _H200, 450e9, 50e9),
    # NVIDIA's H200 data sheet has a column for the NVL card: 1,671, 835 (both sparse) and 60 TFLOP/s.
    "h200-nvl": Accelerator(835e12, 417e12, 60e12, 4.8e12, 139, 600),
    "h100": Accelerator(989e12, 494e12, 67e12, 3.35e12, 79, 700, 0.40, _H100, 450e9, 50e9),
    "h100-nvl": Accelerator(835e12, 417e12, 60e12, 3.9e12, 93, 400),
    "h100-pcie": Accelerator(756e12, 378e12, 51e12, 2.0e12, 79, 350),
    "a100": Accelerator(312e12, 156e12, 19.5e12, 2.0e12, 79, 400, 0.42, _A100, 300e9, 25e9),
    "a100-40gb": Accelerator(312e12, 156e12, 19.5e12, 1.555e12, 39, 400, 0.42, _A100, 300e9, 25e9),
    "l40s": Accelerator(362e12, 183e12, 91.6e12, 0.864e12, 44, 350),
    "l40": Accelerator(181e12, 90.5e12, 90.5e12, 0.864e12, 44, 300),
    # NVIDIA's A10 data sheet; 72 SMs, 1.695 GHz and 1,024 FLOPs a clock and SM give the same 125.
    "a10": Accelerator(125e12, 62.5e12, 31.2e12, 0.6e12, 22, 150),
    "l4": Accelerator(121e12, 60e12, 30.3e12, 0.3e12, 22, 72),
    "rtx-4090": Accelerator(165e12, 82.6e12, 82.6e12, 1.008e12, 23, 450),
    "rtx-3090": Accelerator(71e12, 35.6e12, 35.6e12, 0.936e12, 23, 350),
    "v100": Accelerator(125e12, 15.7e12, 15.7e12, 0.9e12, 31, 300, bf16=False),
    "v100-16gb": Accelerator(125e12, 15.7e12, 15.7e12, 0.9e12, 15, 300, bf16=False),
}
"""The one table of the project: plans, memory, MFU and estimates of time read it."""


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
        HardwareError: an unknown GPU, or one without a published MFU in this precision.
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
    share = mfu
    if share is None and precision in REDUCED:
        share = known.mfu
    if share is None:
        raise HardwareError(
            f"--gpu {gpu} --precision {precision}: no published rate of training is known for it. Give "
            "--measured-flops (a run prints its own), or --mfu 0.3 for a share of its peak."
        )
    peak = known.peak_of(precision)
    why = "given" if mfu is not None else known.source
    return Rate(share * peak, f"{share:.0%} of {peak / 1e12:,.0f} TFLOP/s ({why})")
