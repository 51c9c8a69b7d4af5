"""Energies and forces of the structures of a file, beside the labels that it has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.stress import full_3x3_to_voigt_6_stress

from chemscale.common.files import atomic_path
from chemscale.common.progress import ProgressBar
from chemscale.hardware.devices import named_device
from chemscale.models.potential import Potential
from chemscale.models.potentials import load_potential
from chemscale.points.trained.label_errors import LabelErrors, Labelled
from chemscale.points.uncertainty.opening import open_uncertain
from chemscale.points.uncertainty.stated import StatedDeviations
from chemscale.structures.blocks import Block, Source, SourceError
from chemscale.structures.calculator import atoms_of, model_folder, structure_of
from chemscale.structures.dispersion import Dispersion, choose
from chemscale.structures.graphs import Structure, collate
from chemscale.structures.sources import open_source
from chemscale.structures.sources.ase_files import AseFile
from chemscale.structures.sources.electrons import ElectronCount
from chemscale.structures.sources.labels import PREDICTED_BY, LabelKeys, Labels, Place
from chemscale.structures.uncertainty.committee import Committee
from chemscale.structures.uncertainty.last_layer import LastLayer

WRITTEN = ("energy", "forces", "stress", "virial", "virials")
"""Keys that labels have beside predictions: of others there is no doubt whose they are."""


@dataclass(frozen=True)
class Prediction:
    """What was predicted for a file.

    Args:
        structures: how many.
        seconds: that it took.
        errors: against the labels of the file.
        notes: how the file was read, and which labels it was compared with.
    """

    structures: int
    seconds: float
    errors: LabelErrors
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FileReading:
    """How a file to predict is read; None is as the training data were, or else as the format has it.

    Args:
        keys: of the labels.
        energy: unit of the labels.
        length: unit of the positions.
        gradients: whether the forces of the file are gradients.
        stress: unit of the stresses, or of virials one of energy.
        compression: whether these are positive under compression.
    """

    keys: LabelKeys = field(default_factory=LabelKeys)
    energy: str | None = None
    length: str | None = None
    gradients: bool | None = None
    stress: str | None = None
    compression: bool | None = None


def predict_file(
    run: Path | str,
    structures: Path | str,
    out: Path | str,
    *,
    batch: int = 32,
    device: str | None = None,
    forces: bool = True,
    std: bool = False,
    stress: bool = True,
    reading: FileReading | None = None,
    dispersion: str | Dispersion | None = "auto",
    progress: bool = True,
) -> Prediction:
    """Predict every structure of a file and write them as extended XYZ, whole or not at all.

    ``energy`` and ``forces`` of the written file are predictions, as its ``predicted_by`` says; the labels
    they were compared with stand beside them as ``REF_energy`` and ``REF_forces``, in eV and eV/Å. So do
    ``stress`` and ``REF_stress`` of crystals, in eV/Å³ and positive under tension.

    Args:
        run: directory of a run, RUNS/SWEEP/NAME, or a model folder.
        structures: any file that training reads: whatever ASE reads, npz, HDF5.
        out: the file to write.
        batch: structures at once.
        device: cpu, cuda or cuda:N; the GPU if there is one, where None.
        forces: also predict forces.
        std: also write the standard deviations ``energy_std`` (eV) and ``forces_std`` (N, 3) of each frame:
            of a committee where `run` is a sweep of seeds, else of the last layer (``points.uncertainty``).
        stress: also predict the stresses of structures that are periodic in three directions.
        reading: names of labels and units, in place of those of the training data.
        dispersion: added to the network, as ``ChemscaleCalculator`` has it.
        progress: whether it is shown.

    Raises:
        DispersionError: a functional or an element that D3 does not know.
        ValueError: `out` exists, or the device does not.
        FileNotFoundError: `structures` does not.
        SourceError: `structures` cannot be read; the message names the frame.
        PotentialError: no potential is there.
        UnknownElementError: the potential was not made for an element of the file.
        UnknownChargeError: it can know nothing of a charge or multiplicity of the file.
        BoundaryError: it is for molecules alone, and a structure is periodic.
        CommitteeError: `std` is asked of a sweep whose points are no committee.
    """
    run, structures, out = Path(run), Path(structures), Path(out)
    if out.exists():
        raise ValueError(f"{out} exists: choose another --out or remove it.")
    if not structures.is_file():
        what = "a folder. Give one file of it at a time" if structures.is_dir() else "no such file"
        raise FileNotFoundError(f"{structures}: {what}.")
    place = named_device(device)
    uncertain = open_uncertain(run, device=device, batch=batch) if std else None
    potential = (
        uncertain.model if uncertain else load_potential(model_folder(run)).to(place).requires_grad_(False)
    )
    deviations = StatedDeviations(uncertain) if uncertain else None
    added = choose(potential.header, dispersion)
    opened = _Opened(potential.header.get("data") or {}, structures, reading or FileReading())
    errors = LabelErrors()
    started = time.monotonic()
    with (
        atomic_path(out) as partial,
        open(partial, "w") as file,
        ProgressBar("predict", None, "structures", silent=not progress) as shown,
    ):
        for group in _groups(opened.structures(), batch):
            graphs = [structure_of(each.atoms).with_neighbours(potential.cutoff) for each in group]
            _check(potential, group, graphs, structures)
            wanted = stress and any(each.crystal for each in group)
            predicted = _predict(potential, collate(graphs).to(place), forces, wanted, deviations)
            for number, (each, of) in enumerate(zip(group, predicted, strict=True)):
                found = of if each.crystal else replace(of, stress=None)
                if added is not None:
                    found = _with_dispersion(added, each.atoms, found)
                errors.add(each, found.energy, found.forces, found.stress)
                if deviations:
                    deviations.add(number, each, found.energy, found.forces)
                _write(file, each, found, opened, str(run))
            shown.advance(len(group))
        if not shown.done:
            raise SourceError(f"{structures}: there is no frame in it.")
    notes = [*opened.notes(), *(deviations.notes() if deviations else [])]
    notes += [f"{added.describe()} was added to the network."] if added else []
    return Prediction(shown.done, time.monotonic() - started, errors, notes)


@dataclass(frozen=True)
class _Predicted:
    """Energy in eV, forces (N, 3) in eV/Å, stress (3, 3) in eV/Å³ of a structure; None if not asked for."""

    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None


def _with_dispersion(added: Dispersion, atoms: Atoms, predicted: _Predicted) -> _Predicted:
    found = added.of(atoms.numbers, atoms.positions, np.asarray(atoms.cell), np.asarray(atoms.pbc))
    return _Predicted(
        predicted.energy + found.energy,
        None if predicted.forces is None else predicted.forces + found.forces,
        None if predicted.stress is None or found.stress is None else predicted.stress + found.stress,
    )


class _Opened:
    """A file to predict, read as the training data of a model were.

    Args:
        trained: what the model says of its training data.
        path: of the file.
        reading: what is given instead.
    """

    def __init__(self, trained: dict[str, Any], path: Path, reading: FileReading):
        places = [Place(**place) for place in trained.get("labels") or []]
        self.trained_on = places[0] if len(places) == 1 else None
        self.labels = Labels(reading.keys, self.trained_on, predictions=False)
        self.electrons = ElectronCount()
        self.said: list[str] = []
        keys, self.source = _open(path, reading.keys, LabelKeys.of(trained.get("reading") or {}))
        alike = trained.get("kind") and trained["kind"] == getattr(self.source, "kind", None)
        known = trained["reading"] if alike else {}
        of_training = {key: v for key, v in (known.get("units") or {}).items() if v is not None}
        units = of_training | {key: v for key, v in vars(reading).items() if key != "keys" and v is not None}
        reading.keys.check_sign("gradients" in units)
        if units or known.get("level"):
            given = replace(self.source.conversion, **units) if units else None  # type: ignore[attr-defined]
            self.source = open_source(path, units=given, level=known.get("level"), keys=keys)
        if units:
            self.said.append(f"The file was read in {self.source.units}.")

    @property
    def stress_key(self) -> str | None:
        """Key of the stresses that are compared."""
        found = self.source.stresses.place if isinstance(self.source, AseFile) else None
        return found[0] if found else None

    @property
    def place(self) -> Place | None:
        """Where the labels stand that are compared."""
        return next(iter(getattr(self.source, "places", [])), None)

    def structures(self) -> Iterator[Labelled]:
        """Every structure of the file.

        Raises:
            SourceError: one that cannot be read; the message names it.
        """
        if isinstance(self.source, AseFile):
            for row, found in enumerate(self.source.labelled(self.labels)):
                try:
                    self.electrons.read(found[0])
                except SourceError as error:
                    raise SourceError(f"{self.source.path}, frame {row}: {error}") from None
                yield Labelled(row, *found)
            return
        for block in self.source.blocks():
            for number in range(len(block)):
                yield _of_block(block, number)

    def notes(self) -> list[str]:
        """How the file was read, once it has been."""
        told = []
        if isinstance(self.source, AseFile):
            told = [*self.labels.notes(), *self.source.stresses.notes(), *self.electrons.notes()]
        trained = self.trained_on
        if trained and self.place and trained != self.place:
            told.append(f"Compared with {self.place.name}; the model was trained on {trained.name}.")
        return [*self.said, *self.source.notes, *told]


def _open(path: Path, given: LabelKeys, trained: LabelKeys) -> tuple[LabelKeys, Source]:
    """Open a file by the keys that are given, else by those of the training data where it has them."""
    if given == LabelKeys() != trained:
        try:
            return trained, open_source(path, keys=trained)
        except SourceError:
            pass  # another kind of file
    return given, open_source(path, keys=given)


def _of_block(block: Block, number: int) -> Labelled:
    """One frame of a block as ASE's atoms."""
    row, atoms = int(block.rows[number]), atoms_of(block, number)
    unknown = np.full((3, 3), np.nan)
    stress = unknown if block.stresses is None else block.stresses[number]
    return Labelled(row, atoms, float(block.energies[number]), block.forces[number], stress)


