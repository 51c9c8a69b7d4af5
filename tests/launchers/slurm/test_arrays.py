"""Jobs of points that are queued together."""

import pytest

from chemscale.launchers.ledger import Submission
from chemscale.launchers.section import LaunchError
from chemscale.launchers.slurm.arrays import all_or_nothing
from tests.helpers.launch import job


def test_ids_of_jobs_that_cannot_be_cancelled_are_not_lost(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    ledger = Submission(tmp_path, "slurm", [], None, "", "")
    entry = ledger.add(job())

    def queue_and_fail():
        with all_or_nothing(ledger, [job()]):
            entry.jobs.append("5_0")
            raise LaunchError("refused")

    with pytest.raises(LaunchError, match="refused"):
        queue_and_fail()
    assert entry.jobs == ["5_0"]
