"""Units that a file states: applied, or refused with the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources import open_source
from chemscale.structures.sources.combined import open_sources
from chemscale.structures.sources.labels.stated_units import stated_units, units_of
from chemscale.structures.units import Units
from tests.helpers.sources import BOHR, HARTREE, extxyz, whole


def labelled(**info: Any) -> Atoms:
    atoms = Atoms("H2", [[0, 0, 0], [1, 0, 0]], info=info)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((2, 3)))
    return atoms


def test_units_of_an_ase_database_are_applied(tmp_path: Path) -> None:
    with connect(tmp_path / "a.db") as database:
        database.write(labelled())
        database.metadata = {
            "_distance_unit": "Bohr",
            "_property_unit_dict": {"energy": "Hartree", "forces": "Hartree/Bohr"},
        }
    source = open_source(tmp_path / "a.db")
    block = whole(source)
    assert block.energies[0] == pytest.approx(-HARTREE)
    assert block.positions[0, 1, 0] == pytest.approx(BOHR)
    assert block.forces[0, 0, 0] == pytest.approx(HARTREE / BOHR)
    assert any("states its units, which were applied" in note for note in source.notes)
    assert source.units.startswith("Hartree, Bohr")


def test_units_of_extended_xyz_are_applied_and_overridden(tmp_path: Path) -> None:
    path = extxyz(tmp_path / "a.xyz", [labelled(energy_unit="Ha", force_unit="Ha/Ang")])
    assert whole(open_source(path)).energies[0] == pytest.approx(-HARTREE)
    source = open_sources([path], {"units": {"energy": "eV"}})
    assert whole(source).energies[0] == -1
    assert any("data.units was applied instead" in note for note in source.notes)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([labelled(energy_unit="bananas")], r"'bananas' is not known.*data\.units"),
        ([labelled(energy_unit="Ha", force_unit="eV/Ang")], "the first must be the second over the third"),
        ([labelled(energy_unit="eV"), labelled(energy_unit="Ha")], "frame 1: it states energy in Ha"),
    ],
)
def test_units_that_cannot_be_applied_are_refused(tmp_path: Path, frames: list[Atoms], message: str) -> None:
    with pytest.raises(SourceError, match=rf"a\.xyz.*{message}"):
        list(open_source(extxyz(tmp_path / "a.xyz", frames)).blocks())


def test_a_statement_that_names_no_quantity_is_said(tmp_path: Path) -> None:
    source = open_source(extxyz(tmp_path / "a.xyz", [labelled(units="metal")]))
    assert "The file states units=metal, which was not understood and not applied." in source.notes


@pytest.mark.parametrize(
    ("entries", "energy", "length"),
    [
        ({"e_unit": "kcal mol-1", "r_unit": "Ang"}, "kcal/mol", "Ang"),
        ({"forces_units": "eV*angstrom**-1"}, "eV", "Angstrom"),
        (
            {"units": {"energy": "hartree", "positions": "bohr", "gradients": "hartree/bohr"}},
            "hartree",
            "bohr",
        ),
        ({"stress_unit": "GPa", "dipole_unit": "Debye"}, "eV", "Angstrom"),
    ],
)
def test_statements_in_many_spellings(entries: dict[str, Any], energy: str, length: str) -> None:
    found = units_of(stated_units(entries), Units())
    assert (found.energy, found.length) == (energy, length)
