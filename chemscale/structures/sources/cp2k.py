"""Trajectories of CP2K: positions, energies and forces in files of their own, in atomic units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

import numpy as np

from chemscale.common.logs import brief
from chemscale.structures.blocks import Block, SourceError, no_forces
from chemscale.structures.sources.base import NOT_STATED, Reader, formula, to_numbers
from chemscale.structures.sources.labels import Place
from chemscale.structures.units import Units

POSITIONS = re.compile(r"^(?P<project>.+)-pos-(?P<run>\d+)\.xyz$")
MAX_FRAMES = 512
"""Frames of a block at most."""
MAX_COMMENT = 4096
"""Characters of a comment line in which entries are looked for."""


class Cp2kFile(Reader):
    """Frames of PROJECT-pos-1.xyz, with forces of PROJECT-frc-1.xyz beside it, Hartree and Hartree/Bohr.

    The energy stands in each comment line, ``i = 0, time = 0.0, E = -17.2``. Cells are those of
    PROJECT-1.cell, of each step, or that of PROJECT-1.restart; without either the atoms are a molecule, which
    is said. Total charge and multiplicity are not in these files.

    Args:
        path: of the positions.
        level: level of theory, for the manifest.
        units: Hartree and Å unless given; forces are in the energy over Bohr whatever the length.

    Raises:
        SourceError: no such file, or not one of positions.
    """

    def __init__(self, path: str | Path, level: str | None = None, units: Units | None = None):
        super().__init__(path, level or NOT_STATED, units or Units("Hartree"))
        match = POSITIONS.match(self.path.name)
        if match is None:
            raise SourceError(f"{self.path}: not the positions of a run, which CP2K calls PROJECT-pos-1.xyz.")
        self.kind = "cp2k"
        project, run = match["project"], match["run"]
        self.forces = self.path.with_name(f"{project}-frc-{run}.xyz")
        self._cells = self._read_cells(project, run)
        if not self.forces.is_file():
            self.note(f"No forces were read: there is no {self.forces.name} beside it.")
        self.units = f"{self.conversion.energy}, Angstrom, forces in {self.conversion.energy}/Bohr"
        self.places = [Place("E/forces of CP2K", "E", "forces", "arrays")]

    def blocks(self) -> Iterator[Block]:
        """Every frame, in file order, in bounded memory; eV and Å.

        Raises:
            SourceError: a frame that cannot be read, or forces that belong to another step or other atoms.
        """
        held: list[dict[str, Any]] = []
        for frame in self._frames():
            changed = held and not np.array_equal(held[0]["numbers"], frame["numbers"])
            if held and (changed or len(held) == MAX_FRAMES):
                yield self._join(held)
                held = []
            held.append(frame)
        if held:
            yield self._join(held)

    def _frames(self) -> Iterator[dict[str, Any]]:
        """Frames with what belongs to them, none of it converted."""
        positions = _steps(self.path)
        forces = _steps(self.forces) if self.forces.is_file() else iter(())
        energies = 0
        for row, (found, force) in enumerate(zip_longest(positions, forces)):
            if found is None:
                self.note(f"{self.forces.name} goes on behind the last positions: that was not read.")
                break
            step, energy, symbols, xyz = found
            if force is None and self.forces.is_file():
                self.note(
                    f"{self.forces.name} ends before the positions: frames from {row} on have no forces."
                )
            if force is not None and (force[0] != step or force[2] != symbols):
                raise SourceError(
                    f"{self.path}, frame {row}: is step {step} of {len(symbols)} atoms, but "
                    f"{self.forces.name} has step {force[0]} of {len(force[2])}. They are of two runs, or "
                    "printed at other steps."
                )
            energies += bool(np.isfinite(energy))
            yield {
                "row": row,
                "numbers": to_numbers(np.array(symbols)),
                "positions": xyz,
                "energy": energy,
                "forces": no_forces(xyz) if force is None else force[3],
                "cell": self._cell(step),
            }
        if not energies:
            raise SourceError(f"{self.path}: no comment line has an energy, E = ….")

    def _join(self, frames: list[dict[str, Any]]) -> Block:
        units, bohr = self.conversion, Units(length="Bohr").to_angstrom
        cells = [frame["cell"] for frame in frames]
        of_forces = (-1 if units.gradients else 1) * units.to_ev / bohr
        return self.block(
            name=formula(frames[0]["numbers"]),
            numbers=frames[0]["numbers"],
            positions=np.stack([frame["positions"] for frame in frames]) * units.to_angstrom,
            energies=np.array([frame["energy"] for frame in frames]) * units.to_ev,
            forces=np.stack([f["forces"] for f in frames]) * of_forces,
            rows=np.array([frame["row"] for frame in frames]),
            cells=None if cells[0] is None else np.stack(cells) * units.to_angstrom,
            pbc=None if cells[0] is None else np.tile(self._pbc, (len(frames), 1)),
        )

    def _read_cells(self, project: str, run: str) -> dict[int | None, np.ndarray]:
        """Cells (3, 3) in Å by step, or one of all steps; none of a molecule."""
        self._pbc = np.ones(3, bool)
        listed, restart = (self.path.with_name(f"{project}-{run}.{end}") for end in ("cell", "restart"))
        if listed.is_file():
            try:
                rows = np.loadtxt(listed, ndmin=2)
                return {int(row[0]): row[2:11].reshape(3, 3) for row in rows}
            except (ValueError, IndexError, OverflowError) as error:
                raise SourceError(f"{listed}: not the cells of a run ({brief(error)}).") from None
        if restart.is_file():
            from ase.io import read

            try:
                atoms: Any = read(restart, format="cp2k-restart")
            except Exception as error:  # whatever ASE's parser raises
                raise SourceError(f"{restart}: ASE cannot read it ({brief(error)}).") from error
            self._pbc = np.asarray(atoms.pbc, bool)
            return {None: np.asarray(atoms.cell.array)} if self._pbc.any() else {}
        self.note(f"There is neither {listed.name} nor {restart.name}: the atoms were read as a molecule.")
        return {}

    def _cell(self, step: int) -> np.ndarray | None:
        if not self._cells:
            return None
        cell = self._cells.get(step, self._cells.get(None))
        if cell is None:
            raise SourceError(f"{self.path}: step {step} has no cell in its file of cells.")
        return cell


def of_a_run(path: Path) -> str | None:
    """Why a file beside positions of CP2K is not read by itself; None where it is.

    Args:
        path: of the file.
    """
    if POSITIONS.match(path.name):
        return None
    for other in sorted(path.parent.glob("*-pos-*.xyz")):
        match = POSITIONS.match(other.name)
        if match and path.name.startswith(f"{match['project']}-"):
            return f"of the CP2K run of {other.name}"
    return None


def _steps(path: Path) -> Iterator[tuple[int, float, list[str], np.ndarray]]:
    """Step, energy (NaN where there is none), symbols and (n, 3) numbers of each frame of a file."""
    # What is no UTF-8 is shown by the error of the frame that it is in.
    with open(path, encoding="utf-8", errors="replace") as file:
        row = 0
        while (line := file.readline()).strip():
            try:
                yield _step(file, int(line))
            except (ValueError, IndexError) as error:
                raise SourceError(
                    f"{path}, frame {row}: is cut off or no frame of CP2K ({brief(error)})."
                ) from None
            row += 1


def _step(file: IO[str], atoms: int) -> tuple[int, float, list[str], np.ndarray]:
    comment = file.readline()
    entries = dict(re.findall(r"\b(\w{1,32})\s*=\s*([-+.\dEe]{1,64})", comment[:MAX_COMMENT]))
    lines: list[list[str]] = []
    for _ in range(atoms):
        if not (line := file.readline()):  # a number of atoms may be any number
            raise ValueError(f"{len(lines)} of {atoms} atoms are there")
        lines.append(line.split())
    numbers = np.array([line[1:4] for line in lines], np.float64).reshape(atoms, 3)
    return (
        int(entries["i"]) if "i" in entries else -1,
        float(entries.get("E", "nan")),
        [x[0] for x in lines],
        numbers,
    )
