"""Files of their own for validation and testing: read like the others, never trained on."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from chemscale.common.sections import ConfigurationError
from chemscale.points.data import open_or_prepare_structures, structure_source
from chemscale.structures.batches import BatchBudget
from chemscale.structures.blocks import SourceError
from chemscale.structures.data_module import StructureDataModule
from chemscale.structures.lint.run import lint_source
from chemscale.structures.settings import StructureData
from tests.helpers.structures import toy_blocks


@pytest.fixture
def files(tmp_path):
    """Three extended XYZ files of 12 frames, none of them the same."""
    (tmp_path / "data").mkdir()
    for seed, name in enumerate(("train", "valid", "final")):
        write(tmp_path / "data" / f"{name}.extxyz", frames(seed))
    return tmp_path / "data"


def frames(seed, count=6):
    found = []
    for block in toy_blocks(count, seed=seed):
        for positions, energy, forces in zip(block.positions, block.energies, block.forces, strict=True):
            atoms = Atoms(block.numbers, positions)
            atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, forces
            found.append(atoms)
    return found


def section(files, **keys):
    values = {"path": "train.extxyz", "validation_path": "valid.extxyz", **keys}
    paths = {k: str(files / v) for k, v in values.items() if k.endswith("path") and v is not None}
    return StructureData(source="structures", references="minimum_norm", **{**values, **paths})


def opened(files, **keys):
    return open_or_prepare_structures(section(files, **keys), files.parent / "stores")


def energies(store, part):
    return sorted(store.energies(np.asarray(store.part(part))))


def labels(seed):
    return sorted(atoms.info["REF_energy"] for atoms in frames(seed))


def test_each_part_holds_the_frames_of_its_files(files):
    store = opened(files, test_path="final.extxyz")
    for seed, part in enumerate(("train", "validation", "test")):
        np.testing.assert_allclose(energies(store, part), labels(seed))
    assert store.where(int(store.part("validation")[0])).startswith("validation/")
    assert store.manifest["split"]["validation"] == store.manifest["split"]["test"] == "files of its own"


def test_a_frame_is_named_by_its_file_and_its_row_there(files):
    store = opened(files, path="[tv]*.extxyz", validation_path="final.extxyz")
    first = {store.where(frame).split(", ")[-1] for frame in range(len(store)) if store.rows[frame] % 12 == 0}
    assert first == {f"row 0 of {name}.extxyz" for name in ("train", "valid", "final")}
    rows = [row for block in store.blocks(np.arange(len(store))) for row in block.rows.tolist()]
    assert sorted(rows) == sorted(3 * list(range(12)))  # as the linter names them


def test_a_part_without_files_of_its_own_is_a_share_of_the_training_files(files):
    store = opened(files, validation_path=None, test_path="final.extxyz", validation_fraction=0.4)
    np.testing.assert_allclose(energies(store, "test"), labels(2))
    held = energies(store, "validation")
    assert 0 < len(held) < 12
    np.testing.assert_allclose(sorted([*held, *energies(store, "train")]), labels(0))
    alone = opened(files, validation_path=None, validation_fraction=0.4)
    np.testing.assert_allclose(energies(alone, "validation"), held)


def test_the_number_of_validation_frames_is_kept_to(files):
    store = opened(files)
    data = StructureDataModule(store, BatchBudget(frames=4), 3.0, seed=0, validation_frames=5)
    assert len(data.validation) == 5
    np.testing.assert_array_equal(data.validation, store.part("validation")[:5])


def test_held_out_files_are_left_out_of_the_folder_of_training_files_and_named(files):
    store = opened(files, path=".", test_path="final.extxyz")
    np.testing.assert_allclose(energies(store, "train"), labels(0))
    left_out = "train: Left out: final.extxyz (data.test_path), valid.extxyz (data.validation_path)."
    assert left_out in store.manifest["notes"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"validation_path": "train.extxyz"}, "holds it out; none is left to train on"),
        ({"test_path": "valid.extxyz"}, r"is in data\.validation_path and in data\.test_path"),
        ({"split": 1}, r"data\.split=1 takes the parts that were published.*data\.validation_path"),
    ],
)
def test_what_cannot_be_held_out_is_refused(files, keys, message):
    with pytest.raises(ConfigurationError, match=message):
        opened(files, **keys)


def test_a_path_that_names_nothing_is_refused_by_its_key(files):
    with pytest.raises(FileNotFoundError, match=r"data\.test_path=.*none\.extxyz"):
        opened(files, test_path="none.extxyz")


def test_copies_of_training_frames_are_counted_and_all_of_them_refused(files):
    write(files / "valid.extxyz", [*frames(1), *frames(0)[:3]])
    store = opened(files)
    assert "3 of 15 frames of the validation part are copies of train frames." in store.manifest["notes"]
    write(files / "valid.extxyz", frames(0)[:5])
    with pytest.raises(SourceError, match="All 5 frames of the validation part are training frames as well"):
        opened(files)


def test_the_linter_looks_across_the_files_without_preparing_them(files):
    write(files / "valid.extxyz", [*frames(1), *frames(0)[:3]])
    _, source = structure_source(section(files), files.parent / "stores")
    (leak,) = [f for f in lint_source(source) if f.check == "leakage"]
    assert leak.message.startswith("3 of 15 frames of the validation part are copies")


def test_another_validation_file_is_another_store_and_the_same_one_is_not(files):
    first = opened(files)
    assert opened(files).path == first.path
    write(files / "valid.extxyz", frames(7))
    other = opened(files)
    assert other.path != first.path
    assert other.hash != first.hash
    swapped = opened(files, validation_path=None, test_path="valid.extxyz", validation_fraction=0.0)
    assert swapped.path != other.path


def test_isolated_atoms_of_any_file_are_references(files):
    atom = Atoms("H", [(0, 0, 0)], info={"config_type": "IsolatedAtom", "REF_energy": -13.6})
    atom.arrays["REF_forces"] = np.zeros((1, 3))
    write(files / "valid.extxyz", [*frames(1), atom])
    store = opened(files)
    assert len(store.part("validation")) == 12
    assert len(store.part("isolated")) == 1


def test_notes_of_each_file_are_kept_with_its_part(files):
    manifest = json.loads((opened(files).path / "manifest.json").read_text())
    assert [note.split(":")[0] for note in manifest["notes"]] == ["train", "validation"]
