"""Reader of whatever ASE reads frame by frame: extended XYZ, trajectories, ASE databases."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from ase.db import connect
from ase.io import iread
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from chemscale.common.logs import brief
from chemscale.structures.blocks import Block, SourceError
from chemscale.structures.sources.aselmdb import SUFFIX as LMDB_SUFFIX
from chemscale.structures.sources.aselmdb import open_lmdb
from chemscale.structures.sources.base import NOT_STATED, Reader, formula
from chemscale.structures.sources.containers.xyz_layout import check_layout
from chemscale.structures.sources.electrons import ElectronCount, is_electron_name
from chemscale.structures.sources.labels import LabelKeys, Labels, Stresses
from chemscale.structures.sources.labels.names import label_kind
from chemscale.structures.sources.labels.stated_units import (
    same_unit,
    stated_stress,
    stated_units,
    units_of,
    unread_units,
)
from chemscale.structures.sources.labels.stress import check_stated
from chemscale.structures.sources.labels.weights import FrameWeights
from chemscale.structures.sources.outputs import run_state
from chemscale.structures.units import Units

MAX_FRAMES = 512
"""Frames of a block at most."""

FIRST_FRAMES, FIRST_ATOMS = 1024, 500_000
"""Frames that decide where the labels of a file stand, and atoms that they have together at most."""

FIRST_LOOK = 2
"""Frames that ASE goes through to give the first."""

AS_WRITTEN = ("extxyz", "db", "json", "traj", "aselmdb")
"""Formats whose numbers are as somebody wrote them: of others, outputs of codes, ASE converts stresses."""

MIN_PERIOD = 0.05
"""Length of a cell vector at least, in the unit of the file, which may be nm."""


@dataclass
class _Frame:
    """One frame in eV and Å; frames that follow each other and have the same key make a block."""

    key: tuple[str, bytes, bool]
    numbers: np.ndarray
    positions: np.ndarray
    energy: float
    forces: np.ndarray
    row: int
    charge: int
    spin: int
    cell: np.ndarray
    pbc: np.ndarray
    stress: np.ndarray
    weight: float


class AseFile(Reader):
    """Frames of an extended XYZ file, of an ASE database or LMDB, or of any format of `ase.io.iread`.

    Labels of all frames come from one place: ``REF_energy`` and ``REF_forces``, or those of the calculator
    (where ASE puts the ``energy`` and ``forces`` of extended XYZ; ``free_energy`` where it stands beside
    forces), or ``energy`` and ``forces`` of ``info`` and ``arrays``; `labels.Labels` has the rule, and the
    notes name the place. Charge and multiplicity stand in ``info`` under one of the names of `electrons`. A
    block is named by ``config_type`` (IsolatedAtom among them) or by its formula, and holds up to 512 frames
    that follow each other and have the same name, atoms and periodicity. Stresses and virials come from the
    same place (`labels.Stresses`), weights of frames from ``config_weight`` or ``weight``.

    Args:
        path: the file.
        level: level of theory, for the manifest.
        units: eV, Å and forces unless given or stated by the file. They are those of labels, positions and
            cells alike.
        keys: of the labels, in place of the rule.

    Raises:
        SourceError: no such file, not of a format that ASE knows, or it states units that cannot be applied.
    """

    def __init__(
        self,
        path: str | Path,
        level: str | None = None,
        units: Units | None = None,
        keys: LabelKeys | None = None,
    ):
        super().__init__(path, level or NOT_STATED, units or Units())
        self.format = self.kind = ase_format(self.path)
        self.keys, self._given = keys or LabelKeys(), units is not None
        self.needs_labels = True
        """Whether a file without labels is refused: one of several only counts as unlabelled."""
        self._frames: int | None = None
        self._stated_stress: dict[str, str] = {}
        self._stated = self._units_of_the_file()
        self.stresses, self.weights = self._stress_readers()
        if self._stated:
            listed = ", ".join(f"{quantity} in {name}" for quantity, name in self._stated.items())
            if units is None:
                self.use(self._checked(units_of, self._stated, Units()))
                self.note(f"The file states its units, which were applied: {listed}.")
            else:
                self.note(f"The file states its units ({listed}); data.units was applied instead.")

    def blocks(self) -> Iterator[Block]:
        """Every frame, in file order, in bounded memory; eV and Å.

        Raises:
            SourceError: a frame that cannot be read, or no frame with labels; the message names it.
        """
        labels, electrons = Labels(self.keys), ElectronCount()
        held: list[_Frame] = []
        for row, (atoms, energy, forces, stress) in enumerate(self.labelled(labels)):
            frame = self._frame(row, atoms, energy, forces, stress, electrons)
            if held and (frame.key != held[0].key or len(held) == MAX_FRAMES):
                yield self._join(held)
                held = []
            held.append(frame)
        if held:
            yield self._join(held)
        if self.needs_labels or labels.counts["labelled"]:
            self._checked(labels.refuse_if_wrong)
            self._checked(self.stresses.refuse_if_wrong)
        if not labels.counts["labelled"]:
            self.places = []
        for text in (*labels.notes(), *self.stresses.notes(), *self.weights.notes(), *electrons.notes()):
            self.note(text)

    def total(self) -> int | None:
        """Frames of an extended XYZ file, which is looked through, or of a database."""
        if self.format == "extxyz":
            self._frames = check_layout(self.path)
        elif self.format in ("db", "aselmdb"):
            database = self._checked(_connected, self.path)
            self._frames = len(database.ids) if self.format == "aselmdb" else database.count()
        return self._frames

    def labelled(self, labels: Labels) -> Iterator[tuple[Any, float, np.ndarray, np.ndarray]]:
        """ASE's atoms of every frame in Å, with its energy, forces and stress, NaN where missing.

        The energy is in eV, forces (n, 3) in eV/Å, the stress (3, 3) in eV/Å³.

        Args:
            labels: which choose where they stand, and count.

        Raises:
            SourceError: a frame that cannot be read; the message names it.
        """
        units = self.conversion
        frames = self._atoms()
        first, atoms_held = [], 0
        for atoms in frames:
            first.append(atoms)
            atoms_held += len(atoms)
            if len(first) >= FIRST_FRAMES or atoms_held >= FIRST_ATOMS:
                break
        self._checked(labels.choose, first)
        self.stresses, self.weights = self._stress_readers()
        self.stresses.choose(first, labels.place)
        self.places = [labels.place] if labels.place else []
        for row, atoms in enumerate(chain(first, frames)):
            try:
                check_atoms(atoms)
                if self.format == "extxyz":
                    _check_entries(atoms)
                self._check_units(atoms)
                energy, forces = labels.read(atoms)
                atoms.set_cell(atoms.cell.array * units.to_angstrom, scale_atoms=False)
                atoms.positions *= units.to_angstrom
                stress = self.stresses.read(atoms)
            except SourceError as error:
                raise SourceError(f"{self.path}, frame {row}: {error}") from None
            if labels.place and not self.places:
                self.places = [labels.place]
            yield atoms, energy * units.to_ev, forces * units.to_ev_per_angstrom, stress

    def _stress_readers(self) -> tuple[Stresses, FrameWeights]:
        """What reads stresses and weights in one pass over the file."""
        code = "" if self.format in AS_WRITTEN else self.format
        return Stresses(self.keys.stress, self.conversion, self._stated_stress, code), FrameWeights()

    def first_frame(self) -> Any:
        """ASE's atoms of the first frame as they stand in the file; None if there is none.

        Raises:
            SourceError: it cannot be read.
        """
        return next(self._atoms(first=True), None)

    def _check_units(self, atoms: Any) -> None:
        """Refuse a frame that states other units than the file is read in."""
        if self.format != "extxyz":
            return
        given = self.conversion.stress is not None
        check_stated(stated_stress(atoms.info), self._stated_stress, given)
        if self._given:
            return
        for quantity, name in stated_units(atoms.info).items():
            if not same_unit(quantity, name, self.conversion):
                raise SourceError(
                    f"it states {quantity} in {name}, and the file is read in {self.units}. Make two files "
                    "of them, or give data.units."
                )

    def _atoms(self, first: bool = False) -> Iterator[Any]:
        """ASE's atoms of each frame, or of the first alone, for which no file is read through."""
        if self.format == "extxyz" and self._frames is None:
            check_layout(self.path, FIRST_LOOK if first else None)
        databases = ("db", "json", "aselmdb")
        frames = _database(self.path) if self.format in databases else _iread(self.path, first)
        state = None if first else run_state(self.path, self.format)
        for text in state.notes() if state else ():
            self.note(text)
        row = 0
        while True:
            try:
                atoms = next(frames)
            except StopIteration:
                return
            except SourceError:
                raise
            except Exception as error:  # whatever a format's own parser raises
                known = ", which is no element or name that it knows" if isinstance(error, KeyError) else ""
                raise SourceError(
                    f"{self.path}, frame {row}: ASE cannot read it as {self.format} ({brief(error)}{known})."
                ) from error
            if state and row in state.unconverged:
                atoms.calc = None
            yield atoms
            row += 1

    def _units_of_the_file(self) -> dict[str, str]:
        """Units that the metadata of a database state, or the first frame of an extended XYZ file."""
        if self.format == "extxyz":
            try:
                first = self.first_frame()
            except SourceError:  # said where it is read
                return {}
            entries = {} if first is None else first.info
        elif self.format in ("db", "json", "aselmdb"):
            try:
                entries = _connected(self.path).metadata
            except SourceError:
                raise
            except Exception as error:  # whatever a backend raises
                raise SourceError(f"{self.path}: not a readable ASE database ({brief(error)}).") from error
        else:
            return {}
        for statement in unread_units(entries):
            self.note(f"The file states {statement}, which was not understood and not applied.")
        self._stated_stress = self._checked(stated_stress, entries)
        return self._checked(stated_units, entries)

    def _checked(self, function: Any, *arguments: Any) -> Any:
        """What a function returns; what it refuses is refused with the name of the file."""
        try:
            return function(*arguments)
        except SourceError as error:
            raise SourceError(f"{self.path}: {error}") from None

    def _frame(
        self,
        row: int,
        atoms: Any,
        energy: float,
        forces: np.ndarray,
        stress: np.ndarray,
        electrons: ElectronCount,
    ) -> _Frame:
        try:
            charge, spin = electrons.read(atoms)
            weight, left_out = self.weights.read(atoms)
        except SourceError as error:
            raise SourceError(f"{self.path}, frame {row}: {error}") from None
        pbc = np.asarray(atoms.pbc, bool)
        name = str(atoms.info.get("config_type") or formula(atoms.numbers))
        return _Frame(
            key=(name, atoms.numbers.tobytes(), bool(pbc.any())),
            numbers=atoms.numbers,
            positions=atoms.positions,
            energy=np.nan if "energy" in left_out else energy,
            forces=np.full_like(forces, np.nan) if "forces" in left_out else forces,
            stress=np.full_like(stress, np.nan) if "stress" in left_out else stress,
            weight=weight,
            row=row,
            charge=charge,
            spin=spin,
            cell=np.asarray(atoms.cell.array, np.float64),
            pbc=pbc,
        )

    def _join(self, frames: list[_Frame]) -> Block:
        name, _, periodic = frames[0].key
        return self.block(
            name=name,
            numbers=frames[0].numbers,
            positions=np.stack([f.positions for f in frames]),
            energies=np.array([f.energy for f in frames]),
            forces=np.stack([f.forces for f in frames]),
            rows=np.array([f.row for f in frames]),
            charges=[f.charge for f in frames],
            spins=[f.spin for f in frames],
            cells=np.stack([f.cell for f in frames]) if periodic else None,
            pbc=np.stack([f.pbc for f in frames]) if periodic else None,
            stresses=np.stack([f.stress for f in frames]) if periodic else None,
            weights=np.array([f.weight for f in frames]),
        )


