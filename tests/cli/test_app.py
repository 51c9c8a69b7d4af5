"""Errors of a command line: the user's in one paragraph, all others as they are; no import for it."""

import errno
import os
import subprocess
import sys

import pytest
from hydra.errors import HydraException
from omegaconf.errors import ConfigKeyError
from yaml import YAMLError

from chemscale.cli.app import one_paragraph, run_verb


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError, HydraException, ConfigKeyError, YAMLError])
def test_an_error_of_the_users_is_one_paragraph_and_status_2(kind, capsys, monkeypatch):
    monkeypatch.delenv("CHEMSCALE_DEBUG", raising=False)
    with pytest.raises(SystemExit) as left, one_paragraph():
        raise kind("the cell is empty")
    assert left.value.code == 2
    assert capsys.readouterr().err.strip().startswith("the cell is empty\n(CHEMSCALE_DEBUG=1")


@pytest.mark.parametrize(
    ("number", "way_out"),
    [(errno.EACCES, "Choose a place"), (errno.ENOTDIR, "Choose a place"), (errno.ENOSPC, "Make room")],
)
def test_a_place_that_cannot_be_written_is_named_with_the_way_out(number, way_out, capsys, monkeypatch):
    monkeypatch.delenv("CHEMSCALE_DEBUG", raising=False)
    with pytest.raises(SystemExit) as left, one_paragraph():
        raise OSError(number, os.strerror(number), "there/vectors.npy")
    assert left.value.code == 2
    assert f"there/vectors.npy: {os.strerror(number)}. {way_out}" in capsys.readouterr().err


def test_what_hydra_wraps_is_told_after_what_it_says(capsys, monkeypatch):
    monkeypatch.delenv("CHEMSCALE_DEBUG", raising=False)
    with pytest.raises(SystemExit), one_paragraph():
        raise HydraException("Error composing") from ValueError("width is not a number")
    assert "Error composing\nwidth is not a number" in capsys.readouterr().err


def test_an_error_that_is_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.delenv("CHEMSCALE_DEBUG", raising=False)
    with pytest.raises(ZeroDivisionError), one_paragraph():
        raise ZeroDivisionError("ours")


def test_a_fit_waits_for_neither_hydra_nor_scipy_stats():
    slow = {"hydra", "omegaconf", "torch", "scipy.stats"}
    code = "import sys, chemscale.fit, chemscale.analysis.fit; "
    code += f"print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["--out", "s3://bucket/law"], ["--to=gs:/bucket/model"]])
def test_no_folder_that_is_called_like_an_address_is_written(words, capsys, monkeypatch):
    monkeypatch.delenv("CHEMSCALE_DEBUG", raising=False)
    monkeypatch.setattr(sys, "argv", ["fit", "runs", *words])
    with pytest.raises(SystemExit) as left:
        run_verb(lambda: None)
    assert left.value.code == 2
    assert "it is written to a place on this disk. Give a path" in capsys.readouterr().err
