"""Policies replayed on sweeps whose every end is known."""

from dataclasses import replace

import numpy as np
import pytest

from chemscale.laws.early_stopping.policies import Asha, EarlyBest, Hyperband, SuccessiveHalving
from chemscale.laws.early_stopping.reference import population
from chemscale.laws.early_stopping.replay import Rungs, part_of, replay
from chemscale.laws.early_stopping.rule import Rule


def test_a_replay_shows_a_policy_nothing_that_it_has_not_paid_for(sweep):
    class Curious:
        title = "curious"

        def steps(self, seen, reached, busy, free):
            for curve, share in zip(seen, reached, strict=True):
                assert curve.final is None or share == 1
                assert not len(curve.seen) or curve.seen[-1] <= share * curve.planned * (1 + 1e-9)
            todo = [n for n, share in enumerate(reached) if share < 1 and n not in busy]
            return [(n, min(1.0, reached[n] + 0.5)) for n in todo][:free]

    outcome = replay(sweep, Curious(), workers=3)
    assert outcome.saved == 0
    assert outcome.regret == 0


def test_successive_halving_keeps_the_best_half_at_each_rung(sweep):
    outcome = replay(sweep, SuccessiveHalving(0.2, 2))
    assert outcome.finished == [3]
    assert outcome.saved == pytest.approx(1 - (5 * 0.2 + 3 * 0.4 + 1 * 0.8 + 1) / 10)


def test_asha_promotes_without_waiting_for_a_rung_to_fill(sweep):
    alone, together = (replay(sweep, Asha(1 / 9, 3), workers=workers) for workers in (1, 4))
    assert alone.finished == together.finished == [3]
    assert together.time < alone.time
    fast = Asha(1 / 9, 3).steps(
        [part_of(c, 1 / 9 if n < 3 else 0) for n, c in enumerate(sweep)], [1 / 9] * 3 + [0.0] * 7, {}, 1
    )
    assert fast == [(1, pytest.approx(1 / 3))]


def test_hyperband_deals_every_setting_to_one_bracket(sweep):
    members = [n for bracket in Hyperband(1 / 9).brackets(10) for n in bracket.members]
    assert sorted(members) == list(range(10))
    assert replay(sweep, Hyperband(1 / 9)).best_found < 1.3


def test_early_validation_finishes_the_best_of_one_look(sweep):
    outcome = replay(sweep, EarlyBest(0.2, 2))
    assert outcome.finished == [3, 7]
    assert outcome.saved == pytest.approx(1 - (2 + 8 * 0.2) / 10)


@pytest.mark.parametrize("workers", [1, 4])
def test_our_rule_finds_the_best_of_a_sweep_whose_order_never_changes(sweep, workers):
    rule = Rule(rungs=(0.05, 0.2, 0.5))
    outcome = replay(sweep, Rungs(rule, population(rule)), workers=workers)
    assert 3 in outcome.finished
    assert outcome.saved > 0.5


def test_a_sweep_whose_runs_all_diverged_ends(sweep):
    lost = [replace(c, validation=np.full(len(c.validation), np.nan), final=float("inf")) for c in sweep]
    rule = Rule(rungs=(0.05, 0.5))
    outcome = replay(lost, Rungs(rule, population(rule)))
    assert outcome.finished == []
    assert outcome.saved == pytest.approx(0.95)
