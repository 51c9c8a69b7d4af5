"""Throughput: what a run really does per second, and what of it is waste."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from chemscale.hardware.accelerators import ACCELERATORS, accelerator_named
from chemscale.records import Compute
from chemscale.training.distributed.control import Control
from chemscale.training.metrics.counters import StepAmounts
from chemscale.training.metrics.energy import Energy


def peak_flops(device_name: str, precision: str) -> float | None:
    """Peak FLOP/s of a device, None where it is not known: an MFU is never guessed.

    Args:
        device_name: as the driver gives it.
        precision: of the forward pass: ``32``, ``tf32``, ``bf16-mixed``, …
    """
    key = accelerator_named(device_name)
    return None if key is None else ACCELERATORS[key].peak_of(precision)


def device_name(device: torch.device) -> str:
    """The maker's name of the device, as far as the system knows it."""
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
    _recorded: float = 0.0

    def resume(self) -> None:
        """Training goes on now: time since the last mark was not training."""
        self._mark = time.perf_counter()

    def batch_arrived(self) -> None:
        """The data of a micro-batch are there: until now the run waited for them."""
        now = time.perf_counter()
        if self._mark is not None:
            self.waiting += now - self._mark
            self.seconds += now - self._mark
        self._mark = now

    def batch_done(self) -> None:
        """A micro-batch was trained on."""
        now = time.perf_counter()
        if self._mark is not None:
            self.seconds += now - self._mark
        self._mark = now

    def count(self, step: StepAmounts) -> None:
        """Count what all ranks did in a step."""
        self.amounts.update(step.amounts)
        self.slots += step.slots
        self.flops += step.flops

    def record_time(
        self,
        compute: Compute,
        energy: Energy,
        total: Callable[[Sequence[float]], Sequence[float]],
        devices: float,
    ) -> None:
        """Add time and energy since the last time to a record: a checkpoint between two logs keeps them.

        Args:
            compute: of the record.
            energy: of this rank's device.
            total: sums over ranks.
            devices: that the ranks have; a quarter of one where four points share it.
        """
        joules = energy.record_joules(compute, total)
        self.joules = None if joules is None or self.joules is None else self.joules + joules
        seconds, self._recorded = self.seconds - self._recorded, self.seconds
        compute.seconds += seconds
        compute.device_seconds += seconds * devices

    def add(self, other: Meter) -> None:
        """Add another stretch of the same run."""
        self.amounts.update(other.amounts)
        for key in ("slots", "flops", "seconds", "waiting"):
            setattr(self, key, getattr(self, key) + getattr(other, key))
        self.joules = None if self.joules is None or other.joules is None else self.joules + other.joules

    def throughput_line(self, device: torch.device, peak: float | None) -> dict[str, float]:
        """Real units a second; padding and data wait in per cent; MFU and watts if they are known.

        Args:
            device: whose memory in use is given.
            peak: FLOP/s of all ranks at best, None where it is not known.
        """
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


class Throughput:
    """Meters of one rank: since the last row, and of the whole attempt.

    Args:
        device: of this rank.
        precision: of the forward pass, which decides the peak.
        energy: of the device.
        control: sums over ranks.
        devices: that all ranks have; one each if not given.
    """

    def __init__(
        self,
        device: torch.device,
        precision: str,
        energy: Energy,
        control: Control,
        *,
        devices: float | None = None,
    ):
        self.device, self.energy, self.control = device, energy, control
        self.devices = control.ranks.world if devices is None else devices
        peak = peak_flops(device_name(device), precision)
        self.peak = None if peak is None else peak * control.ranks.world
        self._since_row, self._attempt = Meter(), Meter()

    def resume(self) -> None:
        """Training goes on now, after a pause or a step at whose end nothing was due."""
        self._since_row.resume()
        self.energy.resume()

    def pause(self) -> None:
        """What follows is no training, and its energy is not counted."""
        self.energy.pause()

    def batch_arrived(self) -> None:
        """The data of a micro-batch are there."""
        self._since_row.batch_arrived()

    def batch_done(self) -> None:
        """A micro-batch was trained on."""
        self._since_row.batch_done()

    def count(self, step: StepAmounts) -> None:
        """Count what all ranks did in a step."""
        self._since_row.count(step)

    def record_time(self, compute: Compute) -> None:
        """Add time and energy since the last time to a record; all ranks together."""
        self._since_row.record_time(compute, self.energy, self.control.total, self.devices)

    def next_line(self) -> dict[str, float]:
        """The throughput line since the last one; the next begins here."""
        line = self._since_row.throughput_line(self.device, self.peak)
        self._attempt.add(self._since_row)
        self._since_row = Meter()
        return line

    def attempt_line(self) -> dict[str, float]:
        """The throughput line of the whole attempt up to the last row; empty before the first."""
        return self._attempt.throughput_line(self.device, self.peak) if self._attempt.seconds else {}


def format_throughput(line: dict[str, float]) -> str:
    """The throughput line as people read it."""
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
