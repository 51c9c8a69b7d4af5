"""The newest whole checkpoint is found, damaged ones are passed over loudly."""

import resource
from pathlib import Path

import pytest
import torch

from chemscale.training.checkpointing.checkpoints import CheckpointError, Checkpoints
from chemscale.training.distributed.control import Control
from chemscale.training.distributed.ranks import Ranks
from chemscale.training.trackers import JsonLines


class FakeTrainer:
    """Saves the name of the file as its content."""

    def __init__(self):
        self._checkpoint_connector = self.strategy = self

    def dump_checkpoint(self, weights_only: bool) -> dict:
        return {}

    def save_checkpoint(self, checkpoint: dict, path: Path) -> None:
        path.write_text(f"state {path.name}")


def saved(folder, steps):
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(FakeTrainer(), step)
    return checkpoints


def test_the_two_newest_are_kept(tmp_path):
    checkpoints = saved(tmp_path, [10, 20, 30])
    assert sorted(p.name for p in tmp_path.glob("*.ckpt")) == ["step-000000020.ckpt", "step-000000030.ckpt"]
    assert checkpoints.step_of(checkpoints.newest()) == 30


def test_a_damaged_newest_one_is_passed_over_loudly(tmp_path, caplog):
    checkpoints = saved(tmp_path, [10, 20])
    checkpoints.path(20).write_text("state step-0000")
    assert checkpoints.step_of(checkpoints.newest()) == 10
    assert "damaged" in caplog.text


def test_a_half_written_one_is_not_seen(tmp_path):
    checkpoints = saved(tmp_path, [10])
    checkpoints.path(20).with_suffix(".part").write_text("half")
    assert checkpoints.step_of(checkpoints.newest()) == 10
    assert Checkpoints(tmp_path / "none").newest() is None


def test_metrics_after_the_checkpoint_are_cut_off_on_resuming(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = JsonLines(path, 0)
    for step in (1, 2, 3):
        first.log({"kind": "train", "step": step})
    first.finish({})
    with open(path, "a") as file:
        file.write('{"kind": "train", "st')
    JsonLines(path, 2).finish({})
    assert path.read_text().splitlines() == [
        '{"kind": "train", "step": 1}',
        '{"kind": "train", "step": 2}',
    ]


class TensorTrainer(FakeTrainer):
    """Trains on while its checkpoint is being written."""

    weights = torch.zeros(1000)

    def dump_checkpoint(self, weights_only: bool) -> dict:
        return {"weights": self.weights}

    def save_checkpoint(self, checkpoint: dict, path: Path) -> None:
        torch.save(checkpoint, path)


def test_one_written_in_the_background_holds_the_state_of_its_step(tmp_path):
    trainer, checkpoints = TensorTrainer(), Checkpoints(tmp_path)
    checkpoints.save_in_background(trainer, 10, Control(Ranks()))
    trainer.weights += 1
    path = checkpoints.written(wait=True)
    assert checkpoints.newest() == path == checkpoints.path(10)
    assert not torch.load(path)["weights"].any()
    assert checkpoints.written(wait=True) is None


def write(checkpoints: Checkpoints, step: int, background: bool) -> None:
    if background:
        checkpoints.save_in_background(TensorTrainer(), step, Control(Ranks()))
        checkpoints.written(wait=True)
    else:
        checkpoints.save(TensorTrainer(), step)


@pytest.mark.parametrize("background", [False, True])
def test_a_disk_that_takes_no_more_is_told_and_leaves_the_one_before(tmp_path, background):
    checkpoints = saved(tmp_path, [10])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"step-000000020\.ckpt could not be written"):
            write(checkpoints, 20, background)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoints.step_of(checkpoints.newest()) == 10
    assert not list(tmp_path.glob("*.part"))
