"""The command itself."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from chemscale.bench import app, main
from chemscale.common.versions import git_revision


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_works_are_listed():
    lines = invoke("--list").output.splitlines()
    assert lines[0].split()[:2] == ["chemgpt-4.7m", "training"]
    assert any(line.startswith("sweep") and "when asked for" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--work", "orb"], "choose from"),
        (["--modes", "fast"], "give eager, compiled"),
        (["--precision", "fp8"], "choose 32, tf32"),
        (["--tokens", "1000"], "multiple of 512"),
        (["--peer", "mace"], "give NAME=PYTHON"),
        (["--device", "tpu"], "give auto, cpu"),
        (["--json", "."], "cannot be written: it is a folder"),
        (["--json", "/dev/null/bench.json"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is(arguments, reason):
    found = invoke("--device", "cpu", *arguments)
    assert isinstance(found.exception, ValueError), found.output
    assert reason in str(found.exception)


def test_a_ceiling_that_cannot_be_measured_is_said_in_one_paragraph(tmp_path, monkeypatch):
    script = tmp_path / "ceiling.py"
    script.write_text("raise SystemExit('no threads left')")
    monkeypatch.setattr("chemscale.benchmarking.processes.WORKERS", tmp_path)
    monkeypatch.setattr("sys.argv", ["bench", "--device", "cpu", "--work", "painn-forces"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


@pytest.mark.slow
def test_ours_is_timed_beside_another_revision(tmp_path):
    command = [sys.executable, "-m", "chemscale.bench", "--device", "cpu", "--quick", "--turns", "1"]
    command += [
        "--seconds",
        "0.1",
        "--ours",
        "eager",
        "--work",
        "schnet,painn-forces",
        "--json",
        "bench.json",
    ]
    revision = git_revision()
    if revision is not None:
        command += ["--against", "HEAD"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "bench.json").read_text())
    training, forces = report["works"]
    for result in (training, forces):
        assert len(result["rows"]) == (1 if revision is None else 2)
        assert all(row["rate"] > 0 and row["peak_mib"] > 50 for row in result["rows"])
    first = training["rows"][0]
    assert first["parameters"] > 100_000
    assert 0 < first["percent_of_product"] < 100
    assert "schnet, training" in done.stdout


@pytest.mark.slow
def test_a_code_that_fails_is_said_and_costs_the_status(tmp_path):
    """Here an interpreter that has something else of that name."""
    (tmp_path / "schnetpack.py").write_text("")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    command = [sys.executable, "-m", "chemscale.bench", "--device", "cpu", "--quick", "--turns", "1"]
    command += ["--seconds", "0.1", "--work", "schnet-forces", "--peer", f"schnetpack={python}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "schnet-forces: schnetpack FAILED, ended with status 1" in done.stdout
    assert "chemscale" in done.stdout
