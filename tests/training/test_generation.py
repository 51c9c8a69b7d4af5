"""Generated molecules are judged beside training: the same rows however long that takes, killed or not."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl

from chemscale.analysis.records_to_points import point_of, validations
from chemscale.common.sections import ConfigurationError
from chemscale.points.run import fit, open_record
from chemscale.records import RunRecord, State
from chemscale.training import generation
from chemscale.training.generation import Generation, GenerationPlan
from chemscale.training.signals import Interrupted
from tests.helpers import judging
from tests.helpers.local_runs import write_run
from tests.helpers.points import STEPS, point_in


class Log:
    """Stands for a run's log."""

    first = True

    def __init__(self, directory):
        self.directory, self.rows = directory, []
        self.record = SimpleNamespace(generation={})

    def counts(self):
        return {"tokens": 7}

    def generation(self, row):
        self.rows.append(row)


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """An evaluation of weights that a process of ours judges."""
    monkeypatch.setattr(generation, "background", judging)
    more = {}

    def write(module, folder, step):
        folder.mkdir(parents=True)
        (folder / "weights").write_text(f"weights of {step}")
        return {"weights": f"weights of {step}", **more}

    made = Generation(GenerationPlan(10, write, limit=30.0), Log(tmp_path))
    made.more = more
    yield made
    made.stop()


def patient():
    return False


def test_an_evaluation_is_written_down_where_the_next_is_due(watched):
    watched.begin(10, None, patient)
    assert watched.run_log.rows == []
    watched.begin(20, None, patient)
    assert watched.collect(20, patient)
    rows = watched.run_log.rows
    assert [(row["step"], row["logged_at"], row["tokens"]) for row in rows] == [(10, 20, 7), (20, 20, 7)]
    assert rows[0]["fcd"] == 3.0
    assert watched.run_log.record.generation == {"step": 20, "n": 5, "values": {"valid": 0.5, "fcd": 3.0}}
    assert not list(watched.run_log.directory.glob("generation/*/"))  # weights are not kept


def test_training_does_not_wait_until_the_next_is_due_and_a_signal_ends_waiting(watched, tmp_path):
    watched.more["waits"] = str(tmp_path / "go")
    watched.begin(10, None, patient)
    assert not watched.collect(20, lambda: True)
    watched.begin(20, None, lambda: True)  # a signal came: what is awaited is kept, in order
    watched.stop()
    state = json.loads(json.dumps(watched.state_dict()))
    (tmp_path / "go").touch()
    again = Generation(watched.plan, Log(tmp_path))
    again.load_state_dict(state)
    assert again.collect(30, patient)
    assert [row["step"] for row in again.run_log.rows] == [10, 20]


def test_a_result_of_other_weights_is_not_taken(watched, tmp_path):
    watched.begin(10, None, patient)
    assert watched.collect(10, patient)
    watched.awaited = [{"step": 10, "weights": "others"}]
    assert watched.collect(20, patient)
    assert len(watched.run_log.rows) == 1


def test_what_cannot_be_judged_is_said_and_costs_nothing_else(watched, caplog):
    watched.more["fails"] = True
    watched.begin(10, None, patient)
    assert watched.collect(20, patient)
    assert watched.run_log.rows == []
    assert "could not be judged" in caplog.text
    assert "told to fail" in (watched.run_log.directory / "generation" / "step-000000010.log").read_text()


def test_a_trunks_evaluation_is_not_awaited_by_its_branch(watched, tmp_path):
    watched.load_state_dict({"generation": [{"step": 10, "weights": "elsewhere"}]})
    assert watched.awaited == []


def test_a_law_can_be_fitted_to_a_metric_of_the_final_weights(tmp_path):
    directory = write_run(tmp_path, "run", steps=100)
    record = RunRecord.load(directory)
    record.generation = {"step": 100, "n": 5, "values": {"fcd": 3.0, "known": 0.0}}
    record.save(directory)
    with open(directory / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"kind": "generation", "step": 50, "tokens": 9, "fcd": 4.0}) + "\n")
    record = RunRecord.load(directory)
    point = point_of(record, "generation/fcd")
    assert (point.used, point.losses["generation/fcd"]) == (True, 3.0)
    assert point_of(record, "generation/known").reason == (
        "generation/known is not above 0, and has no logarithm"
    )
    assert point_of(record, "generation/gone").reason == "no generation/gone"
    assert [row["generation/fcd"] for row in validations(directory, record, "generation/fcd")] == [4.0]
    record.generation["step"] = 50
    assert point_of(record, "generation/fcd").reason == "no generation/fcd"


def test_a_record_without_generated_molecules_is_that_of_0_1_0(tmp_path):
    directory = write_run(tmp_path, "run")
    assert "generation" not in json.loads((directory / "record.json").read_text())


def test_a_potential_generates_nothing(tmp_path):
    from tests.helpers.points import potential_in

    with pytest.raises(ConfigurationError, match=r"trainer\.generate_every is for language models"):
        potential_in(tmp_path, "trainer.generate_every=1")


class Signal(pl.Callback):
    """Asks for a stop after a step, which is heard after the next."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_a_run_that_is_stopped_has_the_rows_and_the_weights_of_one_that_is_not(tmp_path, smiles_file):
    every = ("trainer.validate_every=10", "trainer.generate_every=1", "trainer.generate_n=20")
    rows, losses = [], []
    for name in ("whole", "stopped", "without"):
        more = every if name != "without" else every[:1]
        point = point_in(tmp_path / name, smiles_file, *more)
        record = open_record(point, [])
        if name == "stopped":
            with pytest.raises(Interrupted):
                fit(point, record, extra=[Signal(13)])
            record = open_record(point, [])
        fit(point, record)
        record = RunRecord.load(point.directory)
        assert record.state is State.DONE
        curve = record.curve_rows(point.directory)
        rows.append([row for row in curve if row["kind"] == "generation"])
        losses.append([row for row in curve if row["kind"] == "validation"])
    assert rows[1] == rows[0]
    assert [(row["step"], row["logged_at"]) for row in rows[0]] == [(10, 20), (20, 30), (30, 40), (40, 40)]
    assert rows[2] == []
    assert losses[0] == losses[1] == losses[2]
    assert record.generation == {}
    assert (
        RunRecord.load(point_in(tmp_path / "whole", smiles_file, *every).directory).generation["step"]
        == STEPS
    )
