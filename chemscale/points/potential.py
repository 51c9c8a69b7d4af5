"""An interatomic potential on a frame store."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from chemscale.hardware.memory import GIB, Memory, Weights, rank_memory
from chemscale.launchers.section import planned_world
from chemscale.models.potential import Potential
from chemscale.models.potentials import PotentialConfig, build, parameter_counts, read_config, save_potential
from chemscale.points.base import (
    ConfigurationError,
    Point,
    device_of,
    free_gpu,
    has_gpu,
    section,
    shared_fields,
    strategy_of,
)
from chemscale.points.data import open_or_prepare_structures
from chemscale.points.placement import (
    Cut,
    Room,
    choose_cut,
    read_per_gpu,
    read_recompute,
    room_of,
    what_fits,
)
from chemscale.records import Loss, RunRecord
from chemscale.structures.batches import BatchBudget, read_batch
from chemscale.structures.data_module import StructureDataModule
from chemscale.structures.lint.run import lint_store
from chemscale.structures.references import Statistics, statistics
from chemscale.structures.store import FrameStore
from chemscale.tasks.losses import EnergyForceLoss
from chemscale.tasks.optimisation import AdamW, Plateau
from chemscale.tasks.potential import InteratomicPotential
from chemscale.training.budget import Epoch
from chemscale.training.distributed.strategies import SHARDED_WEIGHTS
from chemscale.training.metrics.flops import PotentialFlops, count_potential_flops, saved_bytes
from chemscale.training.metrics.precision import force_error
from chemscale.training.trainer import set_threads


@dataclass(frozen=True)
class PotentialPoint(Point):
    """One potential: SchNet, PaiNN, SpookyNet, NequIP, Allegro or MACE."""

    data: StructureDataModule
    store: FrameStore
    model: PotentialConfig
    statistics: Statistics
    loss: EnergyForceLoss
    flops: PotentialFlops

    unit = "atoms"

    @classmethod
    def read(cls, config: dict[str, Any]) -> PotentialPoint:
        """Check a resolved configuration and build what it describes; prepares a missing store.

        Raises:
            ConfigurationError, or the ValueError of the room that refuses its part.
        """
        if "loss" not in config:
            raise ConfigurationError(
                f"model={config['model']['family']} is a potential: add task=potential to the command "
                "(energies and forces, batches of frames)."
            )
        store = _store(config)
        model = read_config(config["model"])
        config = _cut_to_fit(config, model, store)
        data = _data_module(store, model.cutoff, config)
        data.training_batches(0, planned_world(config))  # refuses more ranks than a step has frames
        known = statistics(store, data.train, data.train_edges.counts, config["data"]["references"])
        loss = section(EnergyForceLoss, config["loss"], "loss")
        _check_labels(store, loss)
        flops = _count_flops(model, known, data, loss)
        epoch = _epoch(data, flops)
        subset = f"-n{len(data.train)}" if config["data"]["frames"] else ""
        name = f"{model.family}-w{model.width}-l{model.layers}{subset}"
        common = shared_fields(config, store.hash, name, epoch, 1)
        _check_precision(common["precision"], config, model, known, data)
        return cls(**common, store=store, data=data, model=model, statistics=known, loss=loss, flops=flops)

    @property
    def data_hash(self) -> str:
        return self.store.hash

    def build_potential(self) -> Potential:
        known = self.statistics
        return build(
            self.model,
            known.elements,
            references=known.references,
            scale=known.scale,
            neighbours=known.neighbours,
        )

    def build_module(self) -> InteratomicPotential:
        return InteratomicPotential(
            self.build_potential(),
            self.loss,
            self.optimizer,
            self.schedule,
            self.steps,
            ema=self.config["ema"],
        )

    def parameter_counts(self) -> dict[str, int]:
        with torch.random.fork_rng(devices=[]):
            return parameter_counts(self.build_potential())

    def batch_flops(self, batch: Any) -> float:
        counts = batch.counts
        return self.flops.of(counts["atoms"], counts["edges"], batch.padded_pairs, counts["frames"])

    def describe_data(self) -> str:
        counts = self.store.manifest["counts"]
        level = self.store.manifest["level"] or "level of theory not stated"
        return (
            f"Structures {self.store.path.name} ({level}): {counts['train']:,} training and "
            f"{counts['validation']:,} validation frames of {counts['molecules']:,} molecules."
        )

    def note_unique(self, record: RunRecord) -> None:
        record.data.unique_frames = self.epoch.amounts["frames"]
        record.data.unique_atoms = self.epoch.amounts["atoms"]

    def memory(self, strategy: str | None = None, world: int | None = None) -> Memory:
        """Bytes of one rank under this strategy on so many ranks; None: its own."""
        planned = planned_world(self.config)
        world = planned if world is None else world
        return rank_memory(
            strategy or self.strategy,
            _weights(self.config, self.parameter_counts()["all"]),
            world,
            activations=self._kept * planned / world,
            accumulate=self.config["batch"]["accumulate"],
            offload=self.config["strategy"]["offload"] == "cpu",
            overlap=has_gpu(self.config),
        )

    @property
    def micro_batch(self) -> int:
        """Frames of a micro-batch on one rank, at most."""
        parts = planned_world(self.config) * self.config["batch"]["accumulate"]
        return -(-int(np.diff(self.data.plan.epoch(0)[1]).max()) // parts)

    def memory_gib(self) -> float:
        return self.memory().total / GIB

    @cached_property
    def _kept(self) -> float:
        """Bytes that the first micro-batch of one rank needs for its backward pass."""
        batch = self.data.training_batches(0, planned_world(self.config))[0]
        with torch.random.fork_rng(devices=[]):
            module = self.build_module().train()
        return WORKING * _kept_bytes(module, self.loss, batch)

    def flops_per_second(self) -> float:
        """Of a real step on the first micro-batch."""
        set_threads(self.config["trainer"]["threads"])
        device = device_of(self.config)
        with torch.random.fork_rng(devices=[]):
            module = self.build_module().to(device).train()
        batch = self.data.training_batches(0, planned_world(self.config))[0].to(device)
        seconds = float("inf")
        for _ in range(2):
            started = time.perf_counter()
            _loss(module, self.loss, batch).backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds = min(seconds, time.perf_counter() - started)
        flops = self.batch_flops(batch)
        del module, batch
        free_gpu(device)
        return flops / seconds

    def save_model(self, module: InteratomicPotential) -> None:
        """The averaged weights, with what a calculator has to know."""
        partial = self.directory / "model.part"
        shutil.rmtree(partial, ignore_errors=True)
        extra = {
            "data": {key: self.store.manifest[key] for key in ("name", "level", "hash")},
            "identity": self.identity,
        }
        save_potential(module.best_model, partial, extra)
        shutil.rmtree(self.model_folder, ignore_errors=True)
        partial.rename(self.model_folder)

    @staticmethod
    def summary(loss: Loss) -> str:
        values = loss.values
        parts = [
            f"{values[key]:.2f} {unit}"
            for key, unit in (
                ("energy_mae", "meV"),
                ("energy_mae_per_atom", "meV/atom"),
                ("forces_mae", "meV/Å"),
            )
            if key in values
        ]
        return "MAE " + ", ".join(parts)


WORKING = 1.5
"""The peak of a step beside what autograd keeps of its forward pass: forces and their gradient."""
PROBED = 8
"""Frames by which the memory of a micro-batch is measured before its size is chosen."""


def _loss(module: InteratomicPotential, loss: EnergyForceLoss, batch: Any) -> torch.Tensor:
    return sum(loss.sums(*module.errors(cast(Potential, module.model), batch)), torch.zeros(()))


def _kept_bytes(module: InteratomicPotential, loss: EnergyForceLoss, batch: Any) -> int:
    """Bytes that autograd keeps of the forward pass and the forces."""
    return saved_bytes(lambda: _loss(module, loss, batch))


def _weights(config: dict[str, Any], count: int) -> Weights:
    amsgrad = config["optimizer"].get("amsgrad")
    return Weights(count, averages=0 if config["ema"] is None else 1, moments=3 if amsgrad else 2)


def _cut_to_fit(config: dict[str, Any], model: PotentialConfig, store: FrameStore) -> dict[str, Any]:
    """The configuration with ``batch.accumulate`` decided; potentials do not recompute.

    Raises:
        ConfigurationError: recomputing is asked for, or no micro-batch fits.
    """
    batch, world = config["batch"], planned_world(config)
    if read_recompute(config["trainer"].get("checkpoint_activations", False)) is True:
        raise ConfigurationError(
            "trainer.checkpoint_activations=true is for language models: forces are a derivative whose own "
            "derivative is taken, and every recomputed block would have to be computed three times over. Use "
            "batch.per_gpu=auto, which cuts a step into smaller micro-batches."
        )
    accumulate, per_gpu = batch["accumulate"], read_per_gpu(batch.get("per_gpu"))
    if per_gpu is not None:
        data = _data_module(store, model.cutoff, {**config, "batch": {**batch, "accumulate": 1}})
        fullest = int(np.diff(data.plan.epoch(0)[1]).max())
        cuts = list(range(1, max(1, fullest // world) + 1))
        if isinstance(per_gpu, int):
            cuts = [k for k in cuts if -(-fullest // (k * world)) <= per_gpu]
            accumulate = cuts[0] if cuts else max(1, fullest // world)
        else:
            accumulate = _largest(config, model, data, cuts).accumulate
    trainer = {**config["trainer"], "checkpoint_activations": False}
    return {**config, "batch": {**batch, "accumulate": accumulate}, "trainer": trainer}


def _largest(
    config: dict[str, Any], model: PotentialConfig, data: StructureDataModule, cuts: list[int]
) -> Cut:
    """The fewest micro-batches that fit, from what a few frames keep and the heaviest step of an epoch."""
    world, room = planned_world(config), room_of(config)
    known = statistics(data.store, data.train, data.train_edges.counts, config["data"]["references"])
    loads = data.plan.atoms + data.plan.edges
    few = np.arange(min(PROBED, len(data.train)))
    with torch.random.fork_rng(devices=[]):
        potential = build(model, known.elements, neighbours=known.neighbours).train()
    loss = section(EnergyForceLoss, config["loss"], "loss")
    module = InteratomicPotential(
        potential, loss, section(AdamW, config["optimizer"], "optimizer"), Plateau(), 1, ema=None
    )
    batch = read_batch(data.store, data.train, data.train_edges, few)
    per_load = WORKING * _kept_bytes(module, loss, batch) / loads[few].sum()
    order, bounds = data.plan.epoch(0)
    heaviest = max(int(loads[order[start:end]].sum()) for start, end in pairwise(bounds))
    count = sum(p.numel() for p in potential.parameters())

    def memory(strategy: str, ranks: int, accumulate: int) -> Memory:
        # A deal leaves a part at most one frame above its even share.
        load = heaviest / (ranks * accumulate) + int(loads.max())
        return rank_memory(
            strategy,
            _weights(config, count),
            ranks,
            activations=per_load * min(load, heaviest),
            accumulate=accumulate,
            offload=config["strategy"]["offload"] == "cpu",
            overlap=has_gpu(config),
        )

    def least(strategy: str, ranks: int) -> Memory | None:
        return None if strategy in SHARDED_WEIGHTS else memory(strategy, ranks, cuts[-1])

    strategy = strategy_of(config)
    return choose_cut(
        cuts,
        False,
        lambda cut: memory(strategy, world, cut.accumulate),
        room,
        key="batch.per_gpu",
        advice=lambda: what_fits(least, world, cast(Room, room)),
    )


_STORES: dict[str, FrameStore] = {}


def _store(config: dict[str, Any]) -> FrameStore:
    """Points of a sweep share an opened store, and hear the linter once."""
    key = repr((config["data"], config["structures"], config["lint"]))
    if key not in _STORES:
        store = open_or_prepare_structures(config["data"], Path(config["structures"]))
        lint_store(store, config["lint"])
        _STORES[key] = store
    return _STORES[key]


_MODULES: dict[tuple, StructureDataModule] = {}


def _data_module(store: FrameStore, cutoff: float, config: dict[str, Any]) -> StructureDataModule:
    """Points of a sweep that see the same frames in the same order share the plan of their batches."""
    data = config["data"]
    limits = {k: v for k, v in config["batch"].items() if k not in ("accumulate", "per_gpu")}
    budget, accumulate = section(BatchBudget, limits, "batch"), config["batch"]["accumulate"]
    wanted = {key: data[key] for key in ("frames", "validation_frames", "workers")}
    key = (store.hash, budget, accumulate, cutoff, config["seed"], *wanted.values())
    if key not in _MODULES:
        _MODULES[key] = StructureDataModule(
            store, budget, cutoff, seed=config["seed"], accumulate=accumulate, **wanted
        )
    return _MODULES[key]


def _check_labels(store: FrameStore, loss: EnergyForceLoss) -> None:
    counts = store.manifest["counts"]
    if loss.forces and counts["force_components_missing"] >= 3 * counts["atoms"]:
        raise ConfigurationError(f"{store.path} has no forces: set loss.forces=0 to train on energies.")
    if loss.energy and counts["without_energy"] >= counts["frames"]:
        raise ConfigurationError(f"{store.path} has no energies: set loss.energy=0 to train on forces.")


def _count_flops(
    model: PotentialConfig, known: Statistics, data: StructureDataModule, loss: EnergyForceLoss
) -> PotentialFlops:
    few = np.arange(min(2, len(data.train)))
    batch = read_batch(data.store, data.train, data.train_edges, few)
    with torch.random.fork_rng(devices=[]):
        potential = build(model, known.elements, neighbours=known.neighbours)
    return count_potential_flops(potential, batch, forces=loss.forces > 0)


def _check_precision(
    precision: str,
    config: dict[str, Any],
    model: PotentialConfig,
    known: Statistics,
    data: StructureDataModule,
) -> None:
    """Refuse a precision that changes the forces by more than ``force_error_limit`` of their RMS."""
    device = device_of(config)
    if precision == "32" or (
        precision == "tf32" and device.type == "cpu"
    ):  # the ranks have the GPU to try it
        return
    limit = float(config["force_error_limit"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        potential = build(model, known.elements, neighbours=known.neighbours).to(device)
    batch = read_batch(data.store, data.train, data.train_edges, np.arange(min(8, len(data.train))))
    error = force_error(potential, batch.to(device), precision)
    if not error <= limit:
        raise ConfigurationError(
            f"precision={precision}: forces of {model.family} differ from float64 by {error:.2%} of their "
            f"RMS, more than force_error_limit={limit:g}. Use precision=32."
        )


def _epoch(data: StructureDataModule, flops: PotentialFlops) -> Epoch:
    atoms, edges = int(data.plan.atoms.sum()), int(data.plan.edges.sum())
    order, bounds = data.plan.epoch(0)
    pairs = sum(
        (end - start) * int(data.plan.atoms[order[start:end]].max()) ** 2 for start, end in pairwise(bounds)
    )
    return Epoch(
        cuts=len(bounds) - 1,
        amounts={"frames": len(data.train), "atoms": atoms},
        flops=flops.of(atoms, edges, pairs, len(data.train)),
    )
