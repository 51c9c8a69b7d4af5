"""Points on several ranks, started as a user starts them: interrupted, damaged, on other numbers of ranks."""

import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from chemscale.records import RunRecord, State, find_records
from chemscale.testing.equivalence import TOLERANCES
from tests.helpers.preloaded import python
from tests.helpers.runs import finish, rows, start

POINT = [
    *("model.width=16", "model.layers=2", "model.heads=2", "batch.tokens=2048", "data.block=256"),
    *("data.validation_fraction=0.1", "trainer.accelerator=cpu", "trainer.log_every=1", "budget.steps=60"),
    *("trainer.validate_every=20", "trainer.checkpoint_steps=10", "data.prepare_workers=1", "logger=jsonl"),
]


def train(folder: Path, smiles_file: Path, *arguments: str):
    command = [python(), "-m", "chemscale.train", *POINT, "data=smiles", f"data.path={smiles_file}"]
    return start(folder, [*command, *arguments])


def only_point(folder: Path) -> Path:
    ((directory, _),) = find_records(folder / "runs")
    return directory


def wait_for_checkpoint(folder: Path) -> None:
    for _ in range(1200):
        if list(folder.glob("runs/*/*/checkpoints/step-*.ckpt")):
            return
        time.sleep(0.05)
    raise AssertionError("no checkpoint in a minute")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, smiles_file):
    """Two ranks under ZeRO-2, to the end."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(train(folder, smiles_file, "strategy=zero2", "launcher.gpus_per_node=2"))
    return only_point(folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, smiles_file):
    """The same point in one process."""
    folder = tmp_path_factory.mktemp("alone")
    finish(train(folder, smiles_file))
    return only_point(folder)


def test_a_point_is_the_same_point_on_any_number_of_ranks(undisturbed, alone):
    assert undisturbed.name == alone.name
    for ours, theirs in zip(rows(undisturbed), rows(alone), strict=True):
        assert ours["tokens"] == theirs["tokens"]
        assert ours["flops"] == theirs["flops"]
        key = "loss" if ours["kind"] == "train" else "nats_per_token"
        assert ours[key] == pytest.approx(theirs[key], rel=1e-5)


@pytest.mark.slow
def test_killed_and_damaged_a_sharded_run_ends_as_if_nothing_had_happened(tmp_path, smiles_file, undisturbed):
    sharded = ("strategy=zero2", "launcher.gpus_per_node=2")
    first = train(tmp_path, smiles_file, *sharded)
    wait_for_checkpoint(tmp_path)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=120)
    directory = only_point(tmp_path)
    record = RunRecord.load(directory)
    assert record.state is State.PREEMPTED
    newest = sorted(directory.glob("checkpoints/step-*.ckpt"))[-1]
    shard = next(newest.rglob("*zero_pp_rank_1*optim_states.pt"))
    shard.write_bytes(shard.read_bytes()[:-100])
    output = finish(train(tmp_path, smiles_file, *sharded, "launcher.wait=true"))
    said = output + "".join(path.read_text() for path in tmp_path.glob("runs/**/*.out"))
    assert "damaged" in said
    assert RunRecord.load(directory).attempts == record.attempts + 1
    assert rows(directory) == rows(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero3", "fsdp2"])
def test_a_run_goes_on_on_another_number_of_ranks_by_one_setting(tmp_path, smiles_file, alone, strategy):
    finish(train(tmp_path, smiles_file, f"strategy={strategy}", "launcher.gpus_per_node=2", "pause=0.3"))
    refused = train(tmp_path, smiles_file, f"strategy={strategy}")
    output, _ = refused.communicate(timeout=120)
    assert refused.returncode
    said = output + "".join(path.read_text() for path in tmp_path.glob("runs/**/*.err"))
    assert "strategy.elastic=true" in said
    elastic = (f"strategy={strategy}", "strategy.elastic=true")
    finish(train(tmp_path, smiles_file, *elastic, "launcher.gpus_per_node=4", "pause=0.6"))
    finish(train(tmp_path, smiles_file, *elastic))
    directory = only_point(tmp_path)
    # The certificate's tolerance is for 20 steps; rounding grows over these 60.
    of_loss = 10 * TOLERANCES["32"][1]
    for ours, theirs in zip(rows(directory), rows(alone), strict=True):
        key = "loss" if ours["kind"] == "train" else "nats_per_token"
        assert ours[key] == pytest.approx(theirs[key], rel=of_loss)
    exported = tmp_path / "exported"
    finish(start(tmp_path, [python(), "-m", "chemscale.export", str(directory), "--to", str(exported)]))
    model, copy = (load_file(next(f.glob("*.safetensors"))) for f in (directory / "model", exported))
    assert model.keys() == copy.keys()
    assert all(torch.equal(model[name], copy[name]) for name in model)
