"""The frame store: what goes in comes out, whatever the order of the file; subsets are nested."""

import json
import pickle
from itertools import groupby

import numpy as np
import pytest

from chemscale.structures.blocks import Block, SourceError
from chemscale.structures.loading import frame_blocks
from chemscale.structures.preparation.building import SplitPolicy, build_store, store_key
from chemscale.structures.store import FrameStore, StoreError
from tests.helpers.structures import ToySource, mixed_blocks, toy_blocks


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


@pytest.mark.parametrize("at_once", [3, 4096])
def test_blocks_are_runs_of_one_composition_however_many_frames_are_read_at_once(
    tmp_path, monkeypatch, at_once
):
    monkeypatch.setattr(frame_blocks, "AT_ONCE", at_once)
    store = build_store(ToySource(mixed_blocks()), tmp_path / "mixed", SplitPolicy())
    frames = np.arange(len(store))
    runs = [list(run) for _, run in groupby(frames.tolist(), key=lambda f: bytes(store.numbers(f)))]
    expected = [run[i : i + at_once] for run in runs for i in range(0, len(run), at_once)]
    found = list(store.blocks(frames[::-1]))
    assert [b.rows.tolist() for b in found] == expected
    for block in found:
        for i, row in enumerate(block.rows.tolist()):
            one = store.structure(row)
            np.testing.assert_array_equal(block.positions[i], one.positions)
            np.testing.assert_array_equal(block.forces[i], one.forces)
            assert (block.energies[i], block.weights[i]) == (one.energy, one.weight)
            cell = np.zeros((3, 3)) if one.cell is None else one.cell
            np.testing.assert_array_equal(np.zeros((3, 3)) if block.cells is None else block.cells[i], cell)
            stress = np.full((3, 3), np.nan) if one.stress is None else one.stress
            np.testing.assert_array_equal(block.stresses[i], stress)


def test_a_block_is_of_crystals_or_of_molecules(tmp_path):
    blocks = [block for block in mixed_blocks() if block.numbers[0] == 8]
    store = build_store(ToySource(blocks), tmp_path / "mixed", SplitPolicy())
    found = list(store.blocks(np.arange(len(store))))
    assert [(len(block), block.pbc is not None) for block in found] == [(3, False), (11, True)]
    assert found[0].cells is None
    assert all(block.pbc.all() for block in found[1:])


def test_names_are_read_together_and_large_frames_are_not(store, monkeypatch):
    read, joined = [], FrameStore.joined
    monkeypatch.setattr(
        FrameStore, "joined", lambda self, frames: read.append(len(frames)) or joined(self, frames)
    )
    whole = [block.rows.tolist() for block in store.blocks(np.arange(len(store)))]
    assert len(read) == 1 < len(whole)
    read.clear()
    monkeypatch.setattr(frame_blocks, "ATOMS_AT_ONCE", 13)
    few = list(store.blocks(np.arange(len(store))))
    assert all(len(block) * len(block.numbers) <= 13 for block in few)
    assert [row for block in few for row in block.rows] == [row for rows in whole for row in rows]
    monkeypatch.setattr(frame_blocks, "ATOMS_AT_ONCE", 1)
    assert {len(block) for block in store.blocks(np.arange(len(store)))} == {1}


def test_arrays_that_begin_late_are_hashed_as_they_stand_on_disk(tmp_path):
    build_store(ToySource(mixed_blocks()), tmp_path / "mixed", SplitPolicy()).verify()


def test_frames_that_a_source_left_out_are_counted_by_reason(tmp_path):
    source = ToySource(toy_blocks(10))
    source.left_out = {"no energy": 3}
    store = build_store(source, tmp_path / "some", SplitPolicy())
    assert store.manifest["counts"]["left_out"] == {"no energy": 3}
    whole = build_store(ToySource(toy_blocks(10)), tmp_path / "all", SplitPolicy())
    assert whole.manifest["counts"]["left_out"] == {}
    assert whole.hash == store.hash


def test_charges_and_multiplicities_are_counted_in_rising_order(tmp_path):
    blocks = toy_blocks(3)
    blocks[0].charges, blocks[0].spins = np.array([-1, 1, -128], np.int8), np.array([2, 2, 255], np.uint8)
    store = build_store(ToySource(blocks), tmp_path / "ions", SplitPolicy(validation=0.0))
    assert list(store.electron_states(np.arange(6)).items()) == [
        ((-128, 255), 1), ((-1, 2), 1), ((0, 0), 3), ((1, 2), 1),
    ]  # fmt: skip


def test_another_process_opens_a_store_instead_of_getting_its_arrays(store):
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    np.testing.assert_array_equal(again.structure(5).positions, store.structure(5).positions)
    assert again.hash == store.hash


@pytest.mark.parametrize(
    "frames", [range(64), range(0, 128, 2), range(0, 640, 10), (3, 1, 2), range(99, -1, -1)]
)
def test_frames_are_the_same_read_in_order_or_here_and_there(tmp_path, frames):
    store = build_store(ToySource(toy_blocks(400)), tmp_path / "toy", SplitPolicy())
    joined = store.joined(np.array(frames))
    ends = np.cumsum(joined.sizes)
    for k, frame in enumerate(frames):
        one, part = store.structure(frame), slice(ends[k] - joined.sizes[k], ends[k])
        np.testing.assert_array_equal(joined.numbers[part], one.numbers)
        np.testing.assert_array_equal(joined.positions[part], one.positions)
        np.testing.assert_array_equal(joined.forces[part], one.forces)
    store.expect(np.array(frames))  # a hint, which may be given of any frames


def test_names_are_read_when_they_are_asked_for(store):
    again = FrameStore(store.path)
    assert "names" not in vars(again)
    assert again.name(0) == "water"
    (store.path / "names.json").write_text('["wat')
    with pytest.raises(StoreError, match=r"names.json: damaged .* Copy the folder again"):
        FrameStore(store.path).where(0)
    (store.path / "names.json").unlink()
    with pytest.raises(StoreError, match=r"names.json: missing"):
        FrameStore(store.path)
