"""Joules of the devices that a run trains on, where they can be read: NVML for GPUs, RAPL for CPUs.

What cannot be read is absent, never zero: RAPL's counters are root's alone on most systems since 2020, and a
slice of a GPU (MIG) has no counter.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch

from chemscale.records import Compute

log = logging.getLogger(__name__)

RAPL = Path(os.environ.get("CHEMSCALE_POWERCAP", "/sys/class/powercap"))
"""Of the kernel; CHEMSCALE_POWERCAP names another place, such as the host's tree mounted into a container."""
WRAP_WATTS = 1000.0
"""More than a package draws: a counter that may have gone round more than once is not believed."""


class Counter(Protocol):
    """A running total of joules."""

    name: str
    """What is counted, for the record."""

    def joules(self) -> list[float]:
        """Totals of its parts.

        Raises:
            OSError: they can no longer be read.
        """
        ...

    def span(self, part: int) -> float | None:
        """Joules after which the total of a part begins again at 0; None: never."""
        ...


class GpuCounter:
    """The energy that one GPU has used since its driver was loaded (Volta and newer).

    Args:
        device: of this rank.

    Raises:
        OSError: NVML is absent, or the device has no such counter.
    """

    name = "GPU (NVML)"

    def __init__(self, device: torch.device):
        try:
            import pynvml
        except ImportError as error:
            raise OSError("nvidia-ml-py is not installed") from error
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            # By its identity: CUDA_VISIBLE_DEVICES renumbers devices for CUDA and not for NVML.
            uuid = str(torch.cuda.get_device_properties(device).uuid)
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(
                uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
            )
        except pynvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error
        self.joules()

    def joules(self) -> list[float]:
        try:
            return [self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3]
        except self._nvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error

    def span(self, part: int) -> float | None:
        return None


class PackageCounter:
    """CPU packages of this machine, and their memory where it is counted: Intel's RAPL, on AMD as well.

    It counts whatever the machine does, this run's work and other people's.

    Args:
        root: a powercap tree; the kernel's if not given.

    Raises:
        OSError: there is no counter, or it may not be read.
    """

    name = "CPU packages and memory of the machine (RAPL)"

    def __init__(self, root: Path | None = None):
        root = root or RAPL
        packages = sorted(p for p in root.glob("intel-rapl:*") if _zone(p).startswith("package"))
        if not packages:
            raise OSError(f"{root} has no package counter")
        memory = [
            p for package in packages for p in sorted(package.glob("intel-rapl:*")) if _zone(p) == "dram"
        ]
        self._zones = packages + memory
        self._spans = self._read("max_energy_range_uj")
        self.joules()

    def joules(self) -> list[float]:
        return self._read("energy_uj")

    def span(self, part: int) -> float | None:
        return self._spans[part]

    def _read(self, file: str) -> list[float]:
        try:
            return [float((zone / file).read_text()) / 1e6 for zone in self._zones]
        except ValueError as error:
            raise OSError(f"{self._zones[0].parent}: {error}") from error


def _zone(path: Path) -> str:
    try:
        return (path / "name").read_text().strip()
    except OSError:
        return ""


class Energy:
    """Joules of a rank between ``resume`` and ``pause``, summed until they are taken.

    Args:
        counter: None: there is nothing to read, and every total is None.
        counts: whether this rank is the one that counts; ranks of one machine share its packages.
    """

    def __init__(self, counter: Counter | None = None, *, counts: bool = True):
        self._counter, self._counts = counter, counts
        self._sum = 0.0
        self._mark: list[float] | None = None
        self._since = 0.0
        self._longest = math.inf  # seconds until a counter may go round

    @property
    def name(self) -> str:
        """What is counted; empty where nothing is."""
        return self._counter.name if self._counter else ""

    def resume(self) -> None:
        """Training goes on now, or still: reading a counter takes longer than some steps."""
        if self._mark is not None:
            if time.monotonic() - self._since < self._longest / 2:
                return
            self.pause()
        self._mark, self._since = self._read(), time.monotonic()
        if self._counter is not None and self._mark is not None:
            spans = [self._counter.span(part) for part in range(len(self._mark))]
            self._longest = min([span / WRAP_WATTS for span in spans if span is not None], default=math.inf)

    def pause(self) -> None:
        """Training is interrupted: validation, a checkpoint, the end."""
        if self._mark is None:
            return
        before, now = self._mark, self._read()
        self._mark = None
        if self._counter is None or now is None:
            return
        seconds = time.monotonic() - self._since
        for part, (old, new) in enumerate(zip(before, now, strict=True)):
            span = self._counter.span(part)
            if span is not None and seconds * WRAP_WATTS > span:
                self._lose(f"its counter may have gone round more than once in {seconds:.0f} s")
                return
            self._sum += (new - old) if span is None else (new - old) % span

    def take(self) -> float | None:
        """Joules since the last time; None where they are not known. Begins anew."""
        taken, self._sum = self._sum, 0.0
        if self._counter is None:
            return None
        return taken if self._counts else 0.0

    def record_joules(
        self, compute: Compute, total: Callable[[Sequence[float]], Sequence[float]]
    ) -> float | None:
        """Joules since the last time over all ranks, added to a record; a run that lacks a part has none.

        Args:
            compute: its ``seconds`` do not hold the time of these joules yet.
            total: sums over ranks.
        """
        mine = self.take()
        unknown, joules = total([mine is None, mine or 0.0])
        before = compute.joules if compute.seconds else 0.0
        compute.joules = None if unknown or before is None else before + joules
        compute.joules_of = "" if compute.joules is None else self.name
        return None if unknown else joules

    def _read(self) -> list[float] | None:
        if self._counter is None:
            return None
        try:
            return self._counter.joules()
        except OSError as error:
            self._lose(str(error))
            return None

    def _lose(self, reason: str) -> None:
        log.warning("The energy of this run is not counted from here on (%s): its record has none.", reason)
        self._counter = None


def energy_of(device: torch.device, *, local_rank: int, alone: bool, per_gpu: int = 1) -> Energy:
    """What can be read of the energy of a rank's device.

    Args:
        device: of the rank.
        local_rank: of the rank on its machine: the first counts the machine's CPU packages for all.
        alone: whether no other point of the sweep trains on this machine's CPUs at the same time.
        per_gpu: points that train on the GPU at the same time: its counter cannot tell several apart.
    """
    try:
        if device.type == "cuda" and per_gpu == 1:
            return Energy(GpuCounter(device))
        if device.type == "cpu" and alone:
            return Energy(PackageCounter(), counts=local_rank == 0)
    except OSError as error:
        log.debug("No energy counter: %s", error)
    return Energy()
