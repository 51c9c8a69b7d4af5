"""A point that its object store keeps from beginning is started again, or says why it did not begin."""

from types import SimpleNamespace

import pytest

from chemscale.common.exit_status import START_AGAIN
from chemscale.launchers import worker
from chemscale.launchers.hydra_launcher import train_here
from chemscale.objects.errors import Unreachable


def silent(*_):
    raise Unreachable("s3://bucket/runs/one: the store does not answer as it should.")


def leave(status):
    raise SystemExit(status)


def test_a_rank_is_started_again(monkeypatch):
    monkeypatch.setattr(worker, "prepare_process", lambda: None)
    monkeypatch.setattr(worker, "exit_now", leave)
    monkeypatch.setattr(worker.hooks, "resolve", lambda _: silent)
    with pytest.raises(SystemExit) as left:
        worker.run_point({}, [], "")
    assert left.value.code == START_AGAIN


def test_a_point_of_this_process_says_why(caplog):
    train_here(SimpleNamespace(train=silent))
    assert "s3://bucket/runs/one: the store does not answer" in caplog.text
