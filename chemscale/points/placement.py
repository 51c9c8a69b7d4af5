"""Where a point will train, in how much memory, and the micro-batches that fit it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from chemscale.common.sections import ConfigurationError
from chemscale.hardware.accelerators import accelerator
from chemscale.hardware.devices import set_backends
from chemscale.hardware.memory import GIB, RESERVED, STAGES, USABLE, Memory
from chemscale.launchers.section import LauncherSettings
from chemscale.training.distributed.ranks import inside_job
from chemscale.training.settings import MicroBatching

AUTO = "auto"
MAX_WORLD = 1024


@dataclass(frozen=True)
class DeviceMemory:
    """The memory of one rank.

    Args:
        size: bytes.
        name: of what, for people.
    """

    size: float
    name: str

    @property
    def usable(self) -> float:
        """Bytes that tensors may take."""
        return USABLE * self.size - RESERVED

    def holds(self, memory: Memory) -> bool:
        """Whether a rank that needs so much fits."""
        return memory.total <= self.usable


@dataclass(frozen=True)
class Placement:
    """Where the ranks of a point will train, as far as the configuration and this machine tell.

    Args:
        accelerator: ``trainer.accelerator``.
        launcher: the section ``launcher``.
    """

    accelerator: Literal["auto", "cpu", "cuda"]
    launcher: LauncherSettings

    @property
    def world(self) -> int:
        """Number of ranks."""
        return self.launcher.world

    @property
    def elsewhere(self) -> bool:
        """Whether the point will train on other machines than this one."""
        return self.launcher.name != "local" and not inside_job()

    @property
    def by_other_processes(self) -> bool:
        """Whether a point of this machine is trained by processes other than this one."""
        return self.world > 1 or self.launcher.points_at_once > 1

    @property
    def has_gpu(self) -> bool:
        """Whether the point will train on a GPU: one here, or on the nodes that a job asks for."""
        if self.accelerator == "cpu":
            return False
        if inside_job() or self.launcher.name == "local":
            return torch.cuda.is_available()
        return True  # a job asks for GPUs unless the CPU is asked for

    @property
    def trial_device(self) -> torch.device:
        """Where a trial step runs: the GPU that training would take, switched as training will."""
        set_backends()
        on_gpu = self.accelerator != "cpu" and torch.cuda.is_available()
        return torch.device("cuda" if on_gpu else "cpu")

    def device_memory(self) -> DeviceMemory | None:
        """What one rank may use; None where nothing says on what it will run.

        The GPU that is here; for a job ``launcher.gpu``; for CPU ranks their share of the host.
        """
        launcher = self.launcher
        ranks = launcher.gpus_per_node * (launcher.per_gpu if launcher.name == "slurm" else 1)
        stated = None
        if launcher.memory_gib is not None:
            stated = DeviceMemory(launcher.memory_gib * GIB / ranks, "launcher.memory_gib / ranks")
        if inside_job() and stated is not None and not self.has_gpu:
            return stated
        if not self.elsewhere:
            if self.has_gpu:
                device = torch.cuda.get_device_properties(torch.cuda.current_device())
                return self._share_of(float(device.total_memory), str(device.name))
            processes = ranks * launcher.points_at_once if launcher.name == "local" else ranks
            shared = f" / {processes} ranks" if processes > 1 else ""
            return DeviceMemory(host_memory() / processes, f"this machine's memory{shared}")
        if self.accelerator == "cpu":
            return stated
        gpu = launcher.gpu
        return None if gpu is None else self._share_of(accelerator(gpu).memory_gib * GIB, gpu)

    def _share_of(self, size: float, name: str) -> DeviceMemory:
        """A GPU's memory, or the part of a point that shares it."""
        points = self.launcher.per_gpu
        return DeviceMemory(size / points, name if points == 1 else f"{name} / {points} points")


def host_memory() -> float:
    """Bytes of this machine that its processes may use: physical memory, or less where a container says
    so."""
    physical = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    own = Path("/proc/self/cgroup")
    lines = own.read_text().splitlines() if own.exists() else []
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    groups = [Path("/sys/fs/cgroup" + str(part)) / "memory.max" for part in (Path(path), *Path(path).parents)]
    for limit in (*groups, Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.exists() and (text := limit.read_text().strip()).isdigit():
            physical = min(physical, float(text))
    return physical


def choose_micro_batching(
    accumulate: Sequence[int],
    recompute: bool | Literal["auto"],
    memory: Callable[[MicroBatching], Memory],
    available: DeviceMemory | None,
    *,
    key: str,
    advice: Callable[[DeviceMemory], str],
) -> MicroBatching:
    """The fewest micro-batches that fit; recomputing activations only where nothing fits without.

    Args:
        accumulate: numbers of micro-batches that divide the step, rising.
        recompute: whether activations are recomputed; auto: where it has to be.
        memory: what one rank needs.
        available: what one rank has, None where nothing says it.
        key: the setting that asked, for messages.
        advice: what would fit into that memory, for the refusal.

    Raises:
        ConfigurationError: nothing fits, or nothing says into what.
    """
    if available is None:
        raise ConfigurationError(
            f"{key}=auto: nothing says on which GPU the job will run. Name it as launcher.gpu=a100-40gb (or "
            "h100, …; with trainer.accelerator=cpu launcher.memory_gib), or give numbers instead of auto."
        )
    for choice in (False, True) if recompute == AUTO else (bool(recompute),):
        for number in accumulate:
            found = MicroBatching(number, choice)
            if available.holds(memory(found)):
                return found
    smallest = memory(MicroBatching(accumulate[-1], True if recompute == AUTO else bool(recompute)))
    raise ConfigurationError(
        f"{key}=auto: even the smallest micro-batch needs {smallest.total / GIB:.1f} GiB, and "
        f"{available.name} has {available.usable / GIB:.1f} GiB of {available.size / GIB:.1f} for tensors. "
        f"{advice(available)}"
    )


def worlds(first: int) -> list[int]:
    """Numbers of ranks to think of: this one, and doublings of it."""
    found = [max(1, first)]
    while found[-1] * 2 <= MAX_WORLD:
        found.append(found[-1] * 2)
    return found


def what_fits(memory: Callable[[str, int], Memory | None], world: int, available: DeviceMemory) -> str:
    """A sentence on the strategies and numbers of ranks that would fit.

    Args:
        memory: least of a strategy on so many ranks; None where it cannot be.
        world: the ranks that are asked for.
        available: what one rank has.
    """
    found = []
    for strategy in STAGES:
        for ranks in worlds(world):
            needed = None if ranks < 2 else memory(strategy, ranks)
            if needed is not None and available.holds(needed):
                found.append(f"strategy={strategy} on {ranks} ranks ({needed.total / GIB:.1f} GiB)")
                break
    if not found:
        return f"No strategy on up to {MAX_WORLD} ranks would fit: take a GPU with more memory."
    return "What would fit: " + "; ".join(found) + "."
