"""What a strategy refuses before any compute is spent, and what a rank is told of itself."""

import pytest
import torch

from chemscale.training.distributed.ranks import PORTS, main_port
from chemscale.training.distributed.strategies import StrategyError, check_deepspeed, resolve
from chemscale.training.distributed.zero import ZeroPrecision


def config(name="auto", offload="none", precision="32", potential=False):
    found = {"strategy": {"name": name, "offload": offload}, "trainer": {"precision": precision}}
    return found | ({"loss": {}} if potential else {})


def test_auto_is_one_rank_alone_and_ddp_on_several():
    assert resolve(config(), 1) == "single"
    assert resolve(config(potential=True), 8) == "ddp"


@pytest.mark.parametrize(
    ("settings", "world", "what", "cure"),
    [
        (config("zero3", potential=True), 2, "second one through the same weights", "zero2"),
        (config("fsdp2", potential=True), 2, "second one through the same weights", "ddp"),
        (config("single"), 2, "on one rank", "ddp"),
        (config("zero4"), 2, "zero4", "zero3"),
        (config("ddp", offload="cpu"), 2, "offload=cpu", "zero1"),
        (config("zero2", precision="16-mixed"), 2, "scales its loss", "bf16-mixed"),
    ],
)
def test_what_would_train_wrongly_is_refused_with_the_way_out(settings, world, what, cure):
    with pytest.raises(StrategyError, match=what) as refusal:
        resolve(settings, world)
    assert cure in str(refusal.value)


@pytest.mark.parametrize("version", ["0.17.6", "0.18.2", "0.18.3", "0.19.3"])
def test_releases_of_deepspeed_that_train_wrongly_are_refused(version):
    with pytest.raises(StrategyError, match="wrong ZeRO-2 gradients"):
        check_deepspeed(version)


def test_an_untested_deepspeed_is_refused_and_a_tested_one_is_not():
    check_deepspeed("0.19.8")
    for version in ("0.16.9", "0.20.0"):
        with pytest.raises(StrategyError, match="not tested"):
            check_deepspeed(version)


def test_attempts_of_one_job_meet_at_ports_of_their_own(monkeypatch):
    monkeypatch.delenv("MASTER_PORT", raising=False)
    first = main_port("17_3")
    assert first == main_port("17_3")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    second = main_port("17_3")
    assert first != second
    assert {first, second} <= set(PORTS)


def test_zero_casts_neither_coordinates_nor_energies():
    batch = {
        "pos": torch.tensor([1.234, 4.567]),
        "energy": torch.tensor([-13587.123456789], dtype=torch.float64),
    }
    seen = ZeroPrecision().convert_input(batch)
    assert seen["pos"].dtype == torch.float32
    assert seen["energy"].item() == -13587.123456789
