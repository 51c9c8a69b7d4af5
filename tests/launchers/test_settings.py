"""What is asked of a launcher, and the order in which points begin."""

import pytest

from chemscale.common.sections import ConfigurationError, read_section
from chemscale.launchers.section import LaunchError, LauncherSettings
from chemscale.launchers.settings import PointJob, common_launcher, dependency_levels
from tests.helpers.launch import config, job


def launcher(*overrides: str) -> LauncherSettings:
    return read_section(LauncherSettings, config(*overrides)["launcher"], "launcher")


def test_one_rank_one_point_at_a_time_stays_in_the_commands_own_process():
    assert launcher().in_process
    assert not launcher("launcher.gpus_per_node=2").in_process
    assert not launcher("launcher.parallel=2").in_process
    assert not launcher("launcher=slurm").in_process


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("launcher.nodes=0", "launcher.nodes=0: give a whole number at least 1."),
        ("launcher.memory_gib=-1", "launcher.memory_gib=-1: give a number above 0"),
        ("launcher.max_attempts=0", "launcher.max_attempts=0"),
        ("launcher.signal_seconds=5", "at least 10"),
        ("launcher.signal_seconds=3600", "told to save itself when it begins"),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_its_key(override, words):
    with pytest.raises((LaunchError, ConfigurationError)) as refused:
        launcher("launcher=slurm", override)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("launcher.nodes=x", "launcher.nodes='x': give a whole number."),
        ("launcher.minutes=1.5", "launcher.minutes=1.5: give a whole number."),
        ("launcher.memory_gib=all", "launcher.memory_gib='all': give a number or null."),
        ("launcher.wait=1", "launcher.wait=1: give true or false."),
        ("launcher.name=pbs", "launcher.name='pbs': give local or slurm."),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_key(override, words):
    with pytest.raises(ConfigurationError) as refused:
        launcher("launcher=slurm", override)
    assert str(refused.value) == words


def test_gpus_are_asked_for_unless_the_cpu_is():
    assert job().on_gpus
    assert not job(trainer={"accelerator": "cpu"}).on_gpus


def test_one_sweep_has_one_launcher():
    assert common_launcher([job(), job()]).name == "slurm"
    with pytest.raises(LaunchError, match="local and slurm"):
        common_launcher([job(), job(launcher=config()["launcher"])])


def test_only_points_of_one_trunk_wait_for_each_other():
    def point(order: int, width: int, tokens: float) -> PointJob:
        found = config("launcher=slurm", f"model.width={width}")
        return job(order, model=found["model"], budget=found["budget"] | {"tokens": tokens})

    chain = [point(0, 16, 1e5), point(80, 16, 2e5), point(160, 16, 4e5)]
    other = [point(0, 32, 1e5), point(99, 32, 2e5)]
    assert dependency_levels([*chain, *other]) == [0, 1, 2, 0, 1]
    assert dependency_levels([chain[2], other[1]]) == [0, 0]
