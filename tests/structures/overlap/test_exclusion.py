"""A store is made without the frames of other sets; its test part stays."""

import numpy as np
import pytest

from chemscale.structures.blocks import SourceError
from chemscale.structures.overlap.exclusion import FrameExclusion
from chemscale.structures.overlap.frame_sets import StoreFrames
from chemscale.structures.overlap.identity import graph_of
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.preparation.separate_files import SeparateFiles
from chemscale.structures.sources.combined import CombinedSource
from tests.helpers.structures import METHANOL, toy_blocks


class Toy:
    """A source in memory."""

    level, units = "springs", "eV, Angstrom"

    def __init__(self, blocks, splits=None):
        self._blocks, self._splits, self.notes = blocks, splits, []

    def blocks(self):
        for block in self._blocks:
            yield block.select(np.arange(len(block)))  # a source's blocks are the reader's

    def splits(self):
        return self._splits


def store_of(path, blocks, **options):
    return build_store(Toy(blocks), path, SplitPolicy(validation=0.2), **options)


def excluding(tmp_path, blocks, level="identical"):
    other = build_store(Toy(blocks), tmp_path / "other", SplitPolicy(validation=0.2))
    return FrameExclusion([StoreFrames.parts("other", other, ("train", "validation"))], level)


def test_copies_are_left_out_and_listed(tmp_path):
    blocks = toy_blocks(20)
    exclude = excluding(tmp_path, [block.select(np.arange(5)) for block in blocks])
    store = store_of(tmp_path / "s", blocks, exclude=exclude)
    assert len(store) == 30
    assert set(store.rows) == {*range(5, 20), *range(25, 40)}
    listed = (tmp_path / "s" / "excluded.csv").read_text().splitlines()
    assert listed[0] == "name,row,why"
    assert listed[1] == "water,0,identical"
    assert len(listed) == 11
    assert any("10 identical" in note for note in store.manifest["notes"])


def test_a_molecule_is_left_out_with_all_its_frames(tmp_path):
    water, methanol = toy_blocks(20, noise=0.02)
    exclude = excluding(tmp_path, [toy_blocks(4, seed=9, noise=0.02)[1]], "molecule")
    store = store_of(tmp_path / "s", [water, methanol], exclude=exclude)
    assert {store.name(frame) for frame in range(len(store))} == {"water"}


def test_a_distance_leaves_out_what_is_as_near(tmp_path):
    water, methanol = toy_blocks(10)
    moved = methanol.select(np.arange(2))
    moved.positions = moved.positions + 0.003 * np.random.default_rng(0).normal(size=moved.positions.shape)
    for level, left in ((1e-4, 20), (0.02, 18)):
        exclude = excluding(tmp_path / str(level), [moved, toy_blocks(4, seed=7)[1]], level)
        assert len(store_of(tmp_path / f"s{level}", [water, methanol], exclude=exclude)) == left


def test_published_test_frames_stay(tmp_path):
    blocks = toy_blocks(20)
    exclude = excluding(tmp_path, blocks)
    published = {"train": np.arange(30), "test": np.arange(30, 40)}
    extra = toy_blocks(20, seed=3)
    for block in extra:
        block.rows = block.rows + 40
    published["train"] = np.concatenate([published["train"], np.arange(40, 80)])
    source = Toy([*blocks, *extra], published)
    store = build_store(source, tmp_path / "s", SplitPolicy(validation=0.1), exclude=exclude)
    assert len(store.part("test")) == 10
    assert len(store.part("train")) + len(store.part("validation")) == 40


def test_test_files_of_their_own_stay(tmp_path):
    blocks = toy_blocks(20)
    exclude = excluding(tmp_path, [block.select(np.arange(6)) for block in blocks])
    source = SeparateFiles({"train": Toy(blocks), "test": Toy([b.select(np.arange(6)) for b in blocks])})
    store = build_store(source, tmp_path / "s", SplitPolicy(validation=0.1), exclude=exclude)
    assert len(store.part("test")) == 12
    assert len(store.part("train")) + len(store.part("validation")) == 28
    assert not any("copies" in note for note in store.manifest["notes"])


