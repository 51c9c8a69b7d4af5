"""What fits where: the memory that a point will train in, and the micro-batch and recomputing that fit it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from chemscale.hardware.accelerators import accelerator
from chemscale.hardware.memory import GIB, RESERVED, STAGES, USABLE, Memory
from chemscale.points.base import ConfigurationError, has_gpu
from chemscale.training.distributed.ranks import inside_job

AUTO = "auto"
LARGEST_WORLD = 1024


@dataclass(frozen=True)
class Room:
    """The memory of one rank.

    Args:
        size: bytes. name: of what, for people.
    """

    size: float
    name: str

    @property
    def usable(self) -> float:
        """Bytes that tensors may take."""
        return USABLE * self.size - RESERVED

    def holds(self, memory: Memory) -> bool:
        return memory.total <= self.usable


def elsewhere(config: dict[str, Any]) -> bool:
    """Whether the point will train on other machines than this one."""
    return config["launcher"]["name"] != "local" and not inside_job()


def room_of(config: dict[str, Any]) -> Room | None:
    """What one rank of a point may use; None where nothing says on what it will run.

    The GPU that is here; for a job ``launcher.gpu``; for CPU ranks their share of the host.
    """
    launcher = config["launcher"]
    ranks = int(launcher["gpus_per_node"])
    given = launcher.get("memory_gib")
    if inside_job() and given is not None and not has_gpu(config):
        return Room(float(given) * GIB / ranks, "launcher.memory_gib / ranks")
    if not elsewhere(config):
        if has_gpu(config):
            device = torch.cuda.get_device_properties(torch.cuda.current_device())
            return Room(float(device.total_memory), f"{device.name}")
        processes = ranks * int(launcher.get("parallel") or 1) if launcher["name"] == "local" else ranks
        shared = f" / {processes} ranks" if processes > 1 else ""
        return Room(host_memory() / processes, f"this machine's memory{shared}")
    if config["trainer"]["accelerator"] == "cpu":
        return None if given is None else Room(float(given) * GIB / ranks, "launcher.memory_gib / ranks")
    gpu = launcher.get("gpu")
    return None if gpu is None else Room(accelerator(gpu).memory_gib * GIB, str(gpu))


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


@dataclass(frozen=True)
class Cut:
    """How a rank's share of a step is computed: in so many micro-batches, recomputing or not."""

    accumulate: int
    recompute: bool


def read_per_gpu(value: Any) -> int | str | None:
    """``batch.per_gpu``: null, auto, or a number above 0.

    Raises:
        ConfigurationError: anything else.
    """
    if value is None or value == AUTO:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ConfigurationError(f"batch.per_gpu={value}: give a number above 0, auto, or null.")


def read_recompute(value: Any) -> bool | str:
    """``trainer.checkpoint_activations``: true, false or auto.

    Raises:
        ConfigurationError: anything else.
    """
    if value is True or value is False or value == AUTO:
        return value
    raise ConfigurationError(f"trainer.checkpoint_activations={value}: choose true, false or auto.")


def choose_cut(
    cuts: Sequence[int],
    recompute: bool | str,
    memory: Callable[[Cut], Memory],
    room: Room | None,
    *,
    key: str,
    advice: Callable[[], str],
) -> Cut:
    """The fewest micro-batches that fit; recomputing activations only where nothing fits without.

    Args:
        cuts: numbers of micro-batches that divide the step, rising. key: the setting that asked, for
            messages.
        advice: what would fit, for the refusal.

    Raises:
        ConfigurationError: nothing fits, or nothing says into what.
    """
    if room is None:
        raise ConfigurationError(
            f"{key}=auto: nothing says on which GPU the job will run. Name it as launcher.gpu=a100-40gb (or "
            "h100, …; with trainer.accelerator=cpu launcher.memory_gib), or give numbers instead of auto."
        )
    for choice in (False, True) if recompute == AUTO else (bool(recompute),):
        for accumulate in cuts:
            cut = Cut(accumulate, choice)
            if room.holds(memory(cut)):
                return cut
    least = memory(Cut(cuts[-1], True if recompute == AUTO else bool(recompute)))
    raise ConfigurationError(
        f"{key}=auto: even the smallest micro-batch needs {least.total / GIB:.1f} GiB, and {room.name} has "
        f"{room.usable / GIB:.1f} GiB of {room.size / GIB:.1f} for tensors. {advice()}"
    )


def worlds(first: int) -> list[int]:
    """Numbers of ranks to think of: this one, and doublings of it."""
    found = [max(1, first)]
    while found[-1] * 2 <= LARGEST_WORLD:
        found.append(found[-1] * 2)
    return found


def what_fits(memory: Callable[[str, int], Memory | None], world: int, room: Room) -> str:
    """A sentence on the strategies and numbers of ranks that would fit.

    Args:
        memory: least of a strategy on so many ranks; None where it cannot be.
    """
    found = []
    for strategy in STAGES:
        for ranks in worlds(world):
            needed = None if ranks < 2 else memory(strategy, ranks)
            if needed is not None and room.holds(needed):
                found.append(f"strategy={strategy} on {ranks} ranks ({needed.total / GIB:.1f} GiB)")
                break
    if not found:
        return f"No strategy on up to {LARGEST_WORLD} ranks would fit: take a GPU with more memory."
    return "What would fit: " + "; ".join(found) + "."


class Placed(Protocol):
    """What both kinds of points say of their place in memory."""

    @property
    def micro_batch(self) -> int: ...

    def memory(self, strategy: str | None = None, world: int | None = None) -> Memory: ...
