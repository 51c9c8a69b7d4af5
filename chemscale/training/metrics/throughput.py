"""The truth line: what a run really does per second, and what of it is waste."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from chemscale.hardware.accelerators import ACCELERATORS, accelerator_named
from chemscale.records import Compute
from chemscale.training.metrics.energy import Energy

REDUCED = ("bf16-mixed", "16-mixed", "bf16-true")
"""Precisions that the table of accelerators holds peaks for."""


def peak_flops(device_name: str, precision: str) -> float | None:
    """Peak FLOP/s of a device, None where it is not known: an MFU is never guessed.

    Args:
        device_name: as the driver gives it.
        precision: of the forward pass; peaks are known of reduced precision only.
    """
    key = accelerator_named(device_name)
    return ACCELERATORS[key].peak if key is not None and precision in REDUCED else None


def device_name(device: torch.device) -> str:
    """The maker's name of the device, as far as the system tells."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return f"{names[0]} ({torch.get_num_threads()} threads)" if names else "cpu"
    except OSError:
        return device.type


def peak_memory_gib(device: torch.device) -> float:
    """Most memory in use so far: of the allocator on a GPU, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


@dataclass
class Meter:
    """Sums over the steps since the last reading; seconds are wall-clock seconds of training only."""

    amounts: Counter[str] = field(default_factory=Counter)
    slots: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    waiting: float = 0.0
    joules: float | None = 0.0
    """Over all ranks; None where they are not known."""
    _mark: float | None = None
    _settled: float = 0.0

    def resume(self) -> None:
        """Training goes on now: time since the last mark was not training."""
        self._mark = time.perf_counter()

    def batch_arrived(self) -> None:
        now = time.perf_counter()
        if self._mark is not None:
            self.waiting += now - self._mark
            self.seconds += now - self._mark
        self._mark = now

    def batch_done(self) -> None:
        now = time.perf_counter()
        if self._mark is not None:
            self.seconds += now - self._mark
        self._mark = now

    def count(self, amounts: Mapping[str, int], slots: int, flops: float) -> None:
        """Args: what a step held (its first key is what slots are counted in), and the slots it took."""
        self.amounts.update(amounts)
        self.slots += slots
        self.flops += flops

    def settle(
        self,
        compute: Compute,
        energy: Energy,
        total: Callable[[Sequence[float]], Sequence[float]],
        world: int,
    ) -> None:
        """Time and energy since the last time go into a record: a checkpoint between two logs keeps them.

        Args:
            total: sums over ranks. world: their number.
        """
        joules = energy.settle(compute, total)
        self.joules = None if joules is None or self.joules is None else self.joules + joules
        seconds, self._settled = self.seconds - self._settled, self.seconds
        compute.seconds += seconds
        compute.device_seconds += seconds * world

    def add(self, other: Meter) -> None:
        self.amounts.update(other.amounts)
        for key in ("slots", "flops", "seconds", "waiting"):
            setattr(self, key, getattr(self, key) + getattr(other, key))
        self.joules = None if self.joules is None or other.joules is None else self.joules + other.joules

    def truth(self, device: torch.device, peak: float | None) -> dict[str, float]:
        """Real units a second; padding and data wait in per cent; MFU and watts if they are known."""
        seconds = max(self.seconds, 1e-9)
        line = {f"{unit}_per_second": amount / seconds for unit, amount in self.amounts.items()}
        first = next(iter(self.amounts.values()), 0)
        line |= {
            "padding_percent": 100 * (1 - first / max(1, self.slots)),
            "data_wait_percent": 100 * self.waiting / seconds,
            "flops_per_second": self.flops / seconds,
            "peak_memory_gib": peak_memory_gib(device),
        }
        if self.joules is not None:
            line["watts"] = self.joules / seconds
        if peak is not None:
            line["mfu_percent"] = 100 * self.flops / seconds / peak
        return line


def truth_text(line: dict[str, float]) -> str:
    """The truth line as people read it."""
    mfu = f"{line['mfu_percent']:.1f} %" if "mfu_percent" in line else "unknown (no peak known)"
    rates = [
        f"{value:,.{0 if value >= 1000 else 1}f} {key.removesuffix('_per_second')}/s"
        for key, value in line.items()
        if key.endswith("_per_second") and not key.startswith(("flops", "heavy_atoms"))
    ]
    watts = f" · {line['watts']:,.0f} W" if "watts" in line else ""
    return (
        f"{' · '.join(rates)} · padding {line['padding_percent']:.1f} % · "
        f"data wait {line['data_wait_percent']:.1f} % · "
        f"MFU {mfu} · peak memory {line['peak_memory_gib']:.2f} GiB{watts}"
    )
