"""Frames are found again as copies, as nearly the same, and as conformers of a known molecule."""

import time

import numpy as np
import pytest

from chemscale.structures.blocks import Block, SourceError
from chemscale.structures.overlap import comparing
from chemscale.structures.overlap.closeness import Lengths, sorted_distances
from chemscale.structures.overlap.comparing import (
    LEVELS,
    Benchmarks,
    compare_frames,
    copy_of,
    levels_of,
    neighbours,
    several_molecules,
    undecided,
)
from chemscale.structures.overlap.frame_sets import SourceFrames, StoreFrames
from chemscale.structures.overlap.identity import among
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.sources.combined import open_sources
from tests.helpers.sources import extxyz, molecule
from tests.helpers.structures import METHANOL, WATER, ToySource, toy_blocks


class Frames:
    """Frames in memory, as sets of frames are read."""

    total = None

    def __init__(self, name, blocks):
        self.name, self._blocks = name, blocks

    def blocks(self):
        return iter(self._blocks)


def block(numbers, positions, name="x", **options):
    positions = np.asarray(positions, float)
    k = len(positions)
    return Block(
        name, np.asarray(numbers), positions, np.zeros(k), np.zeros_like(positions), np.arange(k), **options
    )


def compared(training, *benchmarks, most=1000, seed=0):
    known = Benchmarks(
        [Frames(f"b{i}", b) for i, b in enumerate(benchmarks)], most=most, seed=seed, silent=True
    )
    return known, compare_frames(Frames("t", training), known, silent=True)


def counts(member, found):
    levels = levels_of(member, found)
    return [int((levels <= number).sum()) for number in range(len(LEVELS))]


def test_the_training_set_itself_is_found_whole():
    blocks = toy_blocks(20)
    known, found = compared(blocks, blocks)
    assert counts(known.members[0], found) == [40, 40, 40]
    assert max(distance for _, distance, _, _, _ in neighbours(known)) < 1e-6
    assert copy_of(known.members[0], found, 3) == (1, "water", 3)


def test_a_set_of_other_molecules_has_nothing_in_common():
    water, methanol = toy_blocks(10)
    known, found = compared([water], [methanol])
    assert counts(known.members[0], found) == [0, 0, 0]
    assert all(np.isinf(distance) for _, distance, _, _, _ in neighbours(known))


def test_other_frames_of_a_molecule_are_found_as_such_and_near_ones_by_their_distance():
    training, benchmark = toy_blocks(30, seed=0), toy_blocks(5, seed=1)
    close = block(
        METHANOL[0], training[1].positions[:1] + 0.0005 * np.random.default_rng(0).normal(size=(6, 3))
    )
    known, found = compared(training, [*benchmark, close])
    identical, molecule, composition = counts(known.members[0], found)
    assert molecule == composition == 11
    assert identical <= 1
    near = {frame: (distance, name, row) for frame, distance, _, name, row in neighbours(known)}
    distance, name, row = near[10]
    assert 0 < distance < 0.002
    assert (name, row) == ("methanol", int(training[1].rows[0]))
    expected = Lengths(sorted_distances(METHANOL[0], benchmark[1].positions)).apart(
        sorted_distances(METHANOL[0], training[1].positions)
    )
    np.testing.assert_allclose([near[5 + i][0] for i in range(5)], expected.min(0), atol=1e-9)


def test_isomers_agree_in_their_composition_only():
    ether = np.array([[0, 0, 0], [1.41, 0, 0], [2.0, 1.28, 0]])  # C O C
    ethanol = np.array([[0, 0, 0], [1.52, 0, 0], [2.0, 1.34, 0]])  # C C O
    known, found = compared([block([6, 8, 6], [ether])], [block([6, 6, 8], [ethanol])])
    assert counts(known.members[0], found) == [0, 0, 1]


def test_names_that_stand_for_several_molecules_are_counted():
    ether = np.array([[0, 0, 0], [1.41, 0, 0], [2.0, 1.28, 0]])  # C O C
    ethanol = np.array([[0, 0, 0], [2.3, 0, 0], [1.5, 0.0, 0]])  # C … O C, the bonds C C O
    mixed, one = block([6, 8, 6], [ether, ethanol], "C2O"), block([6, 8, 6], [ether], "C2O")
    assert [
        several_molecules(known.members[0], found)
        for known, found in (
            compared([mixed], [one]),
            compared([one], [mixed]),
            compared([one], [one]),
            compared([one], [mixed]),
        )
    ] == [1, 1, 0, 1]


