"""Batches: under their budget, each frame once an epoch, a pure function of seed and number."""

import errno
import fcntl
import os
from itertools import pairwise

import numpy as np
import pytest
import torch

from chemscale.structures import batches as reading
from chemscale.structures import edges as neighbours
from chemscale.structures.batches import (
    BatchBudget,
    BatchError,
    EpochPlan,
    FrameBatches,
    deal,
    labels,
    members_of,
    read_batch,
)
from chemscale.structures.data_module import StructureDataModule, SubsetError
from chemscale.structures.edges import ChosenEdges, EdgeCache
from chemscale.structures.graphs import collate
from chemscale.structures.preparation.building import SplitPolicy, build_store
from tests.helpers.structures import ToySource, mixed_blocks, toy_blocks

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


@pytest.fixture(scope="module")
def training(store):
    """The frames of the training set and their neighbours."""
    frames = np.asarray(store.part("train"))
    return frames, EdgeCache(store, "train", 3.0).open(len(frames))


def batches(store, training, budget, **cut):
    frames, edges = training
    plan = EpochPlan(store.sizes[frames], edges.counts, budget, seed=0)
    return FrameBatches(store, frames, edges, plan, **cut)


def test_a_step_on_one_rank_is_the_sequence_of_the_plan_in_its_order(store, training):
    whole = batches(store, training, BatchBudget(frames=16))
    frames, edges = training
    for step in (0, 3, 9):
        straight = read_batch(store, frames, edges, whole.plan.frames(step))
        assert torch.equal(straight.pos, whole[step].pos)
        step_labels = (whole[step].step_energies, whole[step].step_components, whole[step].step_stresses)
        assert step_labels == tuple(labels(straight).values())


@pytest.mark.parametrize("budget", [BatchBudget(frames=16), BatchBudget(atoms=90)])
@pytest.mark.parametrize(("accumulate", "world"), [(1, 2), (2, 2), (3, 1)])
def test_ranks_and_micro_batches_share_the_frames_of_a_step_and_count_what_one_batch_would(
    store, training, budget, accumulate, world
):
    one = batches(store, training, budget)
    ranks = [
        batches(store, training, budget, accumulate=accumulate, rank=r, world=world) for r in range(world)
    ]
    for step in range(len(one.plan.epoch(0)[1])):  # one epoch, its short last step, and one step more
        whole = one[step]
        parts = [ranks[r][step * accumulate + m] for m in range(accumulate) for r in range(world)]
        seen = torch.cat([p.energy[p.energy.isfinite()] for p in parts])
        assert sorted(seen.tolist()) == sorted(whole.energy.tolist())
        assert all(p.step_energies == whole.step_energies for p in parts)
        assert all(p.step_components == whole.step_components for p in parts)
        for key in ("frames", "atoms", "edges"):
            assert sum(p.counts[key] for p in parts) == whole.counts[key]
        assert sum(p.padded_pairs for p in parts) == whole.padded_pairs


def test_a_short_step_leaves_a_rank_a_frame_without_labels_instead_of_nothing(store, training):
    frames = training[0][:9]
    edges = EdgeCache(store, "train", 3.0).open(9)
    plan = EpochPlan(store.sizes[frames], edges.counts, BatchBudget(frames=4), seed=0)
    ranks = [FrameBatches(store, frames, edges, plan, rank=r, world=4) for r in range(4)]
    parts = [batches[2] for batches in ranks]
    assert sorted(p.counts["frames"] for p in parts) == [0, 0, 0, 1]
    for part in parts:
        assert part.z.shape[0] > 0
        labelled = part.counts["frames"] == 1
        assert bool(part.energy.isfinite().any()) is labelled
        assert bool(part.forces.isfinite().any()) is labelled
        assert part.step_energies == 1


def test_a_deal_is_even_in_number_and_nearly_in_load():
    random = np.random.default_rng(1)
    for parts in (2, 3, 8):
        loads = random.integers(10, 400, 128)
        dealt = deal(loads, parts)
        assert sorted(np.concatenate(dealt)) == list(range(128))
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
        totals = np.array([loads[part].sum() for part in dealt])
        assert np.ptp(totals[[len(part) == len(dealt[0]) for part in dealt]]) < 0.1 * totals.mean()


def test_more_ranks_than_frames_of_a_step_are_refused_at_once(store, training):
    with pytest.raises(BatchError, match=r"at most 4 frames.*= 2 × 4 micro-batches: raise batch\.frames"):
        batches(store, training, BatchBudget(frames=4), accumulate=2, world=4)


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


