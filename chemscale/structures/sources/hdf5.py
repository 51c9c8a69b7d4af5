"""Readers of the HDF5 releases: ANI-1, ANI-1x, ANI-2x, COMP6, SPICE and AIMNet2.

They differ in names, in units, in the sign of the force array, and in whether a group is one molecule.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources.base import existing
from chemscale.structures.sources.containers.hdf5_groups import check_array, first_group, groups, opened
from chemscale.structures.sources.grouped import Grouped, Keys
from chemscale.structures.sources.labels import LabelKeys
from chemscale.structures.units import Units


def ani1x_keys(level: str) -> Keys:
    """Names of the datasets of one level of an ANI-1x file.

    Args:
        level: prefix of the labels.
    """
    return Keys("atomic_numbers", "coordinates", f"{level}.energy", f"{level}.forces")


class Ani1x(Grouped):
    """The ANI-1x and ANI-1ccx release (Smith et al. 2020, figshare 4712477): a group per composition.

    ``<level>.energy`` in Hartree, ``<level>.forces`` in Hartree/Å (true forces), positions in Å. Frames whose
    energy or forces at the level are missing are left out, and counted in the notes.

    Args:
        path: the file.
        level: prefix of the labels: wb97x_dz or wb97x_tz (with forces), ccsd(t)_cbs, hf_dz … (without).
        units: what the file holds instead.

    Raises:
        SourceError: the file has no such level (those it has are named), or is not of this layout.
    """

    layout_keys = ani1x_keys("wb97x_dz")
    usual = Units("Hartree", "Angstrom")
    theory = "wb97x_dz"

    def prepare(self, file: Any, *, own_units: bool) -> None:
        if self.given != LabelKeys():
            raise SourceError(f"{self.path}: labels of the format ani1x are chosen by data.level.")
        self.keys, self.complete = ani1x_keys(self.level), True
        levels: set[str] = set()
        has_forces = False
        for group in groups(file):
            levels |= {key.removesuffix(".energy") for key in group if key.endswith(".energy")}
            if self.level in levels:
                has_forces = self.keys.forces in group
                break
        super().prepare(file, own_units=own_units)
        if self.level not in levels:
            there = (
                f"choose data.level from {', '.join(sorted(levels))}" if levels else "nor of any other level"
            )
            raise SourceError(f"{self.path}: there is no {self.keys.energies}; {there}.")
        if not has_forces:
            self.keys = Keys(self.keys.numbers, self.keys.positions, self.keys.energies)
            self.note(f"{self.level} has energies only: forces are NaN.")


class Ani1(Grouped):
    """The ANI-1 release (Smith et al. 2017, figshare 3846712), ωB97x/6-31G(d): energies only, Hartree, Å.

    ``species`` are symbols, groups are two deep. The high-energy conformers (``coordinatesHE``) are not read.
    A file of the ANI-1x layout, as the modelforge sample of ANI-1 is, gives its wb97x_dz labels with forces.
    """

    layout_keys = Keys("species", "coordinates", "energies")
    usual = Units("Hartree", "Angstrom")
    theory = "wB97x/6-31G(d)"

    def prepare(self, file: Any, *, own_units: bool) -> None:
        first = first_group(file)
        if "wb97x_dz.energy" in first:
            self.keys, self.complete = ani1x_keys("wb97x_dz"), True
            self.note("The layout is that of ANI-1x: wb97x_dz was read, with its forces.")
        elif "coordinatesHE" in first:
            self.note("The high-energy conformers (coordinatesHE) were not read.")
        super().prepare(file, own_units=own_units)


class Ani2x(Grouped):
    """The ANI-2x release (Devereux et al. 2020, zenodo 10108942): a group per number of atoms.

    Hartree, Hartree/Å (true forces), Å; ``species`` are atomic numbers, of every row its own. Isomers share a
    name, since the file does not tell molecules apart; nor does it state the level of theory.
    """

    layout_keys = Keys("species", "coordinates", "energies", "forces")
    usual = Units("Hartree", "Angstrom")


class Comp6(Grouped):
    """The COMP6 benchmark (isayev/COMP6), ωB97x/6-31G(d): a group per molecule, Hartree, Å.

    Its ``forces`` are gradients in Hartree/Å (isayev/COMP6 issue 2) and are negated, as the notes say.
    """

    layout_keys = Keys("species", "coordinates", "energies", "forces")
    usual = Units("Hartree", "Angstrom", gradients=True)
    theory = "wB97x/6-31G(d)"


class Spice(Grouped):
    """SPICE (Eastman et al. 2023, openmm/spice-dataset), ωB97M-D3(BJ)/def2-TZVPPD: a group per molecule.

    Bohr, Hartree, and gradients in Hartree/Bohr, which are negated. No array has the total charge: it is the
    sum of the formal charges in ``smiles``, and 0 where there is none.
    """

    layout_keys = Keys("atomic_numbers", "conformations", "dft_total_energy", "dft_total_gradient")
    usual = Units("Hartree", "Bohr", gradients=True)
    theory = "wB97M-D3(BJ)/def2-TZVPPD"

    def prepare(self, file: Any, *, own_units: bool) -> None:
        super().prepare(file, own_units=own_units)
        if not self.keys.charges:
            self.note("Total charges are the sums of the formal charges in smiles, 0 where there is none.")

    def charge(self, group: Any) -> int:
        if "smiles" not in group:
            return 0
        check_array(self.path, group, "smiles", of_numbers=False)
        array = group["smiles"]
        smiles = array[(0,) * array.ndim] if array.size else b""
        return formal_charge(smiles.decode("ascii", "replace") if isinstance(smiles, bytes) else str(smiles))


class Aimnet2(Grouped):
    """The AIMNet2 layout: a group per number of atoms; composition, charge and multiplicity of every row.

    eV, eV/Å (true forces), Å. The level of theory is not in the file.
    """

    layout_keys = Keys("numbers", "coord", "energy", "forces", "charge", "mult")
    usual = Units("eV", "Angstrom")


def formal_charge(smiles: str) -> int:
    """Sum of the charges in e of a SMILES, which end its brackets: ``[N+:9]``, ``[O-]``, ``[Ca+2]``.

    Args:
        smiles: of a molecule.
    """
    found = re.findall(r"([+-]+)(\d*)(?::\d+)?\]", smiles)
    return sum(
        (int(digits) if digits else len(sign)) * (1 if sign[0] == "+" else -1) for sign, digits in found
    )


def layout(path: str | Path) -> str:
    """Which of the known layouts an HDF5 file has, by the names in its first group.

    Args:
        path: of the file.

    Raises:
        SourceError: none of them; the message names what there is.
    """
    with opened(existing(path)) as file:
        group = first_group(file)
        names = set(group)
        if {"conformations", "dft_total_energy"} <= names:
            return "spice"
        if {"atomic_numbers", "coordinates"} <= names and any(name.endswith(".energy") for name in names):
            return "ani1x"
        if {"numbers", "coord", "energy"} <= names:
            return "aimnet2"
        if {"species", "coordinates", "energies"} <= names:
            check_array(Path(path), group, "species", of_numbers=False)
            if group["species"].ndim == 2:
                return "ani2x"
            return "comp6" if "forces" in names else "ani1"
        raise SourceError(
            f"{path}: group {group.name} has {', '.join(sorted(names))}, which is none of the known layouts: "
            "ani1, ani1x, ani2x, comp6, spice, aimnet2. Convert the file to extended XYZ."
        )