def test_every_molecule_of_one_name_is_left_out(tmp_path):
    numbers, rest = METHANOL
    ether = rest.copy()
    ether[1], ether[5] = (0.6, -0.3, 0.0), (-0.9, -0.3, 0.0)  # other bonds of the same atoms
    block = toy_blocks(10)[1]
    mixed = block.select(np.arange(10))
    mixed.positions = np.concatenate([np.repeat(rest[None], 9, 0), ether[None]])
    mixed.positions = mixed.positions + 0.002 * np.arange(10)[:, None, None] * rest
    other = block.select(np.arange(2))
    other.positions = np.stack([1.01 * ether, 1.02 * ether])
    assert graph_of(mixed, 9) not in (graph_of(mixed, 0), None)
    exclude = excluding(tmp_path, [mixed], "molecule")
    store = store_of(tmp_path / "s", [toy_blocks(10)[0], other], exclude=exclude)
    assert {store.name(frame) for frame in range(len(store))} == {"water"}
    assert len(numbers) == 6


def test_a_validation_part_that_is_left_out_whole_is_not_replaced_without_a_word(tmp_path):
    blocks, held = toy_blocks(20), toy_blocks(3, seed=5)
    exclude = excluding(tmp_path, held)
    files = SeparateFiles({"train": Toy(blocks), "validation": Toy(held)})
    with pytest.raises(SourceError, match=r"No frame of the validation part is left but the 6"):
        build_store(files, tmp_path / "a", SplitPolicy(validation=0.1), exclude=exclude)
    for block in held:
        block.rows = block.rows + 40
    published = {"train": np.arange(40), "validation": np.arange(40, 46)}
    exclude = FrameExclusion(exclude.sets)
    with pytest.raises(SourceError, match=r"No frame of the validation part is left but the 6"):
        build_store(
            Toy([*blocks, *held], published), tmp_path / "b", SplitPolicy(validation=0.1), exclude=exclude
        )


def test_rows_of_what_is_left_out_are_those_in_its_file(tmp_path):
    one, two = Toy(toy_blocks(10)), Toy(toy_blocks(10, seed=4))
    one.path, two.path = tmp_path / "one.npz", tmp_path / "two.npz"
    exclude = excluding(tmp_path, [block.select(np.arange(3, 5)) for block in toy_blocks(10, seed=4)])
    store = build_store(
        CombinedSource([one, two], ["one", "two"]), tmp_path / "s", SplitPolicy(), exclude=exclude
    )
    listed = (tmp_path / "s" / "excluded.csv").read_text().splitlines()[1:]
    assert listed == [f"two/{n},identical" for n in ("water,3", "water,4", "methanol,13", "methanol,14")]
    assert store.where(len(store) - 1).endswith("row 19 of two.npz")


def test_what_is_left_out_is_part_of_what_names_a_store(tmp_path):
    one = excluding(tmp_path / "a", toy_blocks(5))
    other = excluding(tmp_path / "b", toy_blocks(6))
    again = excluding(tmp_path / "c", toy_blocks(5), "molecule")
    assert len({str(each.content()) for each in (one, other, again)}) == 3
    assert one.content() == excluding(tmp_path / "d", toy_blocks(5)).content()


def test_everything_left_out_is_refused(tmp_path):
    exclude = excluding(tmp_path, toy_blocks(5), "molecule")
    with pytest.raises(
        ValueError, match=r"there is no frame in it but the 5 that are in other too \(data.exclude\)"
    ):
        store_of(tmp_path / "s", [toy_blocks(5, seed=2)[1]], exclude=exclude)
    assert len(METHANOL[0]) == 6


def test_training_files_that_are_left_out_whole_are_named_as_the_reason(tmp_path):
    files = SeparateFiles({"train": Toy(toy_blocks(5)), "test": Toy(toy_blocks(3, seed=5))})
    with pytest.raises(SourceError, match=r"no frame is left to train on but the 10 that are in other too"):
        build_store(
            files, tmp_path / "s", SplitPolicy(validation=0.0), exclude=excluding(tmp_path, toy_blocks(5))
        )
