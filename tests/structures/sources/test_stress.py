"""Stresses, virials and weights of files: where they stand, their units and signs, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from chemscale.structures.blocks import Block, SourceError
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.settings import StructureData
from chemscale.structures.sources import open_source
from chemscale.structures.sources.combined import open_sources
from chemscale.structures.sources.labels import LabelKeys
from chemscale.structures.units import UnitError, Units, stress_unit
from tests.helpers.sources import whole

STRESS = np.array([[0.011, 0.004, 0.005], [0.004, 0.022, 0.006], [0.005, 0.006, 0.033]])
VOIGT = np.array([0.011, 0.022, 0.033, 0.006, 0.005, 0.004])
"""The same, in ASE's order: xx, yy, zz, yz, xz, xy."""


def crystal(pbc: Any = True, **info: Any) -> Atoms:
    """Two atoms in 8 × 2.5³ Å³, with an energy and forces beside whatever `info` holds."""
    atoms = Atoms("Cu2", [[0, 0, 0], [2.5, 0.1, 0]], cell=[5.0, 5.0, 5.0], pbc=pbc)
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0, forces=np.full((2, 3), 0.5))
    atoms.info.update(info)
    return atoms


VOLUME = 125.0


def read(path: Path, frames: list[Atoms], **reading: Any) -> tuple[Block, list[str]]:
    file = path / f"a{len(list(path.iterdir()))}.extxyz"
    write(file, frames, format="extxyz")
    source = open_sources([file], reading)
    return whole(source), source.notes


def stress_of(path: Path, atoms: Atoms, **reading: Any) -> np.ndarray:
    block, _ = read(path, [atoms], **reading)
    assert block.stresses is not None
    return block.stresses[0]


@pytest.mark.parametrize(
    ("info", "reading"),
    [
        ({"stress": STRESS}, {}),
        ({"virial": -VOLUME * STRESS}, {}),
        ({"virials": (-VOLUME * STRESS).ravel()}, {}),
        ({"virials": -VOLUME * VOIGT}, {}),
        ({"dft_stress": VOIGT}, {"stress_key": "dft_stress"}),
        ({"dft_stress": STRESS.ravel()}, {"stress_key": "dft_stress"}),
        ({"dft_stress": STRESS / units.GPa}, {"stress_key": "dft_stress", "units": {"stress": "GPa"}}),
        ({"stress": -STRESS / units.GPa * 10}, {"units": {"stress": "kbar", "compression": True}}),
        ({"stress": STRESS / units.GPa, "stress_unit": "GPa"}, {}),
        ({"virial": VOLUME * STRESS}, {"units": {"compression": False}}),
        ({"virial": -VOLUME * STRESS / units.Hartree}, {"units": {"stress": "Hartree"}}),
        ({"virial": -VOLUME * STRESS / units.Hartree, "virial_unit": "Hartree"}, {}),
        ({"REF_energy": -3.0, "REF_stress": STRESS, "stress": 2 * STRESS}, {}),
        ({"dft_energy": -3.0, "dft_virial": -VOLUME * STRESS}, {"energy_key": "dft_energy"}),
        ({"stress": STRESS, "virial": -VOLUME * STRESS}, {}),
    ],
)
def test_the_same_stress_is_read_from_every_convention(
    info: dict[str, Any], reading: dict[str, Any], tmp_path: Path
) -> None:
    found = stress_of(tmp_path, crystal(**info), **reading)
    np.testing.assert_allclose(found, STRESS, atol=1e-8)


