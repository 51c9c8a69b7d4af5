"""A run on several ranks that a signal to one of them stops between two logs goes on as if it had not."""

import pytest

from tests.helpers.points import STEPS
from tests.helpers.two_ranks import run_two_ranks

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("strategy", ["ddp", "zero1"])
def test_a_run_that_one_rank_stops_goes_on_to_the_bit(tmp_path, strategy):
    """Averaged weights, rates that fall by the validation loss, counts and rows included."""
    ends = {}
    for name, stops in {"whole": ("-1",), "stopped": ("13", "-1")}.items():
        folder = tmp_path / name
        folder.mkdir()
        ends[name] = [run_two_ranks(folder, "tests.helpers.stopped_rank", strategy, stop) for stop in stops]
    (steps, _), resumed = ends["stopped"]
    assert 13 <= steps < STEPS
    (whole,) = ends["whole"]
    assert resumed == whole
    assert len({row["lr"] for row in whole[1][-1] if row["kind"] == "train"}) > 1
