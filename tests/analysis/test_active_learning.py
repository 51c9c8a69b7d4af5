"""Comparisons of ways of choosing frames, against curves whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from chemscale.analysis.active_learning import Curve, as_dict, geometric, mean, power_law, summary

LABELS = (50, 100, 200, 400)


def curve(method: str, a: float, b: float, *, repeats: int = 3, noise: float = 0.0, seed: int = 0) -> Curve:
    random = np.random.default_rng(seed)
    exact = a * np.array(LABELS, float) ** -b
    return Curve(method, LABELS, exact * np.exp(noise * random.normal(size=(repeats, len(LABELS)))))


def test_an_exact_law_is_found_and_the_labels_that_it_saves():
    random, chosen = curve("random", 1000, 0.5), curve("uncertain", 800, 0.5)
    assert power_law(LABELS, random.errors[0].tolist()) == pytest.approx((1000, 0.5))
    assert chosen.exponent().value == pytest.approx(0.5)
    assert chosen.ratio(random, 2).value == pytest.approx(0.8)
    assert chosen.saved(random).value == pytest.approx(0.8**-2)


@pytest.mark.parametrize("repeats", [3, 5])
def test_intervals_hold_the_truth_as_often_as_they_say(repeats):
    """Of 600 sweeps with log-normal noise, 95 % of the intervals of each number hold it."""
    hits = np.zeros(4)
    for seed in range(600):
        random = curve("random", 1000, 0.5, repeats=repeats, noise=0.1, seed=seed)
        chosen = curve("uncertain", 800, 0.6, repeats=repeats, noise=0.1, seed=seed + 10**6)
        true = 800 / 1000 * LABELS[3] ** -0.1
        for n, (found, truth) in enumerate(
            (
                (chosen.at(3), 800 * LABELS[3] ** -0.6),
                (chosen.exponent(), 0.6),
                (chosen.ratio(random, 3), true),
                (chosen.saved(random), true**-2.0),
            )
        ):
            hits[n] += found.low <= truth <= found.high
    assert hits[:3] / 600 == pytest.approx(np.full(3, 0.95), abs=0.03)
    assert 0.9 < hits[3] / 600 < 0.98  # a quotient: slightly biased


def test_repetitions_are_paired():
    """A hard start is hard for both ways: what they differ by is known far better than either error."""
    hard = np.exp(np.random.default_rng(0).normal(size=(5, 1)))
    random, chosen = (
        curve("random", 1000, 0.5, repeats=5),
        curve("uncertain", 900, 0.5, repeats=5, noise=0.01),
    )
    random, chosen = (Curve(c.method, LABELS, c.errors * hard) for c in (random, chosen))
    alone, pair = chosen.at(1), chosen.ratio(random, 1)
    assert alone.high / alone.low > 2
    assert pair.high / pair.low < 1.05
    assert pair.high < 1


def test_a_single_repetition_has_no_interval():
    found = mean([2.0])
    assert np.isnan(found.low)
    assert "no interval" in found.text()
    assert geometric([1.0, 4.0]).value == pytest.approx(2)


def test_the_summary_compares_with_random_and_json_holds_it_all():
    curves = [curve("random", 1000, 0.5, noise=0.01), curve("uncertain", 800, 0.5, noise=0.01, seed=1)]
    text = "\n".join(summary(curves, "forces_mae"))
    assert "of random's at equal labels" in text
    assert "random needs 1.5" in text or "random needs 1.6" in text
    kept = as_dict(curves, "forces_mae")
    assert kept["curves"][1]["of_random"][3]["value"] == pytest.approx(0.8, rel=0.03)
    assert kept["curves"][0]["of_random"] is None


def test_random_frames_that_teach_nothing_give_no_saving():
    flat, chosen = curve("random", 100, 0.0), curve("uncertain", 800, 0.5)
    flat.errors[:] = 100.0
    flat.errors[0, -1] = 101.0
    assert chosen.saved(flat) is None
