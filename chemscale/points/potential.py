"""An interatomic potential on a frame store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chemscale.common.files import atomic_folder, write_json
from chemscale.common.sections import ConfigurationError
from chemscale.hardware.memory import Memory, rank_memory
from chemscale.hardware.step_time import Work
from chemscale.models.adaptation.lora import merged
from chemscale.models.kernels.compiled import use_kernels
from chemscale.models.potential import Potential
from chemscale.models.potentials import PotentialConfig, build, parameter_counts, read_config, save_potential
from chemscale.points.base import Point, shared_fields
from chemscale.points.data import read_structure_data
from chemscale.points.estimates.trial import free_gpu, time_trial
from chemscale.points.memory.potential import (
    WORKING,
    PotentialSections,
    counted_work,
    decide_micro_batching,
    kept_bytes,
    load_of,
    objective,
    weights_of,
)
from chemscale.points.parents.potential import PotentialBeginning
from chemscale.points.sections import Sections
from chemscale.points.shared_data import SharedData
from chemscale.points.uncertainty.chosen import selected_positions
from chemscale.records import Loss, RunRecord
from chemscale.structures.batches import labels_of, read_batch
from chemscale.structures.charges import check_charges
from chemscale.structures.data_module import StructureDataModule
from chemscale.structures.references import Statistics
from chemscale.structures.replay.frames import Replay
from chemscale.structures.settings import StructureData
from chemscale.structures.store import FrameStore
from chemscale.tasks.losses import EnergyForceLoss
from chemscale.tasks.potential import InteratomicPotential
from chemscale.training.budget import Epoch
from chemscale.training.metrics.flops import PotentialFlops, count_potential_flops
from chemscale.training.metrics.precision import force_error
from chemscale.training.trainer import set_threads


@dataclass(frozen=True)
class PotentialPoint(Point):
    """One potential: SchNet, PaiNN, SpookyNet, NequIP, Allegro or MACE."""

    data: StructureDataModule
    store: FrameStore
    model: PotentialConfig
    beginning: PotentialBeginning
    statistics: Statistics
    loss: EnergyForceLoss
    ema: float | None
    flops: PotentialFlops
    notes: tuple[str, ...]

    unit = "atoms"

    @classmethod
    def read(cls, config: dict[str, Any], shared: SharedData) -> PotentialPoint:
        """Check a resolved configuration and build what it describes; prepares a missing store.

        Args:
            config: plain dictionaries.
            shared: data that points have in common.

        Raises:
            ConfigurationError: what cannot be run, by its key.
            ValueError: what the package that reads a section refuses.
        """
        if "loss" not in config:
            raise ConfigurationError(
                f"model={config['model']['family']} is a potential: add task=potential to the command "
                "(energies and forces, batches of frames)."
            )
        config, beginning = PotentialBeginning.read(config)
        sections, task = Sections.read(config), PotentialSections.read(config)
        general, world = sections.general, sections.placement.world
        model = read_config(beginning.shape_of(config["model"]))
        store = shared.store(task.data, general.structures_folder, task.lint)
        notes = _check_model(model, store, task.data)
        beginning.check(store, task.data)

        def batches(accumulate: int, replay: Replay | None = None) -> StructureDataModule:
            how: dict[str, Any] = {"accumulate": accumulate, "seed": general.seed, "replay": replay}
            return shared.frames(store, task.batch.budget, model.cutoff, task.data, **how)

        known = beginning.statistics(batches(1), task.data)
        known, replay = beginning.replay(known, model.cutoff, task.data, shared, general.structures_folder)

        def make() -> Potential:
            return beginning.adapt(build(model, known.elements, neighbours=known.neighbours))

        micro_batching = decide_micro_batching(sections, task, make, lambda parts: batches(parts, replay))
        data = batches(micro_batching.accumulate, replay)
        data.training_batches(0, world)  # refuses more ranks than a step has frames
        _check_labels(store, task.loss)
        _check_stress(store, data, task.loss)
        _check_validation(data, task.loss)
        flops = _count_flops(make, model, data, task.loss)
        subset = f"-n{len(data.train)}" if task.data.frames or task.data.selection else ""
        subset += beginning.suffix
        common = shared_fields(
            sections,
            micro_batching,
            data_hash=store.hash,
            name=f"{model.family}-w{model.width}-l{model.layers}{subset}",
            epoch=_epoch(data, flops),
            cuts_per_step=1,
        )
        _check_precision(sections, task, lambda: beginning.build(model, known), data)
        return cls(
            **common,
            store=store,
            data=data,
            model=model,
            beginning=beginning,
            statistics=known,
            loss=task.loss,
            ema=task.ema,
            flops=flops,
            notes=(*known.notes, *notes),
        )

    @property
    def data_hash(self) -> str:
        return self.store.hash

    def build_potential(self) -> Potential:
        """With the weights that training begins with."""
        return self.beginning.build(self.model, self.statistics)

    def _whole(self) -> Potential:
        """One of its shape with any weights, none of them frozen."""
        known = self.statistics
        with torch.random.fork_rng(devices=[]):
            return build(self.model, known.elements, neighbours=known.neighbours)

    def _like(self) -> Potential:
        """One of its shape with any weights, frozen where it is."""
        return self.beginning.adapt(self._whole())

    def build_module(self) -> InteratomicPotential:
        return InteratomicPotential(
            self.build_potential(),
            self.loss,
            self.optimizer,
            self.schedule,
            self.steps,
            ema=self.ema,
        )

    def parameter_counts(self) -> dict[str, int]:
        return parameter_counts(self._whole())

    def batch_flops(self, batch: Any) -> float:
        counts = batch.counts
        return self.flops.of(counts["atoms"], counts["edges"], batch.padded_pairs, counts["frames"])

    def describe_data(self) -> str:
        counts = self.store.manifest["counts"]
        level = self.store.manifest["level"] or "level of theory not stated"
        lines = [
            f"Structures {self.store.path.name} ({level}): {counts['train']:,} training and "
            f"{counts['validation']:,} validation frames of {counts['molecules']:,} molecules.",
            *self.notes,
        ]
        return "\n".join(lines)

    def describe_parent(self) -> str:
        return self.beginning.describe(self._whole(), self.data.replay, len(self.data.train))

    def note_unique(self, record: RunRecord) -> None:
        record.parent = self.beginning.note(self._whole(), self.data.replay)
        record.data.unique_frames = len(self.data.train)
        record.data.unique_atoms = int(self.store.sizes[self.data.train].sum())

    def memory(self, strategy: str | None = None, world: int | None = None) -> Memory:
        planned = self.placement.world
        world = planned if world is None else world
        return rank_memory(
            strategy or self.strategy,
            weights_of(self._like(), self.optimizer, self.ema),
            world,
            activations=self._kept * planned / world,
            accumulate=self.settings.micro_batching.accumulate,
            offload=self.settings.strategy.offload == "cpu",
            overlap=self.placement.has_gpu,
        )

    @property
    def micro_batch(self) -> int:
        parts = self.placement.world * self.settings.micro_batching.accumulate
        return -(-int(np.diff(self.data.plan.epoch(0)[1]).max()) // parts)

    @cached_property
    def _kept(self) -> float:
        """Bytes that the first micro-batch of one rank needs for its backward pass."""
        batch = self.data.training_batches(0, self.placement.world)[0]
        with torch.random.fork_rng(devices=[]):
            module = self.build_module().train()
        kept = WORKING * kept_bytes(module, self.loss, batch)
        if not self.placement.has_gpu:
            return kept
        counted, load = counted_work(self._like, self.data, self.loss)
        return kept + counted.largest * load_of(batch) / load

    def work(self) -> Work:
        """Counted on a few frames here; bytes grow with atoms and edges, operations do not."""
        batch = self.data.training_batches(0, self.placement.world)[0]
        counted, load = counted_work(self._like, self.data, self.loss)
        moved = counted.moved * load_of(batch) / load
        return Work(counted.operations, self.batch_flops(batch), moved, self.parameter_counts()["all"])

    def flops_per_second(self) -> float:
        """Of a real step on the first micro-batch."""
        set_threads(self.settings.trainer.threads)
        use_kernels(self.settings.trainer.kernels)
        device = self.placement.trial_device
        flops, seconds = self._trial(device)
        free_gpu(device)
        return flops / (seconds + self.loop_seconds(device))

    def _trial(self, device: torch.device) -> tuple[float, float]:
        """FLOPs and seconds of a trial step."""
        with torch.random.fork_rng(devices=[]):
            module = self.build_module().to(device).train()
        batch = self.data.training_batches(0, self.placement.world)[0].to(device)
        seconds = time_trial(lambda: objective(module, self.loss, batch).backward(), device, self.precision)
        return self.batch_flops(batch), seconds

    def describe_model(self, folder: Path) -> dict[str, Any]:
        with torch.random.fork_rng(devices=[]):
            header = self._whole().header
        write_json(folder / "config.json", header | self.origin)
        return {"elements": header["elements"]}

    @property
    def origin(self) -> dict[str, Any]:
        """What a folder of the model says that it was trained on."""
        data = {
            **{key: self.store.manifest[key] for key in ("name", "level", "hash")},
            **{key: self.store.manifest.get(key) for key in ("kind", "labels")},
            "reading": read_structure_data(self.config["data"]).reading,
            "electrons": [list(state) for state in self.statistics.electrons],
        }
        if "subtract" in self.store.manifest:
            data["subtract"] = self.store.manifest["subtract"]
        return {"data": data, "identity": self.identity}

    def save_model(self, module: InteratomicPotential) -> None:
        """The averaged weights, with what a calculator has to know."""
        with atomic_folder(self.model_folder) as partial:
            save_potential(merged(module.best_model), partial, self.origin)

    @staticmethod
    def summary(loss: Loss) -> str:
        values = loss.values
        parts = [
            f"{values[key]:.2f} {unit}"
            for key, unit in (
                ("energy_mae", "meV"),
                ("energy_mae_per_atom", "meV/atom"),
                ("forces_mae", "meV/Å"),
                ("stress_mae", "meV/Å³"),
            )
            if key in values
        ]
        return "MAE " + ", ".join(parts)


def _check_labels(store: FrameStore, loss: EnergyForceLoss) -> None:
    counts = store.manifest["counts"]
    advice = " ".join(note for note in store.manifest["notes"] if "_key=" in note)
    if loss.forces and counts["force_components_missing"] >= 3 * counts["atoms"]:
        raise ConfigurationError(
            f"{store.path} has no forces: set loss.forces=0 to train on energies. {advice}".strip()
        )
    if loss.energy and counts["without_energy"] >= counts["frames"]:
        raise ConfigurationError(
            f"{store.path} has no energies: set loss.energy=0 to train on forces. {advice}".strip()
        )


def _check_stress(store: FrameStore, data: StructureDataModule, loss: EnergyForceLoss) -> None:
    if loss.stress and "optional" not in store.manifest:
        raise ConfigurationError(
            f"loss.stress={loss.stress:g}: {store.path} was prepared before stresses were read. Remove the "
            "folder, and the next command prepares it anew."
        )
    if loss.stress and not labels_of(store, data.train)["stresses"]:
        raise ConfigurationError(
            f"loss.stress={loss.stress:g}: no training frame of {store.path} has a stress. Name its key by "
            "data.stress_key, or set loss.stress=0."
        )


def _check_validation(data: StructureDataModule, loss: EnergyForceLoss) -> None:
    """Refuse held-out frames none of whose labels weighs anything: no validation would have a number."""
    found = labels_of(data.store, data.validation)
    weighed = {"energies": loss.energy, "components": loss.forces, "stresses": loss.stress}
    if not any(weight and found[label] for label, weight in weighed.items()):
        raise ConfigurationError(
            f"{data.store.path}: none of the {len(data.validation)} validation frames has a label that "
            f"loss.energy={loss.energy:g}, loss.forces={loss.forces:g} and loss.stress={loss.stress:g} "
            "weigh. Raise "
            "data.validation_fraction or data.validation_frames, or weigh the labels that there are."
        )


def _check_model(model: PotentialConfig, store: FrameStore, data: StructureData) -> list[str]:
    """Refuse data that the network cannot tell apart, or that its physics does not hold for."""
    chosen, train = selected_positions(store, data), store.part("train")
    learned = (train if chosen is None else train[chosen])[: data.frames]
    frames = np.concatenate([learned, store.part("validation")[: data.validation_frames]])
    if getattr(model, "molecules_only", False):
        crystals = np.sort(frames[store.is_periodic(frames)])
        if len(crystals):
            raise ConfigurationError(
                f"model.electrostatics=true is for molecules in vacuum, but {len(crystals):,} of "
                f"{len(frames):,} frames are periodic ({store.where(int(crystals[0]))}): the energy of a "
                "crystal would depend on how its atoms are wrapped into the cell. Set "
                "model.electrostatics=false, or pbc to False where they are molecules."
            )
    return [] if getattr(model, "knows_charge", False) else check_charges(store, frames, model.family)


def _count_flops(
    make: Callable[[], Potential], model: PotentialConfig, data: StructureDataModule, loss: EnergyForceLoss
) -> PotentialFlops:
    few = np.flatnonzero(data.train_edges.counts)[:2]
    if not len(few):
        raise ConfigurationError(
            f"model.cutoff={model.cutoff:g}: no training frame of {data.store.path} has atoms this near to "
            "each other, in Å. Raise it, or check data.units.length."
        )
    batch = read_batch(data.store, data.train, data.train_edges, few)
    with torch.random.fork_rng(devices=[]):
        potential = make()
    return count_potential_flops(potential, batch, forces=loss.forces > 0)


def _check_precision(
    sections: Sections,
    task: PotentialSections,
    make: Callable[[], Potential],
    data: StructureDataModule,
) -> None:
    """Refuse a precision that changes the forces by more than ``force_error_limit`` of their RMS."""
    precision, device = sections.trainer.precision, sections.placement.trial_device
    if precision == "32" or (
        precision == "tf32" and device.type == "cpu"
    ):  # the ranks have the GPU to try it
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sections.general.seed)
        potential = make().to(device)
    batch = read_batch(data.store, data.train, data.train_edges, np.arange(min(8, len(data.train))))
    error = force_error(potential, batch.to(device), precision)
    if not error <= task.force_error_limit:
        raise ConfigurationError(
            f"precision={precision}: forces differ from float64 by {error:.2%} of their RMS, "
            f"more than force_error_limit={task.force_error_limit:g}. Use precision=32."
        )


def _epoch(data: StructureDataModule, flops: PotentialFlops) -> Epoch:
    order, bounds = data.plan.epoch(0)
    atoms, edges = int(data.plan.atoms[order].sum()), int(data.plan.edges[order].sum())
    pairs = sum(
        (end - start) * int(data.plan.atoms[order[start:end]].max()) ** 2 for start, end in pairwise(bounds)
    )
    return Epoch(
        cuts=len(bounds) - 1,
        amounts={"frames": len(order), "atoms": atoms},
        flops=flops.of(atoms, edges, pairs, len(order)),
    )
