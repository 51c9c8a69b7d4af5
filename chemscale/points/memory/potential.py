"""How a step of a potential is split into micro-batches, and what they keep in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import nn

from chemscale.common.sections import ConfigurationError, OpenShare, Positive, read_section
from chemscale.hardware.memory import Memory, Weights, rank_memory
from chemscale.models.layers.trilinear import in_one_part
from chemscale.models.potential import Potential
from chemscale.points.data import read_structure_data
from chemscale.points.placement import choose_micro_batching, what_fits
from chemscale.points.sections import Sections
from chemscale.structures.batches import read_batch
from chemscale.structures.data_module import StructureDataModule
from chemscale.structures.settings import FrameBatch, StructureData
from chemscale.tasks.losses import EnergyForceLoss
from chemscale.tasks.optimisation import AdamW, Plateau
from chemscale.tasks.potential import InteratomicPotential
from chemscale.training.distributed.strategies import SHARDED_WEIGHTS
from chemscale.training.metrics.flops import saved_bytes
from chemscale.training.metrics.work import Counted, count_work
from chemscale.training.settings import MicroBatching


@dataclass(frozen=True)
class PotentialSections:
    """Sections and keys that only potentials have (``conf/task/potential.yaml``).

    Args:
        batch: the section of this name.
        data: likewise.
        loss: likewise.
        lint: what is done about what the data linter finds.
        ema: decay a step of the averaged weights; None: none.
        force_error_limit: share of the forces' RMS by which a reduced precision may change them.
    """

    batch: FrameBatch
    data: StructureData
    loss: EnergyForceLoss
    lint: Literal["warn", "strict", "off"] = "warn"
    ema: OpenShare | None = None
    force_error_limit: Positive = 0.002

    @classmethod
    def read(cls, config: dict[str, Any]) -> PotentialSections:
        """Check and read them.

        Raises:
            ConfigurationError: a key or a value that makes no sense, named.
        """
        keys = ("batch", "data", "loss", "lint", "ema", "force_error_limit")
        read_structure_data(config["data"])  # molecules are refused in words of their own
        return read_section(cls, {key: config[key] for key in keys if key in config}, "")


WORKING = 1.5
"""The peak of a step beside what autograd keeps of its forward pass: forces and their gradient."""


COUNTED = 2
"""Frames by which operations and bytes of a step are counted."""


PROBED = 8
"""Frames by which the memory of a micro-batch is measured before its size is chosen."""


def objective(module: InteratomicPotential, loss: EnergyForceLoss, batch: Any) -> torch.Tensor:
    sums = loss.sums(module.errors(cast(Potential, module.model), batch))
    return sums.energy + sums.forces + sums.stress


def kept_bytes(module: InteratomicPotential, loss: EnergyForceLoss, batch: Any) -> int:
    """Bytes that autograd keeps of the forward pass and the forces."""
    return saved_bytes(lambda: objective(module, loss, batch))


def counted_work(
    make: Callable[[], Potential], data: StructureDataModule, loss: EnergyForceLoss
) -> tuple[Counted, int]:
    """What a training step on a few frames asks of a GPU, and their load.

    Args:
        make: a potential of its shape, frozen where it is.
        data: whose first frames are taken.
        loss: on energies and forces.
    """
    few = np.flatnonzero(data.train_edges.counts)[:COUNTED]
    batch = read_batch(data.store, data.train, data.train_edges, few)
    with torch.random.fork_rng(devices=[]):
        potential = make().train()
    module = InteratomicPotential(potential, loss, AdamW(lr=1e-3), Plateau(), 1, ema=None)
    with in_one_part():
        return count_work(lambda: objective(module, loss, batch).backward()), load_of(batch)


def load_of(batch: Any) -> int:
    """Atoms and edges of a batch, by which memory and bytes grow."""
    return int(batch.counts["atoms"]) + int(batch.counts["edges"])


def weights_of(model: nn.Module, optimizer: AdamW, ema: float | None) -> Weights:
    """Numbers of a model, adapters included, and those of them that are trained."""
    numbers = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return Weights(
        sum(count for count, _ in numbers),
        averages=0 if ema is None else 1,
        moments=3 if optimizer.amsgrad else 2,
        trained=sum(count for count, trained in numbers if trained),
    )


def decide_micro_batching(
    sections: Sections,
    task: PotentialSections,
    make: Callable[[], Potential],
    batches: Callable[[int], StructureDataModule],
) -> MicroBatching:
    """Decide ``batch.accumulate``; potentials do not recompute.

    Args:
        sections: of the configuration.
        task: those of potentials alone.
        make: a potential of its shape, frozen where it is.
        batches: the data module for a number of micro-batches.

    Raises:
        ConfigurationError: recomputing is asked for, or no micro-batch fits.
    """
    if sections.trainer.checkpoint_activations is True:
        raise ConfigurationError(
            "trainer.checkpoint_activations=true is for language models: forces are a derivative whose own "
            "derivative is taken, and every recomputed block would have to be computed three times over. Use "
            "batch.per_gpu=auto, which cuts a step into smaller micro-batches."
        )
    per_gpu, world = task.batch.per_gpu, sections.placement.world
    if per_gpu is None:
        return MicroBatching(task.batch.accumulate)
    data = batches(1)
    fullest = int(np.diff(data.plan.epoch(0)[1]).max())
    numbers = list(range(1, max(1, fullest // world) + 1))
    if not isinstance(per_gpu, int):  # auto
        return _largest(sections, task, make, data, numbers)
    numbers = [k for k in numbers if -(-fullest // (k * world)) <= per_gpu]
    return MicroBatching(numbers[0] if numbers else max(1, fullest // world))


def _largest(
    sections: Sections,
    task: PotentialSections,
    make: Callable[[], Potential],
    data: StructureDataModule,
    numbers: list[int],
) -> MicroBatching:
    """The fewest micro-batches that fit, from what a few frames keep and the heaviest step of an epoch."""
    placement = sections.placement
    loads = data.plan.atoms + data.plan.edges
    few = np.arange(min(PROBED, len(data.train)))
    with torch.random.fork_rng(devices=[]):
        potential = make().train()
    module = InteratomicPotential(potential, task.loss, sections.optimizer, Plateau(), 1, ema=None)
    batch = read_batch(data.store, data.train, data.train_edges, few)
    per_load = WORKING * kept_bytes(module, task.loss, batch) / loads[few].sum()
    if placement.has_gpu:
        counted, load = counted_work(make, data, task.loss)
        per_load += counted.largest / load
    order, bounds = data.plan.epoch(0)
    heaviest = max(int(loads[order[start:end]].sum()) for start, end in pairwise(bounds))
    weights = weights_of(potential, sections.optimizer, task.ema)

    def memory(strategy: str, ranks: int, accumulate: int) -> Memory:
        # A deal leaves a part at most one frame above its even share.
        load = heaviest / (ranks * accumulate) + int(loads.max())
        return rank_memory(
            strategy,
            weights,
            ranks,
            activations=per_load * min(load, heaviest),
            accumulate=accumulate,
            offload=sections.strategy.offload == "cpu",
            overlap=placement.has_gpu,
        )

    def least(strategy: str, ranks: int) -> Memory | None:
        return None if strategy in SHARDED_WEIGHTS else memory(strategy, ranks, numbers[-1])

    strategy = sections.resolve_strategy()
    return choose_micro_batching(
        numbers,
        False,
        lambda how: memory(strategy, placement.world, how.accumulate),
        placement.device_memory(),
        key="batch.per_gpu",
        advice=lambda available: what_fits(least, placement.world, available),
    )
