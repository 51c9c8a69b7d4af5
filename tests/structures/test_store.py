"""The frame store: what goes in comes out, whatever the order of the file; subsets are nested."""

import json

import numpy as np
import pytest

from chemscale.structures.blocks import Block, SourceError
from chemscale.structures.preparation.building import SplitPolicy, build_store, store_key
from chemscale.structures.store import FrameStore, StoreError
from tests.helpers.structures import ToySource, toy_blocks


@pytest.fixture
def store(tmp_path):
    return build_store(ToySource(toy_blocks(40)), tmp_path / "toy", SplitPolicy(validation=0.2))


def test_every_frame_comes_back_as_it_went_in(store):
    found = {int(b.rows[i]): (b, i) for b in store.blocks(np.arange(len(store))) for i in range(len(b))}
    for block in toy_blocks(40):
        for i, row in enumerate(block.rows):
            again, k = found[int(row)]
            assert again.name == block.name
            np.testing.assert_array_equal(again.numbers, block.numbers)
            np.testing.assert_array_equal(again.positions[k], block.positions[i])
            np.testing.assert_array_equal(again.forces[k], block.forces[i])
            assert again.energies[k] == block.energies[i]


def test_the_manifest_states_units_level_counts_and_hash(store):
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert manifest["units"]["energy"] == "eV"
    assert manifest["level"] == "toy"
    assert manifest["counts"]["frames"] == 80
    assert manifest["counts"]["train"] + manifest["counts"]["validation"] == 80
    assert manifest["elements"] == [1, 6, 8]
    store.verify()


def test_a_changed_array_is_noticed(store):
    with open(store.path / "energies", "r+b") as file:
        file.write(b"\x01")
    with pytest.raises(StoreError, match="do not have the hash"):
        FrameStore(store.path).verify()


def test_order_and_split_do_not_depend_on_the_order_of_the_file(tmp_path):
    straight = build_store(ToySource(toy_blocks(40)), tmp_path / "a", SplitPolicy())
    turned = build_store(ToySource(toy_blocks(40)[::-1]), tmp_path / "b", SplitPolicy())
    for part in ("train", "validation"):
        energies = [s.energies(np.asarray(s.part(part))) for s in (straight, turned)]
        np.testing.assert_array_equal(*energies)


def test_published_splits_are_honoured(tmp_path):
    source = ToySource(toy_blocks(40), {"train": np.arange(0, 20), "test": np.arange(50, 60)})
    store = build_store(source, tmp_path / "p", SplitPolicy(validation=0.25))
    rows = {p: {int(r) for b in store.blocks(np.asarray(store.part(p))) for r in b.rows} for p in
            ("train", "validation", "test")}  # fmt: skip
    assert rows["test"] == set(range(50, 60))
    assert rows["train"] | rows["validation"] == set(range(20))
    assert len(rows["validation"]) == 5


def test_an_interrupted_build_leaves_nothing_that_looks_like_a_store(tmp_path):
    class Broken(ToySource):
        def blocks(self):
            yield from toy_blocks(5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store(Broken([]), tmp_path / "x", SplitPolicy())
    with pytest.raises(StoreError):
        FrameStore(tmp_path / "x")
    assert len(build_store(ToySource(toy_blocks(5)), tmp_path / "x", SplitPolicy())) == 10


def test_the_key_follows_content_and_options(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"1")
    first = store_key([file], {"a": 1})
    assert store_key([file], {"a": 2}) != first
    file.write_bytes(b"2")
    assert store_key([file], {"a": 1}) != first


def test_bad_blocks_are_refused_with_their_name():
    good = toy_blocks(2)[0]
    with pytest.raises(SourceError, match=r"water: atomic numbers .*257"):
        Block("water", np.array([257, 1, 1]), good.positions, good.energies, good.forces, good.rows)
    broken = good.positions.copy()
    broken[1, 0, 0] = np.nan
    with pytest.raises(SourceError, match="row 1: a coordinate is not finite"):
        Block("water", good.numbers, broken, good.energies, good.forces, good.rows)
