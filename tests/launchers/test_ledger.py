"""A ledger that several commands write."""

import os

import pytest

from chemscale.launchers.ledger import Submission, load_ledger
from chemscale.launchers.section import LaunchError
from tests.helpers.launch import job, launch


def test_status_of_a_sweep_that_slurm_began_and_this_machine_goes_on_with(tmp_path):
    root = tmp_path / "runs" / "x"
    ledger = Submission(root, "local", [], "law", "", "", finish_jobs=["9"])
    ledger.add(job()).jobs.extend(["5_0", "local-1-id-1"])
    ledger.sweep = ["id"]
    assert ledger.newest_jobs() == {}
    assert ledger.has_slurm_jobs()
    ledger.save()
    assert "local-1-id-1" in launch(tmp_path, "status", str(root))


def test_a_start_on_this_machine_leaves_what_other_commands_wrote_into_the_ledger(tmp_path):
    ledger = Submission(tmp_path, "slurm", ["train"], "law", "", str(tmp_path), finish_jobs=["9"])
    entry = ledger.add(job())
    ledger.save()
    later = load_ledger(tmp_path)
    later.points["id"].jobs.append("12_0")
    later.points["other"] = later.add(job())
    later.finish_jobs.append("13")
    later.save()
    entry.jobs.append("local-1-id-1")
    ledger.save_entry("id")
    found = load_ledger(tmp_path)
    assert found.points["id"].jobs == ["12_0", "local-1-id-1"]
    assert (found.finish_jobs, found.points["other"].jobs) == (["9", "13"], ["12_0"])


def test_a_ledger_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path):
    (tmp_path / "jobs").mkdir()
    os.mkfifo(tmp_path / "jobs" / "submission.json")
    with pytest.raises(LaunchError, match="not a regular file"):
        load_ledger(tmp_path)