def test_the_stress_of_a_calculator_is_in_voigts_order_of_ase_and_is_the_strain_derivative(
    tmp_path: Path,
) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    atoms.set_cell(
        atoms.cell.array @ [[1.01, 0.01, 0.02], [0.0, 0.98, 0.03], [0.0, 0.0, 1.0]], scale_atoms=True
    )
    atoms.calc = EMT()
    atoms.get_stress()
    write(tmp_path / "a.traj", atoms)
    with connect(tmp_path / "a.db") as database:
        database.write(atoms)
    (tmp_path / "x").mkdir()
    found = [whole(open_source(tmp_path / name)).stresses[0] for name in ("a.traj", "a.db")]  # type: ignore[index]
    found.append(stress_of(tmp_path / "x", atoms))
    strain, step = np.array([[0.3, 0.1, -0.2], [0.1, -0.4, 0.5], [-0.2, 0.5, 0.2]]), 1e-5
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ (np.eye(3) + sign * step * strain), scale_atoms=True)
        moved.calc = EMT()
        energies.append(moved.get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
    for stress in found:
        assert float((stress * strain).sum()) == pytest.approx(slope, rel=1e-6)


def test_units_of_lengths_and_energies_hold_for_stresses_too(tmp_path: Path) -> None:
    atoms = crystal(virial=-VOLUME * STRESS)
    atoms.set_cell(atoms.cell.array / units.Bohr, scale_atoms=True)
    atoms.info["virial"] /= units.Hartree
    found = stress_of(tmp_path, atoms, units={"energy": "Hartree", "length": "Bohr"})
    np.testing.assert_allclose(found, STRESS, atol=1e-8)
    other = crystal(stress=STRESS / (units.Hartree / units.Bohr**3))
    np.testing.assert_allclose(
        stress_of(tmp_path, other, units={"stress": "Hartree/Bohr^3"}), STRESS, atol=1e-8
    )


def test_the_notes_say_what_was_read_and_what_was_not(tmp_path: Path) -> None:
    frames = [crystal(virials=-VOLUME * STRESS)] * 3 + [crystal()]
    frames += [crystal(pbc=(True, True, False), virials=STRESS), crystal(virials=np.full((3, 3), np.inf))]
    block, notes = read(tmp_path, frames)
    assert any("virials in 3 of 6 frames, in eV, positive under compression" in note for note in notes)
    assert any("1 frames have a stress and are not periodic in three directions" in note for note in notes)
    assert any("1 frames have an infinite stress" in note for note in notes)
    assert block.stresses is not None
    assert np.isfinite(block.stresses).all(axis=(1, 2)).tolist() == [True] * 3 + [False] * 3


def test_a_stress_elsewhere_is_named_and_not_read(tmp_path: Path) -> None:
    frames = [crystal(REF_energy=-3.0, stress=STRESS), crystal(REF_energy=-3.0, stress=STRESS)]
    block, notes = read(tmp_path, frames)
    assert block.stresses is None or np.isnan(block.stresses).all()
    assert any("data.stress_key=stress reads it" in note for note in notes)


def test_stresses_need_no_forces(tmp_path: Path) -> None:
    atoms = crystal(stress=STRESS)
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0)
    block, _ = read(tmp_path, [atoms])
    assert np.isnan(block.forces).all()
    np.testing.assert_allclose(block.stresses[0], STRESS)  # type: ignore[index]


