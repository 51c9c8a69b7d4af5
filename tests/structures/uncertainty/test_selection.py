"""Selections cover the pool, prefer what is uncertain, and take no copies while others are left."""

from __future__ import annotations

import numpy as np
import pytest

from chemscale.structures.uncertainty import selection
from chemscale.structures.uncertainty.selection import farthest, most_uncertain, whitened


def clusters(counts, seed=0):
    """Points around the corners of a wide square, so many at each, and the corner of each."""
    random = np.random.default_rng(seed)
    corners = np.array([[0.0, 0], [100, 0], [0, 100], [100, 100]])
    which = np.repeat(np.arange(len(counts)), counts)
    return corners[which] + random.normal(size=(len(which), 2)), which


def test_every_cluster_gets_a_point_however_rare_it_is():
    points, which = clusters([5000, 20, 3, 1])
    chosen, distances = farthest(points, 4)
    assert sorted(which[chosen]) == [0, 1, 2, 3]
    assert (np.diff(distances[1:]) <= 1e-9).all()


def test_a_choice_is_the_farthest_of_all_that_came_before():
    points = np.random.default_rng(1).normal(size=(60, 5))
    known = points[:3]
    chosen, distances = farthest(points, 8, known=known)
    have = list(known)
    for row, distance in zip(chosen, distances, strict=True):
        reach = np.min(np.linalg.norm(points[:, None] - np.array(have)[None], axis=2), axis=1)
        assert reach[row] == pytest.approx(reach.max())
        assert distance == pytest.approx(reach.max())
        have.append(points[row])


def test_what_is_known_is_not_chosen_again_while_there_is_anything_else():
    points, which = clusters([100, 100, 100, 100])
    chosen, _ = farthest(points, 2, known=points[which < 2])
    assert set(which[chosen]) == {2, 3}


def test_copies_come_last_and_no_row_twice():
    points = np.repeat([[0.0, 0], [1, 0], [0, 1]], 4, axis=0)
    chosen, distances = farthest(points, 12)
    assert len({tuple(points[row]) for row in chosen[:3]}) == 3
    assert sorted(chosen) == list(range(12))
    assert (distances[3:] == 0).all()


def test_a_pool_in_chunks_gives_what_a_pool_in_memory_gives(monkeypatch, tmp_path):
    points = np.random.default_rng(2).normal(size=(1000, 4)).astype(np.float32)
    whole = farthest(points, 20, known=points[:5])
    centre = whitened(points)
    points.tofile(tmp_path / "pool")
    monkeypatch.setattr(selection, "CHUNK", 37)
    mapped = np.memmap(tmp_path / "pool", np.float32, mode="r").reshape(-1, 4)
    assert (farthest(mapped, 20, known=points[:5])[0] == whole[0]).all()
    assert np.allclose(whitened(mapped), centre)


def test_the_uncertain_are_taken_but_not_neighbours_of_each_other():
    points, which = clusters([50, 50, 50, 50])
    scores = np.where(which == 1, 10.0, np.where(which == 2, 9.0, 0.0)) + 1e-3 * np.arange(200)
    chosen = most_uncertain(scores, points, 2, candidates=50)
    assert chosen[0] == np.argmax(scores)
    assert set(which[chosen]) == {1, 2}
    plain = most_uncertain(scores, points, 2, candidates=1)
    assert set(which[plain]) == {1}
    assert len(set(most_uncertain(scores, points, 200))) == 200


def test_a_score_that_is_no_number_is_the_last_choice():
    scores = np.array([np.nan, 1.0, 2.0])
    assert most_uncertain(scores, np.eye(3), 2, candidates=1).tolist() == [2, 1]


def test_columns_that_do_not_vary_keep_their_scale():
    mean, deviation = whitened(np.array([[5.0, 1], [5.0, 3]]))
    assert mean.tolist() == [5, 2]
    assert deviation.tolist() == [1, 1]
