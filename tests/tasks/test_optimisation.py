"""Schedules in optimiser steps, decay where it belongs."""

import pytest

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.tasks.optimisation import AdamW, Schedule


def rates(total=100, **settings):
    factor = Schedule(**settings).factor(total)
    return [factor(step) for step in range(total)]


def test_warm_up_is_counted_in_steps_and_starts_above_zero():
    constant = rates(name="constant", warmup=4)
    assert constant[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(constant[5:]) == {1.0}


def test_cosine_falls_to_its_floor():
    cosine = rates(name="cosine", warmup=0, floor=0.1)
    assert cosine[0] == 1.0
    assert cosine == sorted(cosine, reverse=True)
    assert 0.1 < cosine[-1] < 0.101


def test_wsd_is_stable_and_then_cools_down_as_one_less_root():
    wsd = rates(name="wsd", warmup=0.1, cooldown=0.2)
    assert wsd[10:81] == [1.0] * 71
    assert wsd[85] == pytest.approx(1 - (5 / 20) ** 0.5)
    assert 0 < wsd[-1] < 0.03


def test_only_matrices_of_linear_layers_decay():
    model = ChemGPT(ChemGPTConfig(50, 16, layers=2, heads=4))
    decayed, others = AdamW(1e-3, weight_decay=0.1).build(model).param_groups
    assert decayed["weight_decay"] == 0.1
    assert others["weight_decay"] == 0.0
    assert sum(p.numel() for p in decayed["params"]) == model.config.parameter_counts()["matrices"]
    assert (
        sum(p.numel() for g in (decayed, others) for p in g["params"])
        == model.config.parameter_counts()["all"]
    )


def test_a_schedule_of_another_name_is_refused():
    with pytest.raises(ValueError, match=r"schedule\.name='linear'"):
        Schedule(name="linear")