TILTED = STRESS + np.array([[0, 0.01, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("info", "reading", "message"),
    [
        ({"virial": TILTED}, {"units": {"compression": True}}, r"frame 1: virial is not symmetric"),
        ({"virials": np.ones(7)}, {}, r"frame 1: virials has shape \(7,\)"),
        ({"virials": "many"}, {}, "frame 1: virials is no stress: 'many'"),
        ({"virial": -STRESS}, {"units": {"stress": "GPa"}}, "holds virials, whose unit is an energy"),
        ({"stress": STRESS}, {"units": {"stress": "eV"}}, "holds stresses, whose unit is such as"),
        ({"stress": STRESS, "virial": VOLUME * STRESS}, {}, "frame 1: stress and virial disagree"),
        ({"stress": STRESS, "stress_unit": "parsec"}, {}, "Unit 'parsec' of stresses is not known"),
        ({}, {"stress_key": "dft_stress"}, "data.stress_key=dft_stress: no frame has a stress there"),
        ({"weight": -1.0}, {}, "frame 1: weight=-1: a weight is a number of at least 0"),
        ({"weight": 1.0, "config_weight": 2.0}, {}, "two weights: config_weight=2, weight=1"),
        ({"config_forces_weight": 100.0}, {}, r"config_forces_weight=100: .*data\.weights"),
    ],
)
def test_what_cannot_be_a_stress_or_a_weight_is_refused_by_frame(
    info: dict[str, Any], reading: dict[str, Any], message: str, tmp_path: Path
) -> None:
    first = crystal(**({"stress_unit": "parsec"} if "stress_unit" in info else {}))
    with pytest.raises((SourceError, UnitError), match=message):
        read(tmp_path, [first, crystal(**info)], **reading)


def test_units_that_are_not_known_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnitError, match=r"Unit 'psi' of stresses is not known: choose one of GPa"):
        read(tmp_path, [crystal(stress=STRESS)], units={"stress": "psi"})
    assert stress_unit("Ha/Bohr³") == stress_unit("hartree/bohr**3") == stress_unit("Hartree/Bohr^3")
    assert stress_unit("kB") == pytest.approx(stress_unit("GPa") / 10) == pytest.approx(1e8 * units.Pascal)
    assert stress_unit("eV/A3") == stress_unit("eV/(Å)^3") == 1.0


def test_a_stress_in_another_unit_than_the_first_frame_states_is_refused(tmp_path: Path) -> None:
    frames = [crystal(stress=STRESS, stress_unit="GPa"), crystal(stress=STRESS, stress_unit="kbar")]
    with pytest.raises(SourceError, match=r"frame 1: it states its stress in kbar, .* states GPa"):
        read(tmp_path, frames)
    assert read(tmp_path, frames, units={"stress": "GPa"})[0].stresses is not None


def test_what_ase_has_converted_is_not_converted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.extxyz", crystal(stress=STRESS))
    source = open_source(tmp_path / "a.extxyz", units=Units(stress="kbar"))
    source.format = "vasp-out"  # type: ignore[attr-defined]  # as its readers give them: eV/Å³ in ASE's sign
    with pytest.raises(SourceError, match="ASE has converted the stresses of this vasp-out output"):
        whole(source)


def test_weights_of_frames_are_read_and_said(tmp_path: Path) -> None:
    frames = [crystal(config_weight=2.0), crystal(), crystal(config_weight=0.5, config_forces_weight=0.0)]
    block, notes = read(tmp_path, frames)
    assert block.weights is not None
    assert block.weights.tolist() == [2.0, 1.0, 0.5]
    assert np.isnan(block.forces).all(axis=(1, 2)).tolist() == [False, False, True]
    assert any("config_weight in 2 of 3 frames, 0.5 to 2" in note for note in notes)
    assert any("1 frames have config_forces_weight=0: their forces was left out" in note for note in notes)


def test_old_stores_keep_their_key_and_stress_units_make_another(tmp_path: Path) -> None:
    old = {"energy": None, "length": "Bohr", "gradients": None}
    plain = StructureData("structures", path="a", units={**old, "stress": None, "compression": None})
    assert plain.reading == {
        **dict.fromkeys(("format", "level", "split", "energy_key", "forces_key")),
        "units": old,
    }
    assert StructureData("structures", path="a").reading["units"] is None
    other = StructureData("structures", path="a", units={**old, "compression": True}, stress_key="virial")
    assert other.reading["units"] == {**old, "compression": True}
    assert other.reading["stress_key"] == "virial"


def test_a_store_keeps_stresses_and_weights(tmp_path: Path) -> None:
    frames = [crystal(stress=STRESS, config_weight=2.0) for _ in range(12)]
    for number, atoms in enumerate(frames):
        atoms.positions[1, 0] += 0.01 * number
    write(tmp_path / "a.extxyz", frames, format="extxyz")
    store = build_store(open_source(tmp_path / "a.extxyz"), tmp_path / "store", SplitPolicy())
    structure = store.structure(3)
    np.testing.assert_allclose(structure.stress, STRESS)
    assert structure.weight == 2.0
    assert store.manifest["counts"]["with_stress"] == 12


def test_formats_without_stresses_refuse_the_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", z=[1], R=np.zeros((2, 1, 3)), E=np.zeros(2), F=np.zeros((2, 1, 3)))
    with pytest.raises(SourceError, match=r"data.stress_key=virial: the reader .* md17 reads no stress"):
        open_source(tmp_path / "a.npz", keys=LabelKeys(stress="virial"))
