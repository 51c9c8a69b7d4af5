"""A run stops for one reason, and its record tells which."""

import pytest

from chemscale.records import State
from chemscale.training.stopping import Stop, Stopping


def test_a_run_that_nobody_stopped_has_failed():
    assert not Stopping().requested
    assert Stopping().state is State.FAILED


@pytest.mark.parametrize(
    ("requests", "state", "reason"),
    [
        ([(Stop.PAUSED, "at step 5 of 10")], State.PAUSED, "at step 5 of 10"),
        ([(Stop.PAUSED, "at step 5 of 10"), (Stop.INTERRUPTED, "SIGTERM")], State.PREEMPTED, "SIGTERM"),
        ([(Stop.FINISHED, ""), (Stop.PAUSED, "late"), (Stop.INTERRUPTED, "SIGTERM")], State.DONE, ""),
        ([(Stop.ENDED_EARLY, "the rate fell"), (Stop.FINISHED, "")], State.DONE, "the rate fell"),
        ([(Stop.FINISHED, ""), (Stop.ENDED_EARLY, "the rate fell")], State.DONE, "the rate fell"),
    ],
)
def test_of_several_reasons_at_one_step_the_weightiest_counts(requests, state, reason):
    stopping = Stopping()
    for stop, why in requests:
        stopping.request(stop, why)
    assert stopping.requested
    assert (stopping.state, stopping.reason) == (state, reason)
