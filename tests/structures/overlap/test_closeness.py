"""The distance between geometries does not see place, turn, reflection or order, and bounds the RMSD."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from chemscale.structures.lint.evidence import geometry
from chemscale.structures.overlap.closeness import Lengths, rmsd, sorted_distances
from tests.helpers.structures import METHANOL


def moved(positions, random):
    turned = Rotation.random(random_state=random.integers(1 << 30)).apply(positions)
    return turned + random.normal(0, 5, 3)


def test_turned_moved_mirrored_and_reordered_copies_have_no_distance():
    random = np.random.default_rng(0)
    numbers, rest = METHANOL
    order = random.permutation(len(numbers))
    copy = moved(-rest, random)[order]
    one = sorted_distances(numbers, rest[None])
    other = sorted_distances(numbers[order], copy[None])
    assert Lengths(other).apart(one)[0, 0] < 1e-6
    assert rmsd(copy[np.argsort(order)], rest) < 1e-6


@pytest.mark.parametrize("noise", [0.001, 0.02, 0.3])
def test_the_distance_is_at_most_twice_the_rmsd(noise):
    random = np.random.default_rng(1)
    numbers, rest = METHANOL
    shifted = rest + random.normal(0, noise, (200, *rest.shape))
    far = Lengths(sorted_distances(numbers, rest[None])).apart(sorted_distances(numbers, shifted))[:, 0]
    away = np.array([rmsd(moved(each, random), rest) for each in shifted])
    assert (far <= 2 * away + 1e-9).all()
    assert far.mean() > 0.3 * away.mean()  # and tells them apart


def test_the_distance_is_the_rms_of_the_differences_of_sorted_lengths():
    random = np.random.default_rng(2)
    numbers, rest = METHANOL
    a, b = rest + random.normal(0, 0.1, (2, 3, *rest.shape))
    one, other = sorted_distances(numbers, a), sorted_distances(numbers, b)
    expected = np.sqrt(np.square(one[:, None] - other[None]).mean(axis=2))
    np.testing.assert_allclose(Lengths(other).apart(one), expected, atol=1e-9)


@pytest.mark.parametrize(("frames", "others"), [(9, 4), (9, 40)])
def test_neither_large_molecules_nor_many_others_are_compared_all_at_once(monkeypatch, frames, others):
    random = np.random.default_rng(3)
    numbers, rest = METHANOL
    a, b = (rest + random.normal(0, 0.1, (k, *rest.shape)) for k in (frames, others))
    known = Lengths(sorted_distances(numbers, b))
    whole = known.apart(sorted_distances(numbers, a))
    monkeypatch.setattr(geometry, "CHUNK", 60)
    found = list(known.compare(numbers, a))
    assert all(far.size <= 60 and len(far) * 15 <= 60 for _, far in found)
    np.testing.assert_allclose(np.concatenate([far for _, far in found]), whole, atol=1e-9)
    assert [at.start for at, _ in found] == list(range(0, frames, found[0][0].stop))
