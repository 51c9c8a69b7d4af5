"""A sick run: steps without a finite gradient are left out, a spike sends it back, and then it goes on."""

import pytest
import pytorch_lightning as pl
import torch

from chemscale.points.run import fit, fit_through, open_record
from chemscale.records import RunRecord, State
from chemscale.training.distributed.control import Meetings
from chemscale.training.health import DivergedError, Health, HealthPolicy, RolledBack, skipped_data
from tests.helpers.points import STEPS, point_in
from tests.helpers.sickness import Poison, Weights, batches_of, losses


def test_a_step_without_a_finite_gradient_leaves_the_weights_as_they_were(tmp_path, smiles_file, caplog):
    point = point_in(tmp_path, smiles_file)
    weights = Weights()
    record = open_record(point, [])
    fit(point, record, extra=[Poison(batches_of(point, {10, 20})), weights])
    changed = [not torch.equal(a, b) for a, b in zip(weights.seen, weights.seen[1:], strict=False)]
    assert [step for step, moved in enumerate(changed, 1) if not moved] == [10, 20]
    assert record.state is State.DONE
    assert RunRecord.load(point.directory).skipped_steps == 2
    assert losses(point.directory)[11]["left_out"] == 1
    assert all(torch.isfinite(w).all() for w in weights.seen)
    told = [line.getMessage() for line in caplog.records if line.levelname == "WARNING"]
    assert [line[:8] for line in told if line.startswith("Step")] == ["Step 11:"]  # the first one, once
    assert "2 of 40 steps left out" in told[-1]


def test_a_run_that_stays_without_a_gradient_goes_back_and_passes_over_the_data(
    tmp_path, smiles_file, monkeypatch
):
    point = point_in(tmp_path, smiles_file, "trainer.health.skips=4")
    poison = Poison(batches_of(point, range(16, 22)))
    record = open_record(point, [])
    with pytest.raises(RolledBack, match="back to step 15, past the data"):
        fit(point, record, extra=[poison])
    assert poison.hit == 4
    fit(point, record, extra=[poison])
    # It read on with the data of step 20: two batches are still spoilt, and their steps left out.
    assert record.state is State.DONE
    assert record.roll_backs == [{"from": 20, "to": 15, "reason": "4 steps in a row had no finite gradient"}]


def test_a_run_that_never_recovers_fails_and_says_why(tmp_path, smiles_file):
    point = point_in(tmp_path, smiles_file, "trainer.health.skips=4", "trainer.health.roll_backs=1")
    everything = Poison(batches_of(point, range(12, 200)))
    record = open_record(point, [])
    with pytest.raises(RolledBack):
        fit(point, record, extra=[everything])
    with pytest.raises(DivergedError, match="no finite gradient"):
        fit(point, record, extra=[everything])


def test_the_record_of_a_run_that_fails_counts_the_steps_since_the_ranks_last_met(
    tmp_path, smiles_file, monkeypatch
):
    monkeypatch.setattr(Meetings, "due", lambda meetings, step: False)
    rare = ("trainer.log_every=40", "trainer.checkpoint_steps=null", "trainer.health.skips=4")
    point = point_in(tmp_path, smiles_file, *rare)
    record, data = open_record(point, []), point.data.training_batches()
    with pytest.raises(DivergedError, match="Step 8"):
        fit(point, record, extra=[Poison(batches_of(point, range(2, 200)))])
    assert (record.data.steps, record.skipped_steps) == (8, 6)
    assert record.data.tokens == sum(data[step].size for step in range(8))


class Explosion(pl.Callback):
    """A step whose gradient is finite and whose weights are not: a rate that is far too high."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(module.parameters()).fill_(float("nan"))


def test_a_run_without_a_loss_at_its_end_has_failed_and_offers_no_model(tmp_path, smiles_file):
    point = point_in(tmp_path, smiles_file)
    record = open_record(point, [])
    with pytest.raises(DivergedError, match="step 40, has no finite number"):
        fit(point, record, extra=[Explosion(35)])
    assert not point.model_folder.exists()
    assert record.best is not None
    assert record.best.step == 20
    # The same command finds the end of the run, and no better one.
    again = open_record(point, [])
    with pytest.raises(DivergedError):
        fit(point, again)
    assert not point.model_folder.exists()


def test_a_healthy_run_is_not_touched(tmp_path, smiles_file):
    point = point_in(tmp_path, smiles_file)
    record = open_record(point, [])
    fit_through(point, record)
    assert (record.skipped_steps, record.roll_backs) == (0, [])
    assert "left_out" not in losses(point.directory)[STEPS]


def test_a_spike_is_far_above_the_recent_losses_and_noise_is_not():
    health = Health(HealthPolicy(spike=20))
    quiet = [2.0 + 0.01 * (-1) ** n for n in range(30)]
    assert not any(health.spiked(loss) for loss in quiet)
    assert not health.spiked(2.4)
    assert "rose from about 2" in health.spiked(9.0)
    again = Health(HealthPolicy(spike=20))
    again.load_state_dict(health.state_dict())
    assert again.spiked(9.0)
    assert not Health(HealthPolicy(spike=None)).spiked(1e9)


def test_a_roll_back_before_an_earlier_one_passes_over_what_that_one_did():
    backs = [{"from": 40, "to": 35}, {"from": 42, "to": 30}]
    (only,) = skipped_data(backs)
    # Step 41 had read the data of step 46 before it went back to 30: all of that is passed over.
    assert only == (30, 12 + 5)
    assert skipped_data([{"from": 40, "to": 35}, {"from": 60, "to": 50}]) == [(35, 5), (50, 10)]
