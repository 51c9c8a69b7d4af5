"""Several files as one source, and units given in part."""

import numpy as np
import pytest

from chemscale.structures.blocks import SourceError
from chemscale.structures.lint.run import lint_source
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.sources.combined import open_sources
from chemscale.structures.units import UnitError
from tests.helpers.sources import extxyz, molecule
from tests.helpers.structures import toy_blocks


def write_npz(path, block, split=None):
    """An rMD17-like file in kcal/mol."""
    per = 0.0433641
    arrays = {
        "nuclear_charges": block.numbers,
        "coords": block.positions,
        "energies": block.energies / per,
        "forces": block.forces / per,
        "old_indices": block.rows,
    }
    if split is not None:
        arrays |= {"train_1": split[0], "test_1": split[1]}
    np.savez(path, **arrays)
    return path


@pytest.fixture
def files(tmp_path):
    water, methanol = toy_blocks(20)
    parts = (np.arange(12), np.arange(12, 20))
    return [write_npz(tmp_path / "a.npz", water, parts), write_npz(tmp_path / "b.npz", methanol, parts)]


def test_published_splits_of_each_file_hold_in_the_whole(files, tmp_path):
    source = open_sources(files, {"format": "md17", "split": 1})
    store = build_store(source, tmp_path / "s", SplitPolicy(validation=0.25))
    counts = store.manifest["counts"]
    assert (counts["train"], counts["validation"], counts["test"]) == (18, 6, 16)
    tests = np.asarray(store.part("test"))
    names = [store.where(int(f)).split("/")[0] for f in tests]
    assert sorted(set(names)) == ["a", "b"]
    assert names.count("a") == 8
    assert any("centred" in note for note in store.manifest["notes"])


def test_the_linter_tells_published_parts_of_several_files_apart(files):
    findings = lint_source(open_sources(files, {"format": "md17", "split": 1}))
    seen = [f.message for f in findings if f.check == "element coverage"]
    assert seen == [
        "Atoms of each element: H 72, C 12, O 24.",
        "In the test part: Atoms of each element: H 48, C 8, O 16.",
    ]


def test_a_unit_that_is_given_leaves_the_others_as_the_format_has_them(files):
    plain = next(iter(open_sources(files[:1], {"format": "md17"}).blocks()))
    turned = next(iter(open_sources(files[:1], {"format": "md17", "units": {"gradients": True}}).blocks()))
    np.testing.assert_allclose(turned.energies, plain.energies)
    np.testing.assert_allclose(turned.forces, -plain.forces)
    longer = next(iter(open_sources(files[:1], {"units": {"length": "Bohr", "energy": None}}).blocks()))
    np.testing.assert_allclose(longer.positions, plain.positions * 0.52917721, rtol=1e-6)


def test_unknown_units_are_refused(files):
    with pytest.raises(UnitError, match="Unit 'furlong' is not known"):
        open_sources(files, {"units": {"length": "furlong"}})
    with pytest.raises(UnitError, match="energy, length, gradients, stress and compression"):
        open_sources(files, {"units": {"force": "eV"}})


def test_notes_of_many_files_that_differ_in_numbers_alone_are_one(tmp_path):
    paths = [tmp_path / f"{n}.xyz" for n in range(5)]
    for n, path in enumerate(paths):
        extxyz(path, [molecule(REF_energy=-1.0)] * (n + 1))
    source = open_sources(paths, {})
    assert sum(len(block) for block in source.blocks()) == 15
    assert source.notes[0] == "0: Labels: REF_energy/REF_forces in 1 frames. (and alike in 4 more files)"
    assert len(source.notes) == 2


def test_files_with_their_labels_in_different_places_are_said(tmp_path):
    extxyz(tmp_path / "a.xyz", [molecule(REF_energy=-1.0)])
    write_npz(tmp_path / "b.npz", toy_blocks(2)[0])
    source = open_sources([tmp_path / "a.xyz", tmp_path / "b.npz"], {})
    list(source.blocks())
    assert source.notes[-1].startswith(
        "The files have their labels in different places: REF_energy/REF_forces,"
    )


def test_a_file_of_several_without_labels_counts_as_unlabelled(tmp_path):
    extxyz(tmp_path / "a.xyz", [molecule(REF_energy=-1.0)])
    extxyz(tmp_path / "b.xyz", [molecule()] * 2)
    source = open_sources([tmp_path / "a.xyz", tmp_path / "b.xyz"], {})
    assert [np.isnan(block.energies).tolist() for block in source.blocks()] == [[False], [True, True]]
    assert "b: No labels were read." in source.notes
    with pytest.raises(SourceError, match="no frame of 2 files has an energy or forces"):
        list(open_sources([tmp_path / "b.xyz"] * 2, {}).blocks())
