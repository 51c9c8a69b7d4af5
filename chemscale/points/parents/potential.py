"""What a potential takes from a trained one: its shape, elements, scale, reference energies and weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from ase.data import chemical_symbols

from chemscale.common.sections import ConfigurationError
from chemscale.models.adaptation.potentials import PotentialGroups, with_elements
from chemscale.models.potential import Potential
from chemscale.models.potentials import PotentialConfig, build, is_potential, load_potential, parameter_counts
from chemscale.points.parents.beginning import Beginning
from chemscale.points.parents.old_frames import open_replay, recorded_data
from chemscale.points.parents.parent import Parent, weights_sha256
from chemscale.points.parents.references import refit
from chemscale.points.parents.settings import REPLAYED, PotentialTransfer
from chemscale.points.shared_data import SharedData
from chemscale.records import RunRecord
from chemscale.structures.data_module import StructureDataModule
from chemscale.structures.references import Statistics
from chemscale.structures.replay.frames import Replay
from chemscale.structures.settings import StructureData
from chemscale.structures.store import PARTS, FrameStore

SPECIAL_REFERENCES = ("isolated", "none")
"""Ways of finding reference energies that a parent's would contradict (``data.references``)."""


@dataclass(frozen=True)
class PotentialParent(Parent):
    """A trained potential.

    Args:
        header: its ``config.json``.
        config: its shape.
        groups_: its parameters by name.
        references: eV of an atom of each of its elements.
        scale: eV of a unit of its network's output.
    """

    files: ClassVar = ("model.safetensors", "config.json")

    header: dict[str, Any]
    config: PotentialConfig
    groups_: PotentialGroups
    references: tuple[float, ...]
    scale: float

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that it knows, ascending."""
        return tuple(self.header["elements"])

    @property
    def neighbours(self) -> float:
        """Mean number of neighbours that its network divides by."""
        return float(self.header["neighbours"])

    @property
    def shape(self) -> dict[str, Any]:
        """Keys of the section ``model`` that it decides, the family first."""
        return dict(self.header["model"])

    @property
    def groups(self) -> PotentialGroups:
        """Its parameters by name."""
        return self.groups_

    @classmethod
    def refuse_family(cls, run: Path, family: str) -> None:
        """Refuse a language model, as ``Parent.refuse_family``."""
        if not is_potential(family):
            raise ValueError(f"{run} is a {family}; only potentials can be trained further by a potential.")

    @classmethod
    def read(cls, folder: Path, record: RunRecord | None) -> Self:
        """Open the model of a folder, as ``Parent.read``."""
        model = load_potential(folder)
        return cls(
            folder=folder,
            name=record.name if record else folder.name,
            record=record,
            weights_sha256=_hash(model),
            header=model.header,
            config=model.network.config,  # type: ignore[arg-type]
            groups_=PotentialGroups(model),
            references=tuple(model.references.tolist()),
            scale=float(model.scale),
        )

    def load(self) -> Potential:
        """The model with its weights, on the CPU, in training, as ``Parent.load``."""
        model = load_potential(self.folder)
        self.refuse_others(_hash(model))
        return model.train()


def _hash(model: Potential) -> str:
    return weights_sha256(model, f"{model.header['elements']} {model.header['neighbours']}\n")


@dataclass(frozen=True)
class PotentialBeginning(Beginning[PotentialParent, PotentialTransfer]):
    """Where a potential begins."""

    kind: ClassVar = PotentialParent
    reader: ClassVar = PotentialTransfer

    @staticmethod
    def groups_of(model: Any) -> PotentialGroups:
        """Groups of a potential."""
        return PotentialGroups(model)

    @property
    def share(self) -> float | None:
        """Share of an epoch's frames that are the parent's; None without."""
        return self.settings.replay if self.settings else None

    def kept(self) -> dict[str, Any]:
        """The hash of the data that are learned again, where any are."""
        return {REPLAYED: recorded_data(self.parent)[0]} if self.parent and self.share else {}

    def shape_of(self, model: dict[str, Any]) -> dict[str, Any]:
        """The section ``model`` without what is about the parent.

        Args:
            model: of ``read``.
        """
        return {key: value for key, value in model.items() if key not in self.reader.names()}

    def check(self, store: FrameStore, data: StructureData) -> None:
        """Refuse data that the parent does not go with, before anything is computed.

        Args:
            store: the data.
            data: their section.

        Raises:
            ConfigurationError: elements that the parent does not know, reference energies that are given
                twice, or old frames among new ones whose labels are without another dispersion.
        """
        if self.parent is None or self.settings is None:
            return
        if isinstance(data.reference_method, dict) or data.references in SPECIAL_REFERENCES:
            raise ConfigurationError(
                f"data.references={data.references}: with model.from it is model.references that decides, "
                "refit (the parent's, shifted by what the frames say) or parent. Leave data.references out."
            )
        if self.share and (said := self._other_dispersion(store)):
            raise ConfigurationError(
                f"model.replay={self.share:g}: {said} Old frames and new ones would contradict each other. "
                "Give the data.subtract that the parent had, or leave model.replay out."
            )
        new = self._new_elements(store)
        if not new:
            return
        if self.settings.new_elements == "refuse":
            raise ConfigurationError(self._unknown(store, new))
        rows = self.parent.groups.elements
        if rows and rows <= self.adaptation.frozen(self.parent.groups):
            way = (
                "Set model.lora.also=elements"
                if self.adaptation.lora
                else "Leave elements out of what is frozen"
            )
            raise ConfigurationError(
                f"model.new_elements=add: {_symbols(new)} would keep the numbers that they begin with, since "
                f"all that the network holds of elements is frozen. {way}."
            )

    def _other_dispersion(self, store: FrameStore) -> str:
        """A sentence where the parent's labels were without another dispersion; empty where not."""
        assert self.parent is not None
        theirs = (self.parent.header.get("data") or {}).get("subtract")
        ours = store.manifest.get("subtract")
        if theirs == ours:
            return ""
        return (
            f"{self.parent.name} learned {_labels_without(theirs)}, and those of {store.path.name} are "
            f"{_labels_without(ours)}."
        )

    def _new_elements(self, store: FrameStore) -> tuple[int, ...]:
        return tuple(sorted(set(store.elements) - set(self.parent.elements if self.parent else ())))

    def _unknown(self, store: FrameStore, new: tuple[int, ...]) -> str:
        """The sentence on elements that the parent does not know."""
        assert self.parent is not None
        frames = np.concatenate([store.part(part) for part in PARTS])
        holding = [int(f) for f in frames if not set(new).isdisjoint(store.numbers(int(f)).tolist())]
        return (
            f"model.from: {self.parent.name} knows {_symbols(self.parent.elements)}, but {len(holding):,} of "
            f"{len(frames):,} frames hold {_symbols(new)} (first {store.where(holding[0])}). "
            "model.new_elements=add gives the network numbers for them that begin as the mean of the others; "
            "or leave these frames out, or begin from a model that knows them."
        )

    def statistics(self, data: StructureDataModule, section: StructureData) -> Statistics:
        """What the potential is built with: of the training frames, or the parent's with shifted references.

        Args:
            data: of the point, without replay.
            section: ``data``.

        Raises:
            ReferenceEnergyError: as ``structures.references.reference_energies``.
        """
        if self.parent is None or self.settings is None:
            return data.statistics(section.reference_method)
        parent = self.parent
        new = self._new_elements(data.store)
        found = refit(self._grown(new), data, new, keep=self.settings.references == "parent")
        notes = list(found.notes)
        if new:
            notes.append(f"New elements: {_symbols(new)}; their numbers begin as the mean of the others.")
        if said := self._other_dispersion(data.store):
            notes.append(f"{said} The difference has to be learned.")
        states = np.unique(data.store.electrons(data.train), axis=0)
        return Statistics(
            elements=tuple(sorted({*parent.elements, *new})),
            references=found.values,
            scale=parent.scale,
            neighbours=parent.neighbours,
            electrons=tuple((int(q), int(s)) for q, s in states),
            notes=tuple(notes),
        )

    def _grown(self, new: tuple[int, ...]) -> Potential:
        """The parent, with numbers for new elements."""
        assert self.parent is not None
        model = self.parent.load()
        return with_elements(model, (*self.parent.elements, *new)) if new else model

    def replay(
        self, known: Statistics, cutoff: float, data: StructureData, shared: SharedData, structures: Path
    ) -> tuple[Statistics, Replay | None]:
        """The old frames that are learned again, their labels put on the new scale of energies.

        Args:
            known: of ``statistics``.
            cutoff: Å.
            data: the section; ``data.verify`` holds for old frames too.
            shared: data that points have in common.
            structures: where stores are kept.

        Returns:
            The statistics with the charges and multiplicities of old frames, and the frames; None without.

        Raises:
            ConfigurationError: they are not there any more, or are others.
        """
        if self.parent is None or not self.share:
            return known, None
        references = dict(zip(known.elements, known.references, strict=True))
        theirs = zip(self.parent.elements, self.parent.references, strict=True)
        shifts = {z: references[z] - energy for z, energy in theirs}
        found = open_replay(self.parent, self.share, shifts, cutoff, shared, structures, verify=data.verify)
        old = np.unique(found.store.electrons(found.frames), axis=0)
        states = sorted({*known.electrons, *((int(q), int(s)) for q, s in old)})
        return replace(known, electrons=tuple(states)), found

    def build(self, config: PotentialConfig, known: Statistics) -> Potential:
        """The potential with the weights that training begins with; what keeps its values is frozen.

        Args:
            config: its shape.
            known: of ``statistics``.
        """
        if self.parent is None:
            return build(
                config,
                known.elements,
                references=known.references,
                scale=known.scale,
                neighbours=known.neighbours,
            )
        new = tuple(sorted(set(known.elements) - set(self.parent.elements)))
        begun = self._grown(new)
        potential = build(
            config,
            known.elements,
            references=known.references,
            scale=known.scale,
            neighbours=known.neighbours,
        )
        tensors = {k: v for k, v in begun.state_dict().items() if k not in ("references", "scale")}
        potential.load_state_dict({**potential.state_dict(), **tensors})
        return self.adapt(potential)

    def adapt(self, potential: Potential) -> Potential:
        """Freeze and insert what the adaptation says; the potential itself is given back.

        Args:
            potential: of the point's shape, whatever its weights.
        """
        return (
            potential
            if self.adaptation.is_full
            else self.adaptation.apply(potential, PotentialGroups(potential))
        )

    def trained_parameters(self, potential: Potential) -> int:
        """Numbers that are trained, adapters included.

        Args:
            potential: of the point's shape, before anything is frozen.
        """
        return self.adaptation.trained_parameters(PotentialGroups(potential))

    def describe(self, whole: Potential, replay: Replay | None, new: int) -> str:
        """One line on the parent for the plan; empty without one.

        Args:
            whole: a potential of the point's shape, nothing frozen.
            replay: the old frames.
            new: frames of its own.
        """
        if self.parent is None:
            return ""
        text = self.describe_start(self.trained_parameters(whole), parameter_counts(whole)["all"])
        if replay is not None:
            text += (
                f" An epoch has {replay.count(new):,} of the parent's {len(replay.frames):,} training frames "
                f"beside {new:,} new ones, their energies shifted by the difference of reference energies."
            )
        return text

    def note(self, whole: Potential, replay: Replay | None) -> dict[str, Any]:
        """What the record of the run says of its parent; nothing without one.

        Args:
            whole: a potential of the point's shape, nothing frozen.
            replay: the old frames.
        """
        if self.parent is None or self.settings is None:
            return {}
        more: dict[str, Any] = {"references": self.settings.references}
        if new := sorted(set(whole.elements) - set(self.parent.elements)):
            more["new_elements"] = new
        if replay is not None:
            more["replay"] = {
                "share": replay.share,
                "frames": len(replay.frames),
                "data_hash": replay.store.hash,
                "shifts": {str(z): shift for z, shift in replay.shifts.items()},
            }
        return self.note_start(self.trained_parameters(whole), **more)


def _labels_without(subtract: dict[str, Any] | None) -> str:
    """Labels by the dispersion that was subtracted from them, in words."""
    if subtract is None:
        return "total labels"
    three = " with three-body terms" if subtract.get("three_body") else ""
    return f"labels without {subtract['method']}{three} of {subtract['functional']}"


def _symbols(elements: tuple[int, ...]) -> str:
    return ", ".join(chemical_symbols[z] for z in elements)
