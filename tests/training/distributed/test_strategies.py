"""What a strategy refuses before any compute is spent, and what a rank is told of itself."""

import pytest
import torch

from chemscale.training.distributed.ranks import PORTS, main_port
from chemscale.training.distributed.strategies import StrategyError, check_deepspeed, resolve
from chemscale.training.distributed.zero import ZeroPrecision
from chemscale.training.settings import StrategySettings


def resolved(world, name="auto", offload="none", precision="32", forces=False):
    return resolve(StrategySettings(name, offload), precision, world, forces=forces)


def test_auto_is_one_rank_alone_and_ddp_on_several():
    assert resolved(1) == "single"
    assert resolved(8, forces=True) == "ddp"


@pytest.mark.parametrize(
    ("settings", "what", "cure"),
    [
        ({"name": "zero3", "forces": True}, "second one through the same weights", "zero2"),
        ({"name": "fsdp2", "forces": True}, "second one through the same weights", "ddp"),
        ({"name": "single"}, "on one rank", "ddp"),
        ({"name": "ddp", "offload": "cpu"}, "offload=cpu", "zero1"),
        ({"name": "zero2", "precision": "16-mixed"}, "scales its loss", "bf16-mixed"),
    ],
)
def test_what_would_train_wrongly_is_refused_with_the_way_out(settings, what, cure):
    with pytest.raises(StrategyError, match=what) as refusal:
        resolved(2, **settings)
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
