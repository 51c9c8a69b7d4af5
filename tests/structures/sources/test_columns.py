"""Structures in tables: Parquet, Arrow, JSON lines, and folders that `datasets` saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from chemscale.molecules.preparation.sources.files import find_files
from chemscale.points.data import structure_source
from chemscale.structures.blocks import SourceError
from chemscale.structures.settings import StructureData
from chemscale.structures.sources import open_source
from chemscale.structures.sources.frame_files import frame_files
from chemscale.structures.sources.labels import LabelKeys
from chemscale.structures.units import Units
from tests.helpers.molecule_files import read
from tests.helpers.sources import HARTREE, springs, whole


def columns(frames: int = 5, **more: Any) -> dict[str, Any]:
    positions, energies, forces = springs(frames)
    return {
        "atomic_numbers": [[1, 1]] * frames,
        "positions": positions.tolist(),
        "energy": energies.tolist(),
        "forces": forces.tolist(),
        **more,
    }


def table(path: Path, values: dict[str, Any]) -> Path:
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.table(values), path)
    elif path.suffix == ".jsonl":
        rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        made = pa.table(values)
        with path.open("wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
            writer.write_table(made, max_chunksize=2)
    return path


def saved(folder: Path, values: dict[str, Any], shards: int = 2) -> Path:
    """A folder as `Dataset.save_to_disk` leaves it, with a file of its cache."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
    for i, name in enumerate(names):
        table(folder / name, {key: column[i::shards] for key, column in values.items()})
    table(folder / "cache-1234.arrow", values)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.jsonl"])
def test_structures_of_a_table_are_those_that_were_written(tmp_path: Path, name: str) -> None:
    positions, energies, forces = springs(5)
    source = open_source(table(tmp_path / name, columns(charge=[-1] * 5, spin=[2] * 5)))
    block = whole(source)
    assert np.allclose(block.positions, positions)
    assert np.allclose(block.energies, energies)
    assert np.allclose(block.forces, forces)
    assert (block.charges.tolist(), block.spins.tolist()) == ([-1] * 5, [2] * 5)
    assert block.rows.tolist() == list(range(5))
    assert "Tables state no units: eV and Å were taken. data.units says others." in source.notes


def test_symbols_cells_missing_labels_and_names_of_ones_own(tmp_path: Path) -> None:
    values = columns(species=[["O", "H"]] * 5, cell=[None, *[(4 * np.eye(3)).tolist()] * 4])
    values["dft"], values["energy"] = values.pop("energy"), [None, *[1.0] * 4]
    del values["atomic_numbers"]
    path = table(tmp_path / "a.parquet", values)
    blocks = list(open_source(path).blocks())
    assert [len(block) for block in blocks] == [1, 4]
    assert blocks[0].numbers.tolist() == [8, 1]
    assert np.isnan(blocks[0].energies).all()
    assert blocks[0].cells is None
    assert blocks[1].cells is not None
    assert blocks[1].pbc is not None
    assert blocks[1].pbc.all()
    chosen = open_source(path, keys=LabelKeys(energy="dft"), units=Units("Hartree"))
    assert np.allclose(whole_energies(chosen), springs(5)[1] * HARTREE)


def whole_energies(source: Any) -> np.ndarray:
    return np.concatenate([block.energies for block in source.blocks()])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"positions": [[[0.0] * 3] * 3] * 5}, r"a\.parquet, row 0: no structure with its labels"),
        ({"atomic_numbers": [[1, 200]] * 5}, r"a\.parquet.*1 … 118"),
        ({"energy": [[1.0, 2.0]] * 5}, "row 0: .*2 numbers where 1 belongs"),
        ({"charge": [0.5] * 5}, r"row 0: .*charge"),
        ({"positions": [[[np.nan] * 3] * 2] * 5}, "coordinate is not finite"),
    ],
)
def test_a_row_that_is_no_structure_is_named(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    path = table(tmp_path / "a.parquet", columns() | change)
    with pytest.raises(SourceError, match=why):
        list(open_source(path).blocks())


def test_a_table_without_the_columns_is_refused_by_those_it_has(tmp_path: Path) -> None:
    values = columns()
    with pytest.raises(
        SourceError, match="no column is an energy or forces; there are atomic_numbers, positions"
    ):
        open_source(table(tmp_path / "a.parquet", {k: values[k] for k in ("atomic_numbers", "positions")}))
    with pytest.raises(SourceError, match=r"data\.forces_key=F2: no column is called so"):
        open_source(table(tmp_path / "b.parquet", values), keys=LabelKeys(forces="F2"))


def test_a_stream_without_its_end_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "a.arrow", columns())
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(SourceError, match="a stream without its end: it was cut short"):
        open_source(path)


def test_a_folder_of_datasets_is_read_by_its_list_of_shards(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", columns())
    data = StructureData("structures", path=str(folder))
    parts, source = structure_source(data, tmp_path / "stores")
    assert [path.name for path in parts["train"]] == [
        "data-00000-of-00002.arrow",
        "data-00001-of-00002.arrow",
    ]
    assert len(whole(source)) == 5
    parts_file = tmp_path / "dataset_dict.json"
    parts_file.write_text('{"splits": ["set"]}')
    with pytest.raises(SourceError, match=r"parts of `datasets` \(set\). Name one of them"):
        frame_files(str(tmp_path))


def test_molecules_of_a_folder_of_datasets(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", {"smiles": ["CCO", "CCN", "CCC", "C#N"], "y": [1, 2, 3, 4]})
    files, left_out = find_files(str(folder))
    assert [text for file in files for text in read(file)] == ["CCO", "CCC", "CCN", "C#N"]
    assert left_out == ["cache-1234.arrow", "dataset_info.json", "state.json"]
    (folder / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 files of the data set are missing or empty \(data-00001"):
        find_files(str(folder))
    with pytest.raises(ValueError, match="1 of 2 files"):
        frame_files(str(folder))
    (folder / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"state\.json: damaged"):
        find_files(str(folder))
