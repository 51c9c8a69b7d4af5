"""The parts of an optimisation: what is learned, what is rewarded, what is remembered, how it is measured."""

import itertools

import numpy as np
import pytest
import torch

from chemscale.molecules.loading import load_trained
from chemscale.reinforcement.curves import area_under_curve, top_curve
from chemscale.reinforcement.diversity import DiversityFilter
from chemscale.reinforcement.objective import augmented_nll, best_part, squared_distance
from chemscale.reinforcement.policy import DivergedError, nats, update
from chemscale.reinforcement.replay import Memory, Replay
from chemscale.reinforcement.settings import SettingError, Settings
from tests.helpers.priors import write_prior


def test_the_target_is_the_likelihood_of_the_prior_augmented_by_the_score():
    prior, rewards = torch.tensor([30.0, 40.0]), torch.tensor([0.0, 0.5])
    target = augmented_nll(prior, rewards, sigma=60)
    assert target.tolist() == [30, 10]
    assert squared_distance(torch.tensor([33.0, 10.0]), target).tolist() == [9, 0]


def test_hill_climbing_keeps_the_best_part_and_of_equals_the_first():
    assert best_part([0.1, 0.9, 0.5, 0.5, 0.5], 0.5) == [1, 2]
    assert best_part([0.0, 0.0], 0.1) == [0]
    assert best_part([0.2, 0.1, 0.3], 1.0) == [0, 1, 2]


def test_steps_bring_likelihoods_to_their_targets_whatever_the_batch_is_packed_into(tmp_path, monkeypatch):
    model, _ = load_trained(write_prior(tmp_path / "m"), "cpu")
    start = {name: weight.clone() for name, weight in model.state_dict().items()}
    sequences = [(4, 5, 2), (6, 7, 8, 2), (9, 4, 2)]
    target = nats(model, sequences) + torch.tensor([-3.0, 2.0, 0.0])
    results = []
    for pack in (1, 64):
        monkeypatch.setattr("chemscale.reinforcement.policy.PACK", pack)
        model.load_state_dict(start)
        adam = torch.optim.Adam(model.parameters(), lr=3e-3)
        losses = [update(model, adam, sequences, target) for _ in range(40)]
        assert losses[0] == pytest.approx((9 + 4) / 3, rel=1e-4)
        assert losses[-1] < 0.05
        results.append(losses)
    assert results[0] == pytest.approx(results[1], rel=1e-2, abs=1e-3)


def test_an_agent_that_diverges_is_left_as_it_was(tmp_path):
    model, _ = load_trained(write_prior(tmp_path / "m"), "cpu")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    adam = torch.optim.Adam(model.parameters())
    with pytest.raises(DivergedError, match=r"lower --learning-rate.*molecules\.csv"):
        update(model, adam, [(4, 2)], torch.tensor([float("inf")]))
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_the_filter_takes_the_reward_of_repetitions_and_of_full_scaffolds():
    phenols = ["Oc1ccccc1", "Cc1ccccc1O", "CCc1ccccc1O"]
    kept = DiversityFilter(bucket=2, min_score=0.4)
    rewards, full = kept.rewards(
        [*phenols, phenols[0], "", "c1ccncc1", "Clc1ccccc1"], [0.9] * 4 + [0.0, 0.8, 0.3]
    )
    assert rewards == [0.9, 0.9, 0.0, 0.0, 0.0, 0.8, 0.3]
    assert full == {phenols[2], phenols[0]}  # the first was rewarded once, and is not to be replayed
    again = DiversityFilter(bucket=2, min_score=0.4)
    again.rebuild([(smiles, 0.9) for smiles in phenols] + [("c1ccncc1", 0.8), ("Clc1ccccc1", 0.3)])
    assert (again.seen, again.sizes) == (kept.seen, kept.sizes)


def test_the_best_are_remembered_once_and_drawn_by_their_reward():
    replay = Replay(size=3, choice="prioritised")
    rewards = {"A": 0.1, "B": 0.9, "C": 0.0, "D": 0.5, "E": 0.6}
    replay.add(Memory(name, (4, 2), reward, 1.5) for name, reward in rewards.items())
    replay.add([Memory("B", (5, 2), 1.0, 9.0)])
    assert [m.smiles for m in replay.memories] == ["B", "E", "D"]
    rng = np.random.default_rng(0)
    first = [replay.sample(1, rng)[0].smiles for _ in range(2000)]
    assert first.count("B") / 2000 == pytest.approx(0.9 / 2.0, abs=0.04)
    assert len({m.smiles for m in replay.sample(9, rng)}) == 3
    equally = Replay(3, "random")
    equally.restore(replay.to_list())
    first = [equally.sample(1, rng)[0].smiles for _ in range(2000)]
    assert first.count("B") / 2000 == pytest.approx(1 / 3, abs=0.04)
    assert equally.memories == replay.memories


def test_curves_are_means_of_the_best_so_far():
    points = top_curve([0.5, 0.1, 0.9], every=2)
    assert [(p.calls, p.means[1], round(p.means[10], 3)) for p in points] == [(2, 0.5, 0.3), (3, 0.9, 0.5)]
    assert top_curve([]) == []
    rng = np.random.default_rng(0)
    scores = rng.random(1234)
    for point in top_curve(scores.tolist()):
        best = np.sort(scores[: point.calls])[::-1]
        assert [point.means[k] for k in (1, 10, 100)] == pytest.approx(
            [best[:k].mean() for k in (1, 10, 100)]
        )


def test_the_area_is_pmo_s():
    # A constant score: the first trapezoid begins at 0. Ended early: the last height goes on.
    assert area_under_curve([0.8] * 1000, 1000) == pytest.approx(0.8 * (1 - 50 / 1000))
    assert area_under_curve([0.8] * 250, 1000) == pytest.approx(0.8 * (1 - 50 / 1000))
    assert area_under_curve([0.8] * 2000, 1000) == area_under_curve([0.8] * 1000, 1000)
    assert area_under_curve([], 1000) == 0
    grows = [k / 1000 for k in range(1, 1001)]
    heights = [0, *(sum(grows[k - 10 : k]) / 10 for k in range(100, 1001, 100))]
    expected = sum(100 * (a + b) / 2 for a, b in itertools.pairwise(heights)) / 1000
    assert area_under_curve(grows, 1000) == pytest.approx(expected)
    with pytest.raises(ValueError, match="top 7"):
        area_under_curve([], 10, top=7)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"method": "ppo"}, "--method ppo: choose reinvent or ahc"),
        ({"sigma": 0.0}, "--sigma"),
        ({"learning_rate": float("nan")}, "--learning-rate nan"),
        ({"batch": 0}, "--batch 0"),
        ({"top_fraction": 0.0}, "--top-fraction"),
        ({"replay": -1}, "--replay"),
        ({"replay_choice": "best"}, "--replay-choice best"),
    ],
)
def test_settings_outside_their_range_are_refused_by_their_option(setting, why):
    with pytest.raises(SettingError, match=why):
        Settings(**setting)


def test_each_method_has_its_usual_sigma():
    assert (Settings().strength, Settings("ahc").strength, Settings(sigma=5).strength) == (128, 60, 5)
