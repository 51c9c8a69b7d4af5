"""Nearest neighbours are those that comparing every pair finds."""

import numpy as np
import pytest

from chemscale.molecules.overlap.keys import BITS
from chemscale.molecules.overlap.neighbours import BitTable, Nearest


def fingerprints(number, random, least=0, most=120):
    sizes = random.integers(least, most, number)
    # Few bits are in most molecules, as in chemistry: similarities spread from 0 to 1.
    odds = 1 / (1 + np.arange(BITS) / 12)
    odds /= odds.sum()
    return [sorted(random.choice(BITS, size, replace=False, p=odds).tolist()) for size in sizes]


def dense(bits):
    table = np.zeros((len(bits), BITS))
    for row, each in enumerate(bits):
        table[row, each] = 1
    return table


def exact(known, streamed):
    a, b = dense(known), dense(streamed)
    both = a @ b.T
    either = a.sum(1)[:, None] + b.sum(1)[None] - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def test_neighbours_are_those_of_all_pairs():
    random = np.random.default_rng(3)
    known, streamed = fingerprints(150, random), fingerprints(500, random, most=160)
    streamed[40] = known[7]
    streamed[41] = known[7]  # of equally near ones the first stays
    nearest = Nearest(BitTable.of(known))
    for number, bits in enumerate(streamed):
        nearest.add(bits, number)
    truth = exact(known, streamed)
    order = nearest.table.order
    np.testing.assert_allclose(nearest.best, truth.max(1)[order], atol=1e-12)
    np.testing.assert_array_equal(nearest.row, truth.argmax(1)[order])
    assert nearest.row[list(order).index(7)] == 40


def test_what_is_known_already_is_not_found_again():
    random = np.random.default_rng(4)
    known = fingerprints(30, random, least=20)
    first = Nearest(BitTable.of(known))
    first.add(known[3], 0)
    later = Nearest(first.table, first.best)
    assert not later.add(known[3], 1)
    assert (later.row == -1).all()


def test_molecules_of_more_bits_than_a_byte_counts_are_compared():
    large = list(range(700))
    nearest = Nearest(BitTable.of([list(range(600)), [1, 2]]))
    assert nearest.add(large, 5)
    assert nearest.best[list(nearest.table.order).index(0)] == pytest.approx(600 / 700)


def test_a_table_is_the_same_when_it_is_opened(tmp_path):
    table = BitTable.of(fingerprints(20, np.random.default_rng(5)))
    table.save(tmp_path)
    again = BitTable.open(tmp_path)
    np.testing.assert_array_equal(again.table, table.table)
    np.testing.assert_array_equal(again.order, table.order)
    np.testing.assert_array_equal(again.counts, table.counts)
