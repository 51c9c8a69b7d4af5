"""The script for a machine's first GPU: what of it a CPU has runs here, and a failure is never lost."""

import json
import math
import os
import subprocess

import pytest

from benchmarks.first_gpu import FIRST, differences, rows_of, show
from tests.helpers.paths import ROOT
from tests.helpers.preloaded import python

STUB = """#!/usr/bin/env bash
case "$*" in
  *first_gpu.py\\ table*) exec {python} "$@" ;;
  *first_gpu.py*) [ -z "${{MEASURES:-}}" ] || exec {python} "$@" ;;
  *chemscale.certify*) [ -z "${{FAILS:-}}" ] || {{ echo "gradients differ"; exit 3; }} ;;
esac
echo "ran $*"
"""


def run(tmp_path, python, **variables):
    environment = {**os.environ, "DEVICE": "cpu", "QUICK": "1", "OUT": f"{tmp_path}/out", **variables}
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh")]
    return subprocess.run(
        command, env={**environment, "PYTHON": python}, capture_output=True, text=True, timeout=1800
    )


@pytest.fixture
def stub(tmp_path):
    path = tmp_path / "python"
    path.write_text(STUB.format(python=python()))
    path.chmod(0o755)
    return str(path)


@pytest.mark.slow
def test_a_step_that_fails_stops_no_other_and_is_the_status_of_all(tmp_path, stub):
    done = run(tmp_path, stub, FAILS="1")
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {line.split("│")[1].strip(): line for line in done.stdout.splitlines() if line.startswith("│")}
    assert "NO" in rows["certificate"]
    assert "status 3" in rows["certificate"]
    assert all("yes" in rows[name] for name in ("tests", "versions", "losses", "steps", "bench-language"))
    assert run(tmp_path, stub).returncode == 0


@pytest.mark.slow
def test_losses_and_steps_of_a_cpu_pass(tmp_path, stub):
    """The certificate and the bench beside them have tests of their own."""
    done = run(tmp_path, stub, MEASURES="1")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    whole = (tmp_path / "out" / "table.txt").read_text()
    assert "NO" not in whole
    assert all(name in whole for name in ("certificate", "losses painn", "step chemgpt_4.7m", "bench"))


def test_losses_are_compared_step_by_step_at_first_and_by_their_mean_at_last():
    reference = [2.0] * 100
    assert differences(reference, reference) == (0.0, 0.0)
    early = [2.0] * (FIRST - 1) + [2.2] + [2.0] * 80
    assert differences(reference, early) == (pytest.approx(0.1), 0.0)
    late = [2.0] * 75 + [2.2] * 25
    assert differences(reference, late) == (0.0, pytest.approx(0.1))
    assert differences(reference, [*reference[:-1], math.nan]) == (math.inf, math.inf)
    assert differences(reference, reference[:-1]) == (math.inf, math.inf)


BENCH = {
    "works": [
        {
            "work": "painn",
            "unit": "atoms/s",
            "rows": [{"who": "chemscale", "rate": 1234.5, "step_seconds": 0.5, "percent_of_product": 12.34}],
            "failed": {"nequip": "no module"},
        }
    ]
}


def test_figures_of_the_bench_stand_in_the_same_table_and_who_failed_fails_it(tmp_path, capsys):
    good, bad = rows_of(BENCH)
    assert (good["found"], good["passed"]) == ("1,234 atoms/s, step 500.0 ms, 12.3 % of a product", True)
    assert (bad["how"], bad["passed"]) == ("nequip", False)
    (tmp_path / "4-bench.json").write_text(json.dumps(BENCH))
    (tmp_path / "0-tests.json").write_text(json.dumps([{**good, "what": "tests"}]))
    assert not show(tmp_path)
    (tmp_path / "4-bench.json").unlink()
    assert show(tmp_path)
    assert "tests" in capsys.readouterr().out