def _groups(structures: Iterator[Labelled], size: int) -> Iterator[list[Labelled]]:
    while group := list(islice(structures, size)):
        yield group


def _check(
    potential: Potential | Committee | LastLayer, group: list[Labelled], graphs: list[Structure], path: Path
) -> None:
    """Refuse a structure that the potential can say nothing of, by its frame."""
    try:
        potential.check(collate(graphs))
    except ValueError:
        for each, graph in zip(group, graphs, strict=True):
            try:
                potential.check(collate([graph]))
            except ValueError as error:
                raise type(error)(f"{path}, frame {each.row}: {error}") from None
        raise


def _predict(
    potential: Potential | Committee | LastLayer,
    data: Any,
    forces: bool,
    stress: bool,
    deviations: StatedDeviations | None = None,
) -> list[_Predicted]:
    result = potential(data, forces=forces, stress=stress)
    if deviations:
        deviations.take(result, data)
    energies = result.energy.detach().cpu().numpy()
    sizes = (data.ptr[1:] - data.ptr[:-1]).tolist()
    split = torch.split(result.forces.cpu(), sizes) if forces else [None] * len(sizes)
    tensors = result.stress.detach().cpu() if stress else [None] * len(sizes)
    return [
        _Predicted(
            float(energy),
            None if force is None else force.numpy(),
            None if tensor is None else tensor.numpy(),
        )
        for energy, force, tensor in zip(energies, split, tensors, strict=True)
    ]


