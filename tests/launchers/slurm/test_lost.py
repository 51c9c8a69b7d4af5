"""What a sweep that decides while it runs makes of a point whose job is no longer in the queue."""

import pytest

from chemscale.launchers.ledger import Submission
from chemscale.launchers.slurm.fed import in_flight, is_lost
from chemscale.launchers.slurm.queue import JobState
from chemscale.records import State
from chemscale.sweeps.sweeper import pause_at
from tests.helpers.settings import FIRST, jobs_in, record_of

LOST = JobState("NODE_FAIL", "0:0")


def ledger_of(folder, job, queued="7_0"):
    """A ledger as it stands when the point was queued."""
    ledger = Submission(job.root, "slurm", [], None, "", "", sweep=[job.plan.identity])
    entry = ledger.add(job)
    entry.reset_attempts(ledger.record(job.plan.identity))
    entry.jobs, entry.launches = [queued], 1
    return ledger


def test_points_in_the_queue_are_busy_with_the_share_that_the_ledger_has(tmp_path):
    first, second = jobs_in(tmp_path, {}, {})
    for job, share in ((pause_at(first, FIRST), FIRST), (second, 1.0)):
        ledger = ledger_of(tmp_path, job)
        assert in_flight(ledger, {"7_0": JobState("PENDING")}) == {job.plan.identity: share}
        assert in_flight(ledger, {"7_0": JobState("COMPLETED")}) == {}


@pytest.mark.parametrize(
    ("state", "lost"),
    [
        (LOST, True),
        (JobState(), True),
        (JobState("TIMEOUT", "0:15"), True),
        (JobState("FAILED", "1:0"), False),
        (JobState("CANCELLED"), False),
        (JobState("COMPLETED"), False),
    ],
)
def test_a_point_that_never_began_is_lost_unless_it_failed_or_was_cancelled(tmp_path, state, lost):
    (job,) = jobs_in(tmp_path, {})
    record_of(job.plan.directory, FIRST)  # of an earlier job, which reached its share
    ledger = ledger_of(tmp_path, job)
    assert is_lost(ledger, "id0", {"7_0": state}) is lost
    ledger.points["id0"].cancelled = True
    assert not is_lost(ledger, "id0", {"7_0": state})


@pytest.mark.parametrize(
    ("state", "lost"),
    [(State.RUNNING, True), (State.PREEMPTED, True), (State.PAUSED, False), (State.FAILED, False)],
)
def test_a_point_that_began_is_lost_where_its_record_says_that_it_runs(tmp_path, state, lost):
    (job,) = jobs_in(tmp_path, {})
    ledger = ledger_of(tmp_path, job)
    record_of(job.plan.directory, FIRST, state)
    assert is_lost(ledger, "id0", {"7_0": LOST}) is lost


def test_a_point_that_is_lost_again_and_again_is_given_up(tmp_path):
    (job,) = jobs_in(tmp_path, {})
    ledger = ledger_of(tmp_path, job)
    ledger.points["id0"].launches = job.launcher.max_attempts
    assert not is_lost(ledger, "id0", {"7_0": LOST})
