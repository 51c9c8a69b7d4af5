"""A command describes the same points as in version 0.1.0: finished runs are found and not repeated."""

import re

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.points.build import read_point
from chemscale.sweeps.expansion import expand
from chemscale.sweeps.identity import WITHOUT_EFFECT, identity
from tests.compatibility.inputs import differences, put_inputs, stored_points

STORED = stored_points()
COMMANDS = [pytest.param(c, id=" ".join(c["typed"])) for c in STORED["commands"]]
SWEEPS = [param for param in COMMANDS if "+sweep=" in param.id]
EACH_SWEEP = list({re.search(r"sweep=\S+", str(param.id)).group(): param for param in SWEEPS}.values())
"""One command of each file in ``conf/sweep``."""
NEWER = {
    "launcher.per_gpu": 1,
    "trainer.compile": "auto",
    "trainer.kernels": True,
    "trainer.generate_n": 1000,
    "data.condition_bins": 10,
    "data.condition_dropout": 0.1,
    "data.method": "GFN2-xTB",
    "data.weights": None,
    "loss.stress": 0.0,
    "data.selected": None,
}
"""Keys that 0.1.0 did not have and that have no effect at these defaults."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The small corpus and the small store, prepared once."""
    made = tmp_path_factory.mktemp("points")
    put_inputs(made)
    return made


def assert_same(stored, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        point = read_point(compose("train", stored["overrides"]), stored["overrides"])
    found = differences(STORED["bases"][stored["family"]], point.config)
    newer = {key for key, value in found["set"].items() if key in WITHOUT_EFFECT and value is None}
    newer |= {key for key, value in NEWER.items() if found["set"].get(key) == value}
    assert {key: value for key, value in found["set"].items() if key not in newer} == stored["set"]
    assert found["removed"] == stored["removed"]
    assert (point.name, point.steps) == (stored["name"], stored["steps"])
    assert identity(point.config, STORED["data_hash"]) == stored["identity"]


@pytest.mark.parametrize("command", EACH_SWEEP)
def test_the_first_point_of_a_sweep_is_the_same(command, folder, monkeypatch):
    assert_same(command["points"][0], folder, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_point_is_the_same(command, folder, monkeypatch):
    for stored in command["points"]:
        assert_same(stored, folder, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("command", SWEEPS)
def test_a_sweep_has_the_same_points(command):
    typed = command["typed"]
    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        first = [word.split(",")[0] for word in typed]
        sweeper = compose("train", first, return_hydra_config=True).hydra.sweeper
    points = expand(typed, OmegaConf.to_container(sweeper.axes), OmegaConf.to_container(sweeper.points))
    assert points == [stored["overrides"] for stored in command["points"]]


def test_a_number_of_another_type_is_another_point():
    base = STORED["bases"]["chemgpt"]
    other = {**base, "trainer": {**base["trainer"], "clip": 1}}
    assert differences(base, other) == {"set": {"trainer.clip": 1}, "removed": []}
    assert identity(base, STORED["data_hash"]) != identity(other, STORED["data_hash"])