def _write(file: IO[str], found: Labelled, predicted: _Predicted, opened: _Opened, run: str) -> None:
    """Write one structure: predictions as results of a calculator, labels behind REF_."""
    atoms = found.atoms
    old = {} if PREDICTED_BY in atoms.info or atoms.calc is None else atoms.calc.results
    compared = opened.place
    read = {compared.energy, compared.forces} if compared else set()
    read |= {opened.stress_key} if np.isfinite(found.stress).all() else set()
    for key, value in old.items():
        if compared is None or compared.origin == "info" or key not in read:
            kept = atoms.arrays if np.shape(value)[:1] == (len(atoms),) else atoms.info
            kept[f"file_{key}"] = value
    for holder in (atoms.info, atoms.arrays):
        for key in (*WRITTEN, *(f"REF_{key}" for key in WRITTEN), "free_energy"):
            if key in holder:
                value = holder.pop(key)
                if key not in read:
                    holder[f"file_{key}"] = value
    if np.isfinite(found.energy):
        atoms.info["REF_energy"] = found.energy
    if np.isfinite(found.forces).any():
        atoms.arrays["REF_forces"] = found.forces
    if np.isfinite(found.stress).all():
        atoms.info["REF_stress"] = found.stress
    atoms.info[PREDICTED_BY] = run
    results: dict[str, Any] = {"energy": predicted.energy}
    results |= {} if predicted.forces is None else {"forces": predicted.forces}
    if predicted.stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(predicted.stress)
    atoms.calc = SinglePointCalculator(atoms, **results)
    write(file, atoms, format="extxyz")
