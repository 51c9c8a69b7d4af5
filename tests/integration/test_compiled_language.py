"""Runs of language models whose steps are compiled, started as a user starts them: interrupted.

The certificate has them on several ranks (``test_certificate.py``).
"""

import signal

import pytest

from chemscale.records import RunRecord, find_records
from tests.helpers.preloaded import python
from tests.helpers.runs import assert_same_run, finish, rows, start, wait_for_step

pytestmark = pytest.mark.slow
POINT = [
    *("data=smiles", "data.block=256", "data.validation_fraction=0.1", "data.prepare_workers=1"),
    *("model.width=16", "model.layers=2", "model.heads=4", "batch.tokens=1024", "logger=jsonl"),
    *("trainer.accelerator=cpu", "trainer.log_every=1", "trainer.validate_every=10", "trainer.threads=1"),
    *("trainer.checkpoint_steps=5", "budget.epochs=null"),
]


def train(folder, smiles_file, *arguments):
    folder.mkdir(exist_ok=True)
    command = [python(), "-m", "chemscale.train", *POINT, f"data.path={smiles_file}", *arguments]
    return start(folder, command)


def directory_in(folder):
    ((directory, _),) = find_records(folder / "runs")
    return directory


def losses(directory):
    return [row["loss"] for row in rows(directory) if "loss" in row]


def test_a_compiled_run_that_is_interrupted_goes_on_to_the_bit(tmp_path, smiles_file, monkeypatch):
    """Also where no cache has the code that it began with: it is made anew, and is the same."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    arguments = ("trainer.compile=true", "budget.steps=200")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "first"))
    assert "Compiled in " in finish(train(whole, smiles_file, *arguments))
    process = train(cut, smiles_file, *arguments)
    wait_for_step(cut, 20)
    process.send_signal(signal.SIGTERM)
    finish(process, status=130)
    assert RunRecord.load(directory_in(cut)).data.steps < 200
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "second"))
    output = finish(train(cut, smiles_file, *arguments))
    assert "Compiled in " in output
    assert_same_run(directory_in(whole), directory_in(cut))
