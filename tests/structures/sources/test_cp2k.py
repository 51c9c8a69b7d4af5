"""Files of a CP2K run: positions and energies, forces and cells beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import units as ase_units

from chemscale.points.data import structure_source
from chemscale.structures.blocks import SourceError
from chemscale.structures.settings import StructureData
from chemscale.structures.sources import open_source
from tests.helpers.sources import whole

HARTREE, BOHR = ase_units.Hartree, ase_units.Bohr


def run(folder: Path, steps: range = range(3), of_forces: range = range(3), cell: bool = True) -> Path:
    positions, forces = "", ""
    for i in steps:
        positions += f"2\n i = {i:8d}, time = {i / 2:12.3f}, E = {-1.0 - i / 10:20.10f}\n"
        positions += f"  H  0.0 0.0 0.0\n  H  {0.7 + i / 10:.6f} 0.0 0.0\n"
    for i in of_forces:
        forces += f"2\n i = {i:8d}, time = {i / 2:12.3f}, E = {-1.0 - i / 10:20.10f}\n"
        forces += f"  H  {0.01 * (i + 1):.6f} 0.0 0.0\n  H  {-0.01 * (i + 1):.6f} 0.0 0.0\n"
    folder.mkdir(exist_ok=True)
    (folder / "water-pos-1.xyz").write_text(positions)
    if len(of_forces):
        (folder / "water-frc-1.xyz").write_text(forces)
    if cell:
        rows = "".join(f"{i} {i / 2} {8 + i} 0 0 0 8 0 0 0 8 512\n" for i in steps)
        (folder / "water-1.cell").write_text("#   Step   Time [fs]   Ax [Angstrom] ...\n" + rows)
    return folder / "water-pos-1.xyz"


def test_energies_forces_and_cells_come_from_three_files(tmp_path: Path) -> None:
    path = run(tmp_path / "data")
    (block,) = open_source(path).blocks()
    assert np.allclose(block.energies, np.array([-1.0, -1.1, -1.2]) * HARTREE)
    assert np.allclose(block.forces[:, 0, 0], np.array([0.01, 0.02, 0.03]) * HARTREE / BOHR)
    assert np.allclose(block.positions[:, 1, 0], [0.7, 0.8, 0.9])
    assert block.cells is not None
    assert block.cells[:, 0, 0].tolist() == [8, 9, 10]
    source = structure_source(StructureData("structures", path=str(tmp_path / "data")), tmp_path / "s")[1]
    assert len(whole(source)) == 3
    (left_out,) = [note for note in source.notes if note.startswith("Left out")]
    for name in ("water-1.cell", "water-frc-1.xyz"):
        assert f"{name} (of the CP2K run of water-pos-1.xyz)" in left_out


def test_the_cell_of_a_restart_is_that_of_all_steps(tmp_path: Path) -> None:
    path = run(tmp_path / "data", cell=False)
    (path.parent / "water-1.restart").write_text(
        "&FORCE_EVAL\n &SUBSYS\n  &CELL\n   A 7.0 0.0 0.0\n   B 0.0 7.0 0.0\n   C 0.0 0.0 7.0\n"
        "   PERIODIC XYZ\n  &END CELL\n  &COORD\n   H 0.0 0.0 0.0\n   H 0.7 0.0 0.0\n"
        "  &END COORD\n &END SUBSYS\n&END FORCE_EVAL\n"
    )
    (block,) = open_source(path).blocks()
    assert block.cells is not None
    assert block.cells[:, 0, 0].tolist() == [7, 7, 7]


def test_what_is_missing_is_said_and_what_does_not_belong_is_refused(tmp_path: Path) -> None:
    source = open_source(run(tmp_path / "a", of_forces=range(0), cell=False))
    (block,) = source.blocks()
    assert np.isnan(block.forces).all()
    assert block.cells is None
    assert any(note.startswith("No forces were read") for note in source.notes)
    assert any("read as a molecule" in note for note in source.notes)
    source = open_source(run(tmp_path / "b", of_forces=range(2)))
    assert np.isnan(whole(source).forces[:, 0, 0]).tolist() == [False, False, True]
    assert any("ends before the positions: frames from 2 on have no forces" in note for note in source.notes)
    with pytest.raises(SourceError, match=r"frame 0: is step 0 of 2 atoms, but water-frc-1\.xyz has step 1"):
        list(open_source(run(tmp_path / "c", of_forces=range(1, 4))).blocks())
    path = run(tmp_path / "d")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(SourceError, match=r"frame 2: is cut off"):
        list(open_source(path).blocks())
