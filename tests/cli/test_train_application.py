"""The end of the command line of train."""

from pathlib import Path
from types import SimpleNamespace

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


def test_the_store_hears_of_a_point_whose_ranks_failed(monkeypatch, tmp_path):
    def failed(*_, **__):
        raise SystemExit(1)

    told: list[Path] = []
    monkeypatch.setattr("chemscale.launchers.run.run_points", failed)
    monkeypatch.setattr("chemscale.points.mirroring.end_mirrored", told.extend)
    job = SimpleNamespace(
        plan=SimpleNamespace(directory=tmp_path, name="one"),
        launcher=SimpleNamespace(name="local", world=2),
        train=None,
    )
    with pytest.raises(SystemExit):
        train_application.run_single(job)
    assert told == [tmp_path]
