"""A run that is killed between its last checkpoint and its last word says the same of itself afterwards."""

import torch

from chemscale.points.run import fit, open_record
from chemscale.records import RunRecord, State
from tests.helpers.points import STEPS, point_in


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
        )
    ]
    whole = point_in(tmp_path, smiles_file)
    again = open_record(whole, [])
    fit(whole, again)
    assert again.state is State.DONE
    assert again.data.tokens > 1.5 * record.data.tokens