def test_where_bonds_say_nothing_the_composition_decides_and_it_is_said():
    apart_ = np.array([[0, 0, 0], [0.96, 0, 0], [9.0, 0, 0]])
    known, found = compared([block(WATER[0], [WATER[1]])], [block(WATER[0], [apart_])])
    assert counts(known.members[0], found) == [0, 1, 1]
    assert undecided(known.members[0], found) == 1


def test_wrapped_crystals_are_copies_and_single_atoms_are_not_compared():
    cell = np.array([np.diag([4.0, 4.0, 4.0])])
    pbc = np.ones((1, 3), bool)
    salt = np.array([[[0.1, 0, 0], [2.0, 2.0, 2.0]]])
    wrapped = salt + np.array([[[4.0, 0, 0], [0, -4.0, 4.0]]])
    atom = block([1], np.zeros((3, 1, 3)))
    known, found = compared(
        [block([11, 17], salt, cells=cell, pbc=pbc), atom],
        [block([11, 17], wrapped, cells=cell, pbc=pbc), atom],
    )
    (member,) = known.members
    assert (len(member), member.single, member.periodic, len(member.sample)) == (1, 3, 1, 0)
    assert found.single == 3
    assert counts(member, found) == [1, 1, 1]


def test_a_sample_is_random_and_depends_on_the_geometries_only():
    blocks = toy_blocks(50)
    known, _ = compared(blocks, blocks, most=20)
    again, _ = compared(blocks, [blocks[1], blocks[0]], most=20)
    other, _ = compared(blocks, blocks, most=20, seed=5)
    shift = np.where(again.members[0].sample < 50, 50, -50)
    assert len(known.members[0].sample) == 20
    np.testing.assert_array_equal(np.sort(again.members[0].sample + shift), known.members[0].sample)
    assert set(other.members[0].sample) != set(known.members[0].sample)


def test_a_benchmark_without_frames_is_refused():
    with pytest.raises(SourceError, match="b0: there is no frame of two atoms"):
        compared(toy_blocks(2), [block([1], np.zeros((3, 1, 3)))])


def test_crystals_and_molecules_of_one_name_in_a_store_are_both_found(tmp_path):
    crystal = {"cells": np.array([np.diag([9.0, 9.0, 9.0])]), "pbc": np.ones((1, 3), bool)}
    free, bound = block(WATER[0], [WATER[1]], "H2O"), block(WATER[0], [1.01 * WATER[1]], "H2O", **crystal)
    bound.rows = bound.rows + 1
    store = build_store(ToySource([free, bound]), tmp_path / "s", SplitPolicy(validation=0.0))
    trained = StoreFrames.parts("t", store, ("train",))
    known = Benchmarks([Frames("b", [free]), Frames("c", [bound])], most=10, silent=True)
    found = compare_frames(trained, known, silent=True)
    assert [counts(member, found) for member in known.members] == [[1, 1, 1], [1, 1, 1]]
    again = Benchmarks([StoreFrames.parts("b", store, ("train",))], most=10, silent=True)
    assert (len(again.members[0]), again.members[0].periodic, len(again.members[0].sample)) == (2, 1, 1)


def test_progress_knows_how_many_frames_files_have(tmp_path):
    paths = [extxyz(tmp_path / f"{k}.xyz", [molecule(REF_energy=-1.0)] * k) for k in (2, 3)]
    assert SourceFrames("s", open_sources(paths, {}), paths, {}).total == 5


def test_whether_values_are_known_is_what_numpy_says():
    random = np.random.default_rng(0)
    known = np.unique(random.integers(0, 50, 20, dtype=np.uint64))
    values = random.integers(0, 60, 100, dtype=np.uint64)
    for some in (known, known[:1], known[:0]):
        np.testing.assert_array_equal(among(values, some), np.isin(values, some))


def test_many_small_blocks_are_looked_up_in_a_large_benchmark_without_sorting_it_each_time():
    blocks = toy_blocks(2)
    known, found = compared(blocks, blocks)
    random = np.random.default_rng(0)
    known.prints = [np.sort(random.integers(0, 1 << 63, 500_000, dtype=np.uint64)) for _ in (0, 1)]
    began = time.process_time()
    for _ in range(50):
        comparing._add_copies(found, blocks[0], known)
    assert time.process_time() - began < 1.0  # sorted anew it takes three seconds