def check_atoms(atoms: Any) -> None:
    """Refuse what is no structure.

    Args:
        atoms: ASE's.

    Raises:
        SourceError: no atoms, an atom without an element, a coordinate that is not finite, or a periodic
            direction without a cell vector, or whose vectors span no cell.
    """
    if not len(atoms):
        raise SourceError("it has no atoms. Remove it.")
    if atoms.numbers.min() < 1 or atoms.numbers.max() > 118:
        raise SourceError(f"atomic numbers must lie in 1 … 118, got {sorted(set(atoms.numbers.tolist()))}.")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise SourceError("a coordinate is not finite. Remove the frame.")
    if (atoms.pbc & (np.linalg.norm(atoms.cell.array, axis=1) == 0)).any():
        raise SourceError("periodic in a direction without a cell vector.")
    periodic = atoms.cell.array[np.asarray(atoms.pbc, bool)]
    lengths = np.linalg.norm(periodic, axis=1)
    if (lengths < MIN_PERIOD).any():
        raise SourceError(f"a period of {lengths.min():g} is none of a crystal. Correct its cell or its pbc.")
    if len(periodic) and np.linalg.matrix_rank(periodic / lengths[:, None], tol=1e-6) < len(periodic):
        raise SourceError("its cell vectors lie in one plane or line. Correct its cell or its pbc.")


