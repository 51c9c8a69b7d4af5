"""The newest whole checkpoint is found, damaged ones are passed over loudly."""

from pathlib import Path

from chemscale.training.checkpoints import Checkpoints
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
