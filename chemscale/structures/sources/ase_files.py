"""Reader of whatever ASE reads frame by frame: extended XYZ, trajectories, ASE databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.db import connect
from ase.io import iread
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from chemscale.structures.blocks import Block, SourceError
from chemscale.structures.sources.base import NOT_STATED, Reader, formula, whole
from chemscale.structures.units import Units

MAX_FRAMES = 512
"""Frames of a block at most."""

CONVENTIONS = ("REF_energy/REF_forces", "energy/forces of the calculator", "energy/forces of info and arrays")
"""Where labels may stand; the first place that a frame has is read."""


@dataclass
class _Frame:
    """One frame in eV and Å; frames that follow each other and have the same key make a block."""

    key: tuple[str, bytes, bool]
    numbers: np.ndarray
    positions: np.ndarray
    energy: float
    forces: np.ndarray
    row: int
    charge: np.ndarray
    spin: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray


class AseFile(Reader):
    """Frames of an extended XYZ file, of an ASE database, or of any format of `ase.io.iread`.

    Labels are ``REF_energy`` and ``REF_forces``, else those of the calculator (where ASE puts the ``energy``
    and ``forces`` of extended XYZ), else ``energy`` and ``forces`` of ``info`` and ``arrays``; a frame's two
    labels come from one place, which the notes name. ``charge`` and ``spin`` (2S+1) stand in
    ``info``. A block is named by ``config_type`` (IsolatedAtom among them) or by its formula, and holds up
    to 512 frames that follow each other and have the same name, atoms and periodicity. Stresses are not read.

    Args:
        path: the file.
        level: level of theory, for the manifest.
        units: eV, Å and forces unless given. They are those of labels, positions and cells alike.

    Raises:
        SourceError: no such file, or not of a format that ASE knows.
    """

    def __init__(self, path: str | Path, level: str | None = None, units: Units | None = None):
        super().__init__(path, level or NOT_STATED, units or Units())
        self.format = ase_format(self.path)

    def blocks(self) -> Iterator[Block]:
        """Every frame, in file order, in bounded memory; eV and Å."""
        used: Counter[str] = Counter()
        unread: Counter[str] = Counter()
        held: list[_Frame] = []
        for row, atoms in enumerate(self._atoms()):
            frame = self._frame(row, atoms, used, unread)
            if held and (frame.key != held[0].key or len(held) == MAX_FRAMES):
                yield self._join(held)
                held = []
            held.append(frame)
        if held:
            yield self._join(held)
        places = [f"{place} in {used[place]} frames" for place in CONVENTIONS if used[place]]
        if places:
            self.note(f"Labels: {'; '.join(places)}.")
        for text, frames in unread.items():
            self.note(f"{frames} frames {text}.")

    def _atoms(self) -> Iterator[Any]:
        """ASE's atoms of each frame."""
        frames = _database(self.path, self.note) if self.format in ("db", "json") else _iread(self.path)
        row = 0
        while True:
            try:
                atoms = next(frames)
            except StopIteration:
                return
            except Exception as error:  # whatever a format's own parser raises
                raise SourceError(
                    f"{self.path}, frame {row}: ASE cannot read it as {self.format} ({error})."
                ) from error
            yield atoms
            row += 1

    def _frame(self, row: int, atoms: Any, used: Counter[str], unread: Counter[str]) -> _Frame:
        try:
            place, energy, forces = self._labels(atoms, unread)
            charge = whole(atoms.info.get("charge", 0), np.int8, "charge")
            spin = whole(atoms.info.get("spin", 0), np.uint8, "spin")
        except SourceError as error:
            raise SourceError(f"{self.path}, frame {row}: {error}") from None
        used[place] += 1
        units, pbc = self.conversion, np.asarray(atoms.pbc, bool)
        cell = np.asarray(atoms.cell.array, np.float64) * units.to_angstrom
        if (pbc & (np.linalg.norm(cell, axis=1) == 0)).any():
            raise SourceError(f"{self.path}, frame {row}: periodic in a direction without a cell vector.")
        numbers = atoms.numbers
        name = str(atoms.info.get("config_type") or formula(numbers))
        return _Frame(
            key=(name, numbers.tobytes(), bool(pbc.any())),
            numbers=numbers,
            positions=atoms.positions * units.to_angstrom,
            energy=energy * units.to_ev,
            forces=forces * units.to_ev_per_angstrom,
            row=row,
            charge=charge,
            spin=spin,
            cell=cell,
            pbc=pbc,
        )

    def _labels(self, atoms: Any, unread: Counter[str]) -> tuple[str, float, np.ndarray]:
        """Labels of a frame as in the file: place, energy and (n, 3) forces, NaN where missing."""
        found = []
        for place, (energy, forces) in zip(CONVENTIONS, _candidates(atoms), strict=True):
            try:
                value = float(np.asarray(np.nan if energy is None else energy, np.float64).item())
                array = np.asarray(np.full((len(atoms), 3), np.nan) if forces is None else forces, np.float64)
            except (TypeError, ValueError):
                raise SourceError(f"the {place} are not numbers of one frame.") from None
            if array.shape != (len(atoms), 3):
                raise SourceError(f"forces have shape {array.shape}, there are {len(atoms)} atoms.")
            if np.isfinite(value) or np.isfinite(array).any():
                found.append((place, value, array))
        if not found:
            keys = sorted({*atoms.info, *atoms.arrays, *getattr(atoms.calc, "results", {})})
            raise SourceError(
                f"it has neither energy nor forces ({' or '.join(CONVENTIONS)}). Its keys: {', '.join(keys)}."
            )
        place, value, array = found[0]
        for other, other_value, other_array in found[1:]:
            lacks_energy = not np.isfinite(value) and np.isfinite(other_value)
            lacks_forces = not np.isfinite(array).any() and np.isfinite(other_array).any()
            if lacks_energy or lacks_forces:
                label = "energy" if lacks_energy else "forces"
                unread[f"have no {label} in {place}, and those in {other} were not read"] += 1
        return place, value, array

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
        )


def ase_format(path: Path) -> str:
    """ASE's name of a file's format.

    Args:
        path: of the file.

    Raises:
        SourceError: ASE does not know its format.
    """
    try:
        name = filetype(str(path))
    except (UnknownFileTypeError, OSError) as error:
        raise SourceError(f"{path}: not of a format that ASE knows ({error}).") from None
    if name not in ioformats:
        raise SourceError(f"{path}: not of a format that ASE knows.")
    return name


def _candidates(atoms: Any) -> Iterator[tuple[Any, Any]]:
    """Energy and forces of a frame by each of `CONVENTIONS`."""
    info, arrays = atoms.info, atoms.arrays
    # Not atoms.get_forces(): it zeroes the forces of atoms that a constraint holds.
    results = getattr(atoms.calc, "results", {})
    yield info.get("REF_energy"), arrays.get("REF_forces", info.get("REF_forces"))
    yield results.get("energy"), results.get("forces")
    yield info.get("energy"), arrays.get("forces", info.get("forces"))


def _iread(path: Path) -> Iterator[Any]:
    return iter(iread(str(path), index=":", do_not_split_by_at_sign=True))


def _database(path: Path, note: Callable[[str], None]) -> Iterator[Any]:
    """Rows of an ASE database, key-value pairs and data in ``info``, where `ase.io` would drop them."""
    database = connect(path)
    stated = {key: value for key, value in database.metadata.items() if "unit" in key}
    if stated:
        note(f"The database itself states units, which were not applied: {stated}.")
    for entry in database.select():
        atoms = entry.toatoms()
        atoms.info.update({**entry.key_value_pairs, **entry.data})
        yield atoms
