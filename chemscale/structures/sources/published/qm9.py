"""QM9 as its authors published it: an archive of 133,885 small files, read as it is."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chemscale.common.logs import brief
from chemscale.structures.blocks import Block, SourceError, no_forces
from chemscale.structures.sources.base import Reader, to_numbers
from chemscale.structures.sources.labels import LabelKeys, Place
from chemscale.structures.units import Units

ENERGIES = {"U0": 12, "U": 13, "H": 14, "G": 15}
"""Columns of the second line of a file that are energies, at 0 K and at 298.15 K."""
LEFT_OUT = "uncharacterized.txt"
"""Beside the archive: molecules whose geometry turned into another molecule, which the field leaves out."""
MAX_MOLECULES = 133_885


class Qm9(Reader):
    """Reader of ``dsgdb9nsd.xyz.tar.bz2`` (Ramakrishnan et al. 2014); a tar of some of its files as well.

    Hartree and Å; energies only, of which U0 is read unless ``data.energy_key`` names U, H or G. Molecules
    that ``uncharacterized.txt`` beside the archive lists are left out, as the notes say.

    Args:
        path: the archive.
        units: what it holds instead.
        keys: name of the energy.

    Raises:
        SourceError: no such file, no archive, or a name that is no energy of QM9.
    """

    def __init__(self, path: str | Path, units: Units | None = None, keys: LabelKeys | None = None):
        super().__init__(path, "B3LYP/6-31G(2df,p)", units or Units("Hartree"))
        given = keys or LabelKeys()
        if given.forces:
            raise SourceError(f"{path}: data.forces_key={given.forces}: QM9 has no forces.")
        self.energy = given.energy or "U0"
        if self.energy not in ENERGIES:
            raise SourceError(
                f"{path}: data.energy_key={self.energy}: of QM9 choose one of {', '.join(ENERGIES)}."
            )
        self.places = [Place(self.energy, self.energy, None, "arrays")]
        self.doubtful = _listed(self.path.with_name(LEFT_OUT))
        self.note(f"Energies: {self.energy} of QM9. It has no forces: they are NaN.")

    def blocks(self) -> Iterator[Block]:
        """Every molecule that is not left out, in the order of the archive; eV and Å.

        Raises:
            SourceError: the archive is damaged, or a file in it is none of QM9; the message names it.
        """
        row = left_out = 0
        try:
            with tarfile.open(self.path, "r:*") as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.name.endswith(".xyz") else None
                    if content is None:
                        continue
                    block = self._molecule(member.name, content.read().decode("ascii", "replace"), row)
                    row += 1
                    if block is None:
                        left_out += 1
                    else:
                        yield block
        except (tarfile.TarError, EOFError, OSError) as error:
            raise SourceError(f"{self.path}: not a whole archive ({brief(error)}).") from None
        if self.doubtful:
            self.left_out = {f"listed in {LEFT_OUT}": left_out} if left_out else {}
            self.note(f"{left_out:,} molecules that {LEFT_OUT} lists were left out.")
        else:
            self.note(f"No {LEFT_OUT} lies beside the archive: its 3,054 doubtful molecules are kept.")

    def _molecule(self, name: str, text: str, row: int) -> Block | None:
        lines = text.splitlines()
        try:
            atoms = int(lines[0])
            fields = lines[1].split()
            index, energy = int(fields[1]), float(fields[ENERGIES[self.energy]])
            rows = [line.replace("*^", "e").split()[:4] for line in lines[2 : 2 + atoms]]
            numbers = to_numbers(np.array([cells[0] for cells in rows]))
            positions = np.array([[float(cell) for cell in cells[1:]] for cells in rows]).reshape(1, atoms, 3)
        except (ValueError, IndexError) as error:
            raise SourceError(f"{self.path}: {name} is no molecule of QM9 ({brief(error)}).") from None
        if index in self.doubtful:
            return None
        positions = positions * self.conversion.to_angstrom
        return self.block(
            name=f"gdb {index}",
            numbers=numbers,
            positions=positions,
            energies=np.array([energy]) * self.conversion.to_ev,
            forces=no_forces(positions),
            rows=np.array([row]),
        )


def _listed(path: Path) -> set[int]:
    """Numbers of molecules that a list names; empty where there is none."""
    if not path.is_file():
        return set()
    first = [line.split()[0] for line in path.read_text("ascii", "replace").splitlines() if line.split()]
    return {int(word) for word in first if word.isdecimal() and 1 <= int(word) <= MAX_MOLECULES}
