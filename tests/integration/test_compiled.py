"""Runs whose steps are compiled, started as a user starts them: interrupted, refused.

The certificate has them on several ranks (``test_certificate.py``).
"""

import signal

import pytest

from chemscale.records import RunRecord, find_records
from chemscale.structures.sources.starter import write_starter
from chemscale.training.compilation.install import BACKEND
from tests.helpers.preloaded import python
from tests.helpers.runs import assert_same_run, finish, rows, start, wait_for_step

POINT = [
    *("task=potential", "model=schnet", "model.width=4", "model.layers=1", "model.radial=4", "ema=0.9"),
    *("trainer.accelerator=cpu", "trainer.log_every=1", "trainer.validate_every=10", "data.count=60"),
    *("trainer.checkpoint_steps=5", "trainer.threads=1", "data.validation_fraction=0.2", "logger=jsonl"),
    *("lint=off", "batch.frames=8"),
]


@pytest.fixture(scope="module")
def structures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("structures")
    write_starter(folder / "starter-60.npz", 60, workers=1)
    return folder


def train(folder, structures, *arguments):
    folder.mkdir(exist_ok=True)
    return start(folder, [python(), "-m", "chemscale.train", *POINT, f"structures={structures}", *arguments])


def directory_in(folder):
    ((directory, _),) = find_records(folder / "runs")
    return directory


def losses(directory):
    return [row.get("loss", row.get("objective")) for row in rows(directory)]


@pytest.mark.slow
def test_a_compiled_run_that_is_interrupted_goes_on_to_the_bit(tmp_path, structures, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    whole, cut, eager = tmp_path / "whole", tmp_path / "cut", tmp_path / "eager"
    arguments = ("trainer.compile=true", "budget.steps=400")
    output = finish(train(whole, structures, *arguments))
    assert "trainer.compile: compiled (true was asked for)." in output
    assert "Compiled in " in output
    process = train(cut, structures, *arguments)
    wait_for_step(cut, 20)
    process.send_signal(signal.SIGTERM)
    finish(process, status=130)
    assert RunRecord.load(directory_in(cut)).data.steps < 400
    assert "Compiled in " in finish(train(cut, structures, *arguments))
    assert_same_run(directory_in(whole), directory_in(cut))
    # Not to the bit, for it was compiled, and yet the same run: losses agree, and so does its identity.
    finish(train(eager, structures, "trainer.compile=false", "budget.steps=400"))
    assert directory_in(eager).name == directory_in(whole).name
    compiled, plain = losses(directory_in(whole)), losses(directory_in(eager))
    assert compiled != plain
    assert compiled == pytest.approx(plain, rel=1e-3)


@pytest.mark.slow
def test_a_step_that_cannot_be_compiled_is_told_in_one_line_and_trained_without(
    tmp_path, structures, monkeypatch
):
    monkeypatch.setenv(BACKEND, "no such backend")
    plain, refused = tmp_path / "plain", tmp_path / "refused"
    finish(train(plain, structures, "trainer.compile=false", "budget.steps=10"))
    output = finish(train(refused, structures, "trainer.compile=true", "budget.steps=10"))
    (line,) = [line for line in output.splitlines() if "without compilation" in line]
    assert "trainer.compile=false" in line
    assert_same_run(directory_in(plain), directory_in(refused))
