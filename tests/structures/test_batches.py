"""Batches: under their budget, each frame once an epoch, a pure function of seed and number."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from chemscale.structures.batches import BatchBudget, BatchError, EpochPlan, FrameBatches
from chemscale.structures.building import SplitPolicy, build_store
from chemscale.structures.data_module import StructureDataModule, SubsetError
from chemscale.structures.edges import EdgeCache
from tests.structures.toys import ToySource, toy_blocks

ATOMS = np.random.default_rng(0).integers(3, 30, 500)
EDGES = ATOMS * 8


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "toy"
    return build_store(ToySource(toy_blocks(30)), folder, SplitPolicy(validation=0.2))


@pytest.mark.parametrize(
    "budget", [BatchBudget(frames=16), BatchBudget(atoms=100), BatchBudget(frames=9, atoms=120, edges=700)]
)
def test_batches_keep_their_budget_and_hold_each_frame_once_an_epoch(budget):
    plan = EpochPlan(ATOMS, EDGES, budget, seed=3)
    for epoch in (0, 1):
        order, bounds = plan.epoch(epoch)
        assert sorted(order) == list(range(500))
        for start, end in pairwise(bounds):
            members = order[start:end]
            assert len(members) <= (budget.frames or 500)
            assert ATOMS[members].sum() <= (budget.atoms or 10**9)
            assert EDGES[members].sum() <= (budget.edges or 10**9)


def test_epochs_are_packed_differently_and_a_number_finds_its_batch_from_anywhere():
    budget = BatchBudget(atoms=100)
    running = EpochPlan(ATOMS, EDGES, budget, seed=3)
    walked = [running.frames(i) for i in range(300)]
    fresh = EpochPlan(ATOMS, EDGES, budget, seed=3)
    for index in (299, 0, 150):
        np.testing.assert_array_equal(fresh.frames(index), walked[index])
    assert fresh.locate(299)[0] > 0
    assert not np.array_equal(fresh.epoch(0)[0], fresh.epoch(1)[0])
    other = EpochPlan(ATOMS, EDGES, budget, seed=4)
    assert not np.array_equal(other.frames(0), walked[0])


def test_a_budget_too_small_for_the_largest_structure_is_refused_at_once():
    with pytest.raises(BatchError, match=r"batch\.atoms=20, but the largest structure has 29 atoms"):
        EpochPlan(ATOMS, EDGES, BatchBudget(atoms=20), seed=0)
    with pytest.raises(BatchError, match="at least one of"):
        BatchBudget()


def test_micro_batches_of_a_step_carry_the_labels_of_the_whole_step(store):
    frames = np.asarray(store.part("train"))
    edges = EdgeCache(store, "train", 3.0).open(len(frames))
    plan = EpochPlan(store.sizes[frames], edges.counts, BatchBudget(frames=4, accumulate=2), seed=0)
    ranks = [FrameBatches(store, frames, edges, plan, rank=r, world=2) for r in (0, 1)]
    parts = [ranks[r][m] for m in (0, 1) for r in (0, 1)]
    components = sum(int(p.forces.isfinite().sum()) for p in parts)
    assert all(p.step_components == components for p in parts)
    assert all(p.step_energies == 16 for p in parts)
    seen = torch.cat([p.energy for p in parts])
    assert len(set(seen.tolist())) == 16


def test_cached_neighbours_equal_fresh_ones_and_grow_with_the_subset(store):
    frames = np.asarray(store.part("train"))
    cache = EdgeCache(store, "train", 2.5)
    few = cache.open(5)
    all_of_them = cache.open(len(frames))
    np.testing.assert_array_equal(few.counts, all_of_them.counts[:5])
    for position in (0, 4, len(frames) - 1):
        cached = all_of_them.attach(store.structure(int(frames[position])), position)
        fresh = store.structure(int(frames[position])).with_neighbours(2.5)
        np.testing.assert_array_equal(cached.edges, fresh.edges)


def test_an_interrupted_neighbour_cache_is_taken_up(store):
    cache = EdgeCache(store, "train", 2.0)
    whole = EdgeCache(store, "validation", 2.0)
    cache.counts(4)
    with open(cache._file("pairs"), "ab") as file:  # pairs of a frame whose count was never written
        file.write(b"\x01\x00\x02\x00" * 3)
    position = 7
    edges = cache.open(10).attach(store.structure(int(cache.frames[position])), position).edges
    np.testing.assert_array_equal(
        edges, store.structure(int(cache.frames[position])).with_neighbours(2.0).edges
    )
    assert len(whole.counts(3)) == 3


def test_subsets_are_nested_and_bounded(store):
    budget = BatchBudget(frames=4)
    small = StructureDataModule(store, budget, 3.0, seed=0, frames=10)
    large = StructureDataModule(store, budget, 3.0, seed=0, frames=20)
    np.testing.assert_array_equal(small.train, large.train[:10])
    np.testing.assert_array_equal(small.validation, large.validation)
    with pytest.raises(SubsetError, match=r"data\.frames=1000"):
        StructureDataModule(store, budget, 3.0, seed=0, frames=1000)
