"""Keys that change nothing are known with their reason, and said where a sweep varies them."""

import pytest

from chemscale.config.effects import differing, without_effect
from chemscale.models.potentials import build, read_config
from chemscale.tasks.optimisation import AdamW

CONFIG = {
    "loss": {"kind": "huber", "delta": 0.01, "energy": 1.0, "per_atom": True},
    "schedule": {"name": "wsd", "cooldown": 0.3, "floor": 0.0},
    "trainer": {"precision": "bf16-mixed"},
    "force_error_limit": 0.002,
    "optimizer": {"weight_decay": 0.1},
}


def changed(**sections):
    return {key: {**value, **sections.get(key, {})} if isinstance(value, dict) else value
            for key, value in CONFIG.items()}  # fmt: skip


def test_a_key_is_of_no_effect_only_where_another_one_takes_it_away():
    assert without_effect(CONFIG) == {}
    assert without_effect(changed(loss={"kind": "mse"})) == {"loss.delta": "loss.kind=mse"}
    assert without_effect(changed(loss={"energy": 0.0})) == {"loss.per_atom": "loss.energy=0.0"}
    assert set(without_effect(changed(schedule={"name": "constant"}))) == {
        "schedule.cooldown", "schedule.floor",
    }  # fmt: skip
    assert set(without_effect(CONFIG, decays=False)) == {"optimizer.weight_decay"}
    assert without_effect(changed(optimizer={"weight_decay": 0.0}), decays=False) == {}


def test_what_a_sweep_varies_is_what_its_points_differ_in():
    assert differing([CONFIG, changed(loss={"delta": 0.1})]) == {"loss.delta"}
    assert differing([CONFIG]) == set()


@pytest.mark.parametrize(("family", "decays"), [("schnet", True), ("painn", True), ("mace", False)])
def test_decay_reaches_the_linear_layers_of_a_family_or_nothing(family, decays):
    model = build(read_config({"family": family, "width": 4, "layers": 1}), (1, 8))
    assert bool(AdamW.decayed(model)) is decays
