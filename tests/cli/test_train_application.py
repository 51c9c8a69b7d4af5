"""The end of the command line of train."""

import pytest

from chemscale.cli import train_application
from chemscale.training.health import DivergedError


def end_with(error, monkeypatch):
    def raising():
        raise error

    monkeypatch.delenv("CHEMSCALE_DEBUG", raising=False)
    monkeypatch.setattr(train_application, "hydra_main", raising)
    train_application.main()


def test_a_diverged_point_of_another_sweeper_ends_without_traceback(monkeypatch):
    with pytest.raises(SystemExit) as left:
        end_with(DivergedError("no finite loss"), monkeypatch)
    assert left.value.code == 1


def test_an_error_that_is_ours_keeps_its_traceback(monkeypatch):
    with pytest.raises(RuntimeError, match="out of memory"):
        end_with(RuntimeError("out of memory"), monkeypatch)