@pytest.mark.parametrize("name", ["pairs", "shifts"])
def test_neighbours_that_a_copy_cut_short_are_found_again(tmp_path, name):
    store = build_store(ToySource(mixed_blocks()), tmp_path / "store", SplitPolicy(validation=0.2))
    frames = np.asarray(store.part("train"))
    cache = EdgeCache(store, "train", 3.0)
    whole = cache.open(len(frames))
    kept = {path.name: path.read_bytes() for path in cache.directory.iterdir()}
    file = cache.directory / f"train.{name}"
    file.write_bytes(kept[file.name][: len(kept[file.name]) // 2 + 1])
    again = EdgeCache(store, "train", 3.0).open(len(frames))
    np.testing.assert_array_equal(again.counts, whole.counts)
    assert {path.name: path.read_bytes() for path in cache.directory.iterdir()} == kept


def test_neighbours_are_read_while_another_process_adds_some(tmp_path):
    store = build_store(ToySource(mixed_blocks()), tmp_path / "store", SplitPolicy(validation=0.2))
    cache = EdgeCache(store, "train", 3.0)
    few = cache.open(4)
    with open(cache.directory / "train.shifts", "ab") as file:
        file.write(b"1234567")  # a page of a larger write, which ends within a row
    frame = int(store.part("train")[3])
    found = few.attach(store.structure(frame), 3)
    np.testing.assert_array_equal(found.edges, store.structure(frame).with_neighbours(3.0).edges)


@pytest.mark.parametrize(
    "blocks", [toy_blocks(30), mixed_blocks(), [b for b in mixed_blocks() if b.cells is None]]
)
def test_frames_that_are_read_at_once_are_those_joined_one_by_one(tmp_path, blocks):
    store = build_store(ToySource(blocks), tmp_path / "store", SplitPolicy(validation=0.2))
    frames = np.asarray(store.part("train"))
    random = np.random.default_rng(0)
    for edges in (
        EdgeCache(store, "train", 3.0).open(len(frames)),
        ChosenEdges(EdgeCache(store, "train", 3.0), random.permutation(len(frames))),
    ):
        chosen = frames[getattr(edges, "positions", slice(None))]
        positions = random.permutation(len(frames))[: max(1, len(frames) - 1)]
        for weights in (None, random.random(len(frames))):
            at_once = read_batch(store, chosen, edges, positions, weights)
            one_by_one = collate(members_of(store, chosen, edges, positions, weights))
            for key in one_by_one.keys():  # noqa: SIM118 (of a graph)
                expected = one_by_one[key]
                assert type(at_once[key]) is type(expected), key
                if torch.is_tensor(expected):
                    assert at_once[key].dtype == expected.dtype, key
                    torch.testing.assert_close(at_once[key], expected, rtol=0, atol=0, equal_nan=True)
                else:
                    assert at_once[key] == expected, key
            assert set(at_once.keys()) - set(one_by_one.keys()) == {"counts", "padded_pairs"}


class Watched(FrameBatches):
    """Notes what the kernel is asked for ahead."""

    asked = ()

    def expect(self, positions):
        self.asked = (*self.asked, positions.tolist())
        super().expect(positions)


def test_a_batch_that_waited_for_the_disk_asks_for_those_behind_it(store, training, monkeypatch):
    frames, edges = training
    pages = iter(range(10**6))
    plain = batches(store, training, BatchBudget(frames=16), accumulate=2, world=2)
    plan = EpochPlan(store.sizes[frames], edges.counts, BatchBudget(frames=16), seed=0)
    watched = Watched(store, frames, edges, plan, accumulate=2, world=2)
    steps = len(plan.epoch(0)[1]) - 1
    assert watched[0].counts
    assert watched.asked == ()  # everything lies in memory
    monkeypatch.setattr(reading, "_pages_from_disk", lambda: next(pages))
    for index in range(2 * steps + 2):
        assert torch.equal(watched[index].pos, plain[index].pos)
    dealt = [
        deal(plan.atoms[whole] + plan.edges[whole], 4)[2 * micro]
        for whole in map(plan.frames, range(steps))
        for micro in (0, 1)
    ]
    of_steps = [plan.frames(i // 2)[part].tolist() for i, part in enumerate(dealt)]
    assert (
        list(watched.asked[: 2 * steps - 1]) == of_steps[1:]
    )  # the last of an epoch asks for none of the next
    monkeypatch.setattr(reading, "_pages_from_disk", lambda: 0)
    before = len(watched.asked)
    for _ in range(reading.READ_AHEAD + 5):
        watched[0]
    assert len(watched.asked) - before == reading.READ_AHEAD - 1


def test_a_plan_knows_which_steps_are_at_hand():
    plan = EpochPlan(ATOMS, EDGES, BatchBudget(frames=100), seed=3)
    assert not plan.is_at_hand(0)
    plan.frames(7)  # of the second epoch of five steps
    assert [plan.is_at_hand(step) for step in (4, 5, 9, 10)] == [False, True, True, False]


def test_edges_are_ordered_by_sender_and_paired_as_by_their_keys(store, training):
    batch = batches(store, training, BatchBudget(frames=16))[0]
    senders, receivers = batch.edge_index.numpy()
    atoms = len(batch.z)
    assert batch.sender_order.tolist() == np.argsort(senders * atoms + receivers).tolist()
    both = batch.both.numpy().reshape(-1, 2)
    assert (senders[both[:, 0]] == receivers[both[:, 1]]).all()
    assert (receivers[both[:, 0]] == senders[both[:, 1]]).all()


def test_a_search_for_neighbours_goes_on_behind_the_frames_that_were_written(store, monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK", 4)
    found, calls = neighbours.find_neighbours, []

    def interrupted(*arguments, **options):
        calls.append(len(arguments[1]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return found(*arguments, **options)

    cache = EdgeCache(store, "train", 2.125)
    with monkeypatch.context() as patch:
        patch.setattr(neighbours, "find_neighbours", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.counts(20)
    assert len(cache._known()) == 8
    with monkeypatch.context() as patch:
        calls[:] = [0] * 9
        patch.setattr(neighbours, "find_neighbours", interrupted)
        again = cache.open(20)
    assert calls[9:] == [4, 4, 4]
    fresh = [store.structure(int(f)).with_neighbours(2.125).edges for f in store.part("train")[:20]]
    for i, edges in enumerate(fresh):
        np.testing.assert_array_equal(again.attach(store.structure(0), i).edges, edges)


def test_neighbours_of_few_large_frames_are_written_before_others_are_found(store, monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK_ATOMS", 12)
    found, atoms = neighbours.find_neighbours, []

    def watched(of, frames, cutoff):
        atoms.append(int(store.sizes[frames].sum()))
        return found(of, frames, cutoff=cutoff)

    monkeypatch.setattr(neighbours, "find_neighbours", watched)
    few = EdgeCache(store, "train", 2.3125).open(20)
    assert sum(atoms) == store.sizes[store.part("train")[:20]].sum()
    assert max(atoms) <= 12
    for i, frame in enumerate(store.part("train")[:20].tolist()):
        fresh = store.structure(frame).with_neighbours(2.3125)
        np.testing.assert_array_equal(few.attach(store.structure(frame), i).edges, fresh.edges)


def test_two_processes_without_locks_that_find_neighbours_at_once_find_the_same(store, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(neighbours, "CHUNK", 4)
    found, calls = neighbours.find_neighbours, []

    def overtaken(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            EdgeCache(store, "train", 2.4375).counts(12)  # another process
        return found(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(neighbours, "find_neighbours", overtaken)
        EdgeCache(store, "train", 2.4375).counts(12)
    both = EdgeCache(store, "train", 2.4375).open(20)
    for i, frame in enumerate(store.part("train")[:20].tolist()):
        fresh = store.structure(frame).with_neighbours(2.4375)
        np.testing.assert_array_equal(both.attach(store.structure(frame), i).edges, fresh.edges)


def test_a_disk_that_has_no_room_for_neighbours_is_named(store, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = EdgeCache(store, "train", 2.0625)
    with monkeypatch.context() as patch:
        patch.setattr(neighbours, "find_neighbours", full)
        with pytest.raises(OSError, match="No space left") as caught:
            cache.counts(20)
    assert caught.value.filename == str(cache.directory)
    assert len(cache.counts(20)) == 20


@pytest.mark.slow
def test_neighbours_are_the_same_on_any_number_of_cores(store, monkeypatch):
    one = EdgeCache(store, "train", 2.9)
    one.counts(20)
    monkeypatch.setattr(neighbours, "WORTH_PROCESSES", 1)
    monkeypatch.setattr(neighbours, "CHUNK", 4)
    monkeypatch.setattr(neighbours, "worker_count", lambda _: 2)
    many = EdgeCache(store, "train", 2.9001)
    many.cutoff = 2.9
    many.counts(20)
    for name in ("counts", "pairs"):
        assert many._file(name).read_bytes() == one._file(name).read_bytes()


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


def test_neighbours_are_found_on_a_file_system_without_locks(store, monkeypatch, caplog):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert (EdgeCache(store, "train", 2.25).counts(3) > 0).all()
    assert "let one process find the neighbours before others are started" in caplog.text


def test_subsets_are_nested_and_bounded(store):
    budget = BatchBudget(frames=4)
    small = StructureDataModule(store, budget, 3.0, seed=0, frames=10)
    large = StructureDataModule(store, budget, 3.0, seed=0, frames=20)
    np.testing.assert_array_equal(small.train, large.train[:10])
    np.testing.assert_array_equal(small.validation, large.validation)
    with pytest.raises(SubsetError, match=r"data\.frames=1000"):
        StructureDataModule(store, budget, 3.0, seed=0, frames=1000)
