"""Old frames stand among new ones in a fixed share, in an order that is a function of the seed."""

from types import SimpleNamespace

import numpy as np
import pytest

from chemscale.structures.batches import BatchBudget
from chemscale.structures.graphs import Structure
from chemscale.structures.replay.frames import Replay, ReplayPlan

BUDGET = BatchBudget(frames=7)


def plan(seed=5, *, new=30, pool=11, drawn=8):
    sizes = np.full(new + pool, 3)
    return ReplayPlan(sizes, 4 * sizes, BUDGET, seed, new=new, drawn=drawn)


def test_every_epoch_has_all_new_frames_once_and_its_share_of_old_ones():
    found = plan()
    for number in range(4):
        order, bounds = found.epoch(number)
        assert bounds[-1] == len(order) == 38
        assert sorted(order[order < 30].tolist()) == list(range(30))
    old = np.concatenate([found.old(number) for number in range(11)])
    assert np.array_equal(np.bincount(old, minlength=11), np.full(11, 8)), (
        "eleven epochs of 8: 8 passes over 11"
    )
    assert not np.array_equal(found.epoch(0)[0], found.epoch(1)[0])


def test_the_order_is_the_same_whatever_was_asked_before():
    first, second = plan(), plan()
    for step in (40, 3, 17):
        second.frames(step)
    assert all(np.array_equal(first.frames(step), second.frames(step)) for step in range(30))
    assert any(not np.array_equal(first.frames(step), plan(6).frames(step)) for step in range(5))


@pytest.mark.parametrize(("share", "count"), [(0.2, 25), (0.5, 100), (0.9, 900), (0.001, 1)])
def test_a_share_is_of_all_frames_of_an_epoch(share, count):
    replay = Replay(None, np.arange(3), None, share, {})
    assert replay.count(100) == count


def test_an_old_frame_is_put_on_the_new_scale_of_energies():
    store = SimpleNamespace(sizes=np.full(3, 3))
    replay = Replay(store, np.arange(3), None, 0.5, {1: 0.5, 8: -2.0})
    water = Structure(np.array([8, 1, 1]), np.zeros((3, 3)), energy=-5.0)
    assert replay.structure(water).energy == -6.0
    assert water.energy == -5.0
    unknown = Structure(np.array([8, 1, 1]), np.zeros((3, 3)))
    assert np.isnan(replay.structure(unknown).energy)