def _check_entries(atoms: Any) -> None:
    """Refuse an empty entry of extended XYZ behind which ASE takes the next entry for its value."""
    for key, value in atoms.info.items():
        swallowed = re.match(r"(\w+)=", value) if isinstance(value, str) else None
        name = swallowed.group(1) if swallowed else ""
        if name and (name.lower() in ("pbc", "lattice") or label_kind(name) or is_electron_name(name)):
            raise SourceError(
                f"{key}= has no value, so that {value} is read as its value and {name} is lost. Write "
                f'{key}="" or remove the entry from the file.'
            )


def ase_format(path: Path) -> str:
    """ASE's name of a file's format.

    Args:
        path: of the file.

    Raises:
        SourceError: ASE does not know its format.
    """
    if path.suffix.lower() == LMDB_SUFFIX:
        return "aselmdb"
    try:
        name = filetype(str(path))
    except (UnknownFileTypeError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise SourceError(f"{path}: not of a format that ASE knows ({brief(error)}).") from None
    if name not in ioformats or not ioformats[name].can_read:
        raise SourceError(f"{path}: not of a format that ASE knows and reads.")
    return name


def _iread(path: Path, first: bool) -> Iterator[Any]:
    return iter(iread(str(path), index=":1" if first else ":", do_not_split_by_at_sign=True))


def _connected(path: Path) -> Any:
    return open_lmdb(path) if path.suffix.lower() == LMDB_SUFFIX else connect(path)


def _database(path: Path) -> Iterator[Any]:
    """Rows of an ASE database, key-value pairs and data in ``info``, where `ase.io` would drop them."""
    for entry in _connected(path).select():
        atoms = entry.toatoms()
        atoms.info.update({**entry.key_value_pairs, **entry.data})
        yield atoms
