"""How many frames there are, known before they are read: what progress counts down."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase.db import connect

from chemscale.structures.blocks import SourceError, left_out_frames, total_frames
from chemscale.structures.sources import open_source
from chemscale.structures.sources.combined import open_sources
from chemscale.structures.sources.containers.xyz_layout import check_layout
from tests.helpers.paths import real_data
from tests.helpers.sources import ani1x_file, extxyz, molecule, springs
from tests.helpers.structures import ToySource


def read(source) -> int:
    """Frames that are in blocks, and those left out."""
    return sum(len(block) for block in source.blocks()) + sum(left_out_frames(source).values())


def frames(count: int) -> list:
    return [molecule(REF_energy=-1.0 - i) for i in range(count)]


@pytest.mark.parametrize(
    "name",
    [
        "modelforge_samples__ani1_n5.hdf5",
        "modelforge_samples__ani2x_minimal.hdf5",
        "modelforge_samples__SPICE-1.1.4_n2.hdf5",
        "aimnet2_sample__dataset.h5",
        "rmd17_uracil.npz",
        "botnet_acac__train_300K.xyz",
    ],
)
def test_real_files_know_how_many_frames_they_have(name: str) -> None:
    source = open_source(real_data(f"atoms/{name}"))
    assert total_frames(source) == read(source) > 0


@pytest.mark.parametrize("suffix", [".xyz", ".xyz.gz", ".db", ".json", ".traj"])
def test_files_of_ase_know_it_where_they_are_looked_through_or_databases(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    atoms = frames(7)
    if suffix in (".db", ".json"):
        with connect(path) as database:
            for each in atoms:
                database.write(each, data=each.info)
    elif suffix == ".traj":
        ase.io.write(path, atoms)
    else:
        extxyz(path, atoms)
    source = open_source(path)
    source.needs_labels = False
    assert total_frames(source) == (None if suffix in (".json", ".traj") else 7)
    assert read(source) == 7


def test_a_parquet_file_knows_it_and_lines_of_json_do_not(tmp_path: Path) -> None:
    rows = [
        {"atomic_numbers": [8, 1], "positions": [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "energy": -1.0 * i}
        for i in range(5)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert total_frames(source) == read(source) == 5


def test_several_files_know_the_sum_and_nothing_where_one_does_not(tmp_path: Path) -> None:
    paths = [extxyz(tmp_path / f"{name}.xyz", frames(n)) for name, n in (("a", 2), ("b", 3))]
    source = open_sources([tmp_path / "a.xyz", tmp_path / "b.xyz"], {})
    assert paths
    assert total_frames(source) == read(source) == 5
    ase.io.write(tmp_path / "c.traj", frames(1))
    mixed = open_sources([tmp_path / "a.xyz", tmp_path / "c.traj"], {})
    assert total_frames(mixed) is None
    assert total_frames(ToySource([])) is None


def test_frames_that_several_files_left_out_are_added_up_by_reason(tmp_path: Path) -> None:
    _, energies, forces = springs(3)
    energies[1] = np.nan
    labels = {"wb97x_dz.energy": energies, "wb97x_dz.forces": forces}
    for name in ("a", "b"):
        ani1x_file(tmp_path / f"{name}.h5", **labels)
    source = open_sources([tmp_path / "a.h5", tmp_path / "b.h5"], {})
    assert left_out_frames(source) == {}
    for _ in range(2):
        assert read(source) == total_frames(source) == 6
        assert left_out_frames(source) == {"no wb97x_dz.energy or wb97x_dz.forces": 2}


def test_a_file_that_was_looked_through_is_refused_as_it_is_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "short.xyz"
    extxyz(path, frames(3))
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    source = open_source(path)
    with pytest.raises(SourceError, match="frame 2: the file ends behind"):
        total_frames(source)
    with pytest.raises(SourceError, match="frame 2: the file ends behind"):
        list(source.blocks())
    assert check_layout(path, 1) == 1
