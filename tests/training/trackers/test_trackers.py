"""Metrics reach every logger that was asked for, and the file above all."""

import json
import resource

import pytest

from chemscale.training.trackers import JsonLines, RunInfo, TrackerError, check_trackers, open_trackers

TENSORBOARD = {"tensorboard": {"_target_": "chemscale.training.trackers.tensorboard.TensorBoard"}}
BROKEN = {"broken": {"_target_": "tests.training.trackers.test_trackers.Broken"}}


class Broken(JsonLines):
    """A logger whose service went away."""

    def __init__(self, run):
        self.calls = 0

    def log(self, row):
        raise ConnectionError("the service went away")


def run_of(tmp_path, logger, step=0):
    return RunInfo(tmp_path / "point", "sweep", "name", "identity", "tokens", {"logger": logger}, step)


def row(step):
    return {"kind": "train", "step": step, "tokens": 10 * step, "loss": 1 / step, "gradient_norm": None}


SUMMARY = {"state": "done", "parameters": {"all": 3}}


def test_rows_wait_for_a_full_disk_and_come_in_order(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    tracker = JsonLines(path, 0)
    tracker.log({"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        for step in (2, 3):
            tracker.log({"step": step})
        with pytest.raises(OSError, match="2 rows could not be written"):
            tracker.flush()
        assert path.read_text() == '{"step": 1}\n'
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    tracker.log({"step": 4})
    tracker.finish({})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4]
    assert caplog.text.count("rows wait in memory") == 1


def test_a_number_that_is_not_finite_is_null_in_the_curve(tmp_path):
    tracker = JsonLines(tmp_path / "metrics.jsonl", 0)
    tracker.log({"step": 1, "loss": float("nan"), "norm": float("inf"), "rate": 0.5})
    tracker.finish({})
    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"step": 1, "loss": null, "norm": null, "rate": 0.5}\n'
    )


def scalars(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (tmp_path / "tensorboard").iterdir()
    found = EventAccumulator(str(folder))
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars("train/loss")]


def test_several_loggers_hold_the_same_rows_and_a_restart_hides_what_came_after_its_checkpoint(tmp_path):
    for begin, end in ((0, 4), (2, 4)):
        tracker = open_trackers(run_of(tmp_path, TENSORBOARD, begin))
        for step in range(begin + 1, end + 1):
            tracker.log(row(step))
        tracker.finish(SUMMARY)
    lines = (tmp_path / "point" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    assert scalars(tmp_path) == [(step, pytest.approx(1 / step)) for step in (1, 2, 3, 4)]


def test_a_logger_that_breaks_is_told_once_and_takes_nothing_with_it(tmp_path, caplog):
    tracker = open_trackers(run_of(tmp_path, {**BROKEN, **TENSORBOARD}))
    for step in (1, 2):
        tracker.log(row(step))
    tracker.finish(SUMMARY)
    assert caplog.text.count("the service went away") == 1
    assert len(scalars(tmp_path)) == 2


@pytest.mark.parametrize(
    ("logger", "words"),
    [
        ({"mine": {"_target_": "no.such.Module"}}, r"logger\.mine\._target_=no\.such\.Module"),
        ({"wandb": "online"}, r"logger\.wandb\.mode=online"),
        (
            {"wandb": {"_target_": "chemscale.training.trackers.wandb.Wandb", "mode": "cloud"}},
            "offline, online",
        ),
        ({"tensorboard": {**TENSORBOARD["tensorboard"], "folder": "x"}}, "does not know 'folder'"),
    ],
)
def test_a_logger_that_cannot_be_used_is_refused_before_anything_is_computed(logger, words):
    with pytest.raises(TrackerError, match=words):
        check_trackers({"logger": logger})
