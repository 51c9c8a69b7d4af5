"""LMDB files as OMol25 and OMat24 are published, written here by the writer that wrote those."""

from __future__ import annotations

import stat
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from chemscale.points.data import structure_source
from chemscale.structures.blocks import SourceError
from chemscale.structures.settings import StructureData
from chemscale.structures.sources import open_source
from tests.helpers.sources import whole

pytest.importorskip("ase_db_backends")


def frame(x: float, energy: float, periodic: bool = False, **results: Any) -> Atoms:
    atoms = Atoms("OH", [[0, 0, 0], [x, 0, 0]])
    if periodic:
        atoms.set_cell(np.diag([4.0, 5, 6]))
        atoms.pbc = True
    forces = np.array([[1.0, 0, 0], [-1, 0, 0]])
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, **results)
    return atoms


def shard(path: Path, frames: list[Atoms], data: dict[str, Any] | None = None) -> Path:
    with connect(str(path)) as database:
        for atoms in frames:
            database.write(atoms, data=data or {})
    return path


def test_charge_and_multiplicity_come_from_the_data_of_a_row(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.aselmdb", [frame(0.9, -2.0)], {"charge": -1, "spin": 1, "nl_energy": 7.0})
    (row,) = connect(str(path), readonly=True).select()
    assert (row.charge, row.toatoms().info) == (0, {})  # what a reader by ASE alone is told
    source = open_source(path)
    block = whole(source)
    assert (block.charges.tolist(), block.spins.tolist()) == ([-1], [1])
    assert block.energies.tolist() == [-2]
    assert block.forces[0, 0].tolist() == [1, 0, 0]
    assert source.notes == ["Labels: energy/forces of the calculator in 1 frames."]


def test_crystals_without_a_charge_state_none(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.aselmdb", [frame(0.9, -2.0, periodic=True, free_energy=-2.5)])
    (block,) = open_source(path).blocks()
    assert (block.charges.tolist(), block.spins.tolist()) == ([0], [0])
    assert block.cells is not None
    assert block.cells[0].diagonal().tolist() == [4, 5, 6]
    assert block.pbc is not None
    assert block.pbc.all()
    assert block.energies.tolist() == [-2.5]


def test_a_folder_of_shards_is_read_in_a_stable_order(tmp_path: Path) -> None:
    for number in (1, 0):
        frames = [frame(0.9 + i / 100, -2.0 - i - 10 * number) for i in range(3)]
        shard(tmp_path / f"data000{number}.aselmdb", frames, {"charge": number, "spin": 2 - number})
    np.savez(tmp_path / "metadata.npz", natoms=[2, 2])
    source = structure_source(StructureData("structures", path=str(tmp_path)), tmp_path / "s")[1]
    block = whole(source)
    assert block.energies.tolist() == [-2, -3, -4, -12, -13, -14]
    assert block.charges.tolist() == [0, 0, 0, 1, 1, 1]
    assert block.rows.tolist() == list(range(6))
    (left_out,) = [note for note in source.notes if "metadata.npz" in note]
    assert "sizes of the structures beside it" in left_out
    assert "data0000.aselmdb-lock (a lock)" in left_out


def test_frames_are_decoded_as_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ase_db_backends.aselmdb import LMDBDatabase

    from chemscale.structures.sources import ase_files

    monkeypatch.setattr(ase_files, "FIRST_FRAMES", 2)
    path = shard(tmp_path / "a.aselmdb", [frame(0.9, -2.0 - i, periodic=bool(i % 2)) for i in range(20)])
    decoded: list[int] = []
    get = LMDBDatabase._get_row
    monkeypatch.setattr(
        LMDBDatabase, "_get_row", lambda self, *a, **k: (decoded.append(1), get(self, *a, **k))[1]
    )
    assert len(list(islice(open_source(path).blocks(), 3))) == 3
    assert len(decoded) <= 5


def test_a_folder_that_cannot_be_written_to_is_read_and_stays_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = shard(folder / "a.aselmdb", [frame(0.9, -2.0)])
    for other in folder.glob("*-lock"):
        other.unlink()
    before = path.read_bytes()
    path.chmod(stat.S_IRUSR)
    assert whole(open_source(path)).energies.tolist() == [-2]
    assert [entry.name for entry in folder.iterdir()] == ["a.aselmdb"]
    assert path.read_bytes() == before


def test_a_file_that_was_cut_off_is_refused_and_does_not_end_the_process(tmp_path: Path) -> None:
    frames = [frame(0.9, -2.0 - i) for i in range(200)]
    path = shard(tmp_path / "a.aselmdb", frames, {"noise": np.random.default_rng(0).random(50).tolist()})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    code = f"from chemscale.structures.sources import open_source; list(open_source({str(path)!r}).blocks())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "a.aselmdb: the file was cut off" in ended.stderr
    (tmp_path / "b.aselmdb").write_text("no database")
    with pytest.raises(SourceError, match=r"b\.aselmdb: not a readable LMDB file"):
        open_source(tmp_path / "b.aselmdb")


def test_without_its_package_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shard(tmp_path / "a.aselmdb", [frame(0.9, -2.0)])
    monkeypatch.setitem(sys.modules, "ase_db_backends.aselmdb", None)
    with pytest.raises(SourceError, match=r"pip install 'chemscale\[aselmdb\]'"):
        open_source(path)
