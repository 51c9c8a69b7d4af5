"""A run that is killed between its last checkpoint and its last word says the same of itself afterwards."""

import os
import signal

import pytest
import pytorch_lightning as pl
import torch

from chemscale.points.run import fit, open_record
from chemscale.records import RunRecord, State
from chemscale.training.signals import Interrupted
from tests.helpers.points import STEPS, point_in
from tests.helpers.sickness import Poison, batches_of, losses


def test_a_run_that_resumes_at_its_end_leaves_the_same_record(tmp_path, smiles_file):
    point = point_in(tmp_path, smiles_file)
    fit(point, open_record(point, []))
    first = RunRecord.load(point.directory)
    again = open_record(point, [])
    again.state = State.RUNNING
    fit(point, again)
    second = RunRecord.load(point.directory)
    assert second.state is State.DONE
    assert (second.data, second.final, second.best) == (first.data, first.final, first.best)
    assert second.checkpoint == first.checkpoint
    assert second.compute.flops == first.compute.flops


class Signal(pl.Callback):
    """Asks for a stop after a step, which is heard after the next."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_steps_left_out_before_a_stop_between_two_logs_stand_in_the_next_row(tmp_path, smiles_file):
    """As many in a row as send a run back, if they were judged at the stop: a stop changes nothing."""
    every = ("trainer.log_every=10", "trainer.checkpoint_steps=null", "trainer.health.skips=4")
    runs = []
    for name in ("whole", "stopped"):
        point = point_in(tmp_path / name, smiles_file, *every)
        poison, record = Poison(batches_of(point, range(2, 6))), open_record(point, [])
        if name == "stopped":
            with pytest.raises(Interrupted):
                fit(point, record, extra=[poison, Signal(5)])
            assert record.data.steps == 6
        fit(point, record, extra=[poison])
        runs.append((losses(point.directory), record.data, record.skipped_steps, record.roll_backs))
    whole, stopped = runs
    assert stopped == whole
    assert whole[0][10]["left_out"] == 4
    assert whole[2:] == (4, [])


def test_the_state_that_version_0_1_0_filed_under_its_own_name_is_gone_on_from(tmp_path, smiles_file):
    half = point_in(tmp_path, smiles_file, "pause=0.5")
    record = open_record(half, [])
    fit(half, record)
    assert (record.state, record.reason) == (State.PAUSED, f"at step {STEPS // 2} of {STEPS}")
    filed = torch.load(half.directory / record.checkpoint, weights_only=True)["callbacks"]
    assert list(filed) == ["Keeper"]
    assert list(filed["Keeper"]) == [
        *(
            "data",
            "compute",
            "best",
            "final",
            "rng",
            "health",
            "skipped_steps",
            "world",
            "unlogged",
            "clipped",
            "left_out",
        )
    ]
    whole = point_in(tmp_path, smiles_file)
    again = open_record(whole, [])
    fit(whole, again)
    assert again.state is State.DONE
    assert again.data.tokens > 1.5 * record.data.tokens
