"""Approach 1: the draws of an envelope are those of comparing every run at every compute."""

import numpy as np
import pytest

from chemscale.laws.allocation.envelope import Curve, _lines, _Ranks, allocate_envelope


def curves(count, seed=0):
    random = np.random.default_rng(seed)
    found = []
    for n in np.exp(random.uniform(*np.log([1e7, 1e10]), count)):
        d = np.geomspace(1e8, 2e12 * random.uniform(0.3, 1), 60)
        loss = 1.8 + 480 * n**-0.35 + 2100 * d**-0.37
        found.append(Curve(float(n), d, 6 * n * d, loss * np.exp(0.003 * random.standard_normal(60))))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_winner_of_a_draw_is_the_lowest_curve_among_those_drawn(seed):
    random = np.random.default_rng(seed)
    sizes = np.log(random.uniform(1, 9, 50))
    grid = np.geomspace(1, 1e4, 40)
    table = random.standard_normal((50, 2, 40))
    table[:, 0][random.random((50, 40)) < 0.4] = np.nan
    drawn = random.integers(0, 50, 50)
    lines, winners, used = _lines(
        sizes, table, np.bincount(drawn, minlength=50) * 1.0, grid, _Ranks(sizes, table)
    )
    for place in range(40):
        there = drawn[np.isfinite(table[drawn, 0, place])]
        assert winners[place] == there[table[there, 0, place].argmin()]
        inside = sizes[there].min() < sizes[winners[place]] < sizes[there].max()
        assert used[place] == (len(there) >= 2 and inside)
    x = np.log(grid[used])
    assert lines[1] == pytest.approx(np.polyfit(x, sizes[winners[used]], 1)[0])


def test_many_learning_curves_give_an_allocation():
    found = allocate_envelope(curves(300), bootstrap=200)
    low, high = found.intervals["exponent_n"]
    assert low < found.exponent_n < high
    assert 0.44 < found.exponent_n < 0.56
