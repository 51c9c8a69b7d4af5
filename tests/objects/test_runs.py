"""Runs at an address go on elsewhere to the bit, one machine trains each, and commands read them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chemscale.common.locks import PointBusyError
from chemscale.objects import mirror as mirrors
from chemscale.objects.lease import Lease
from chemscale.points.mirroring import bring_points, end_mirrored
from chemscale.points.run import train_point
from chemscale.records import RunRecord, State, find_records, find_run
from tests.helpers.object_stores import Fault, forbid
from tests.helpers.points import STEPS, point_in
from tests.helpers.preloaded import python
from tests.helpers.sickness import losses

RUN = "runs/single"


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch):
    monkeypatch.setattr(mirrors, "LAST_PAUSES", (0.05,))


def at(bucket, folder, smiles_file, *more):
    return point_in(folder, smiles_file, f"runs={bucket.url}/runs", *more)


def wipe():
    """This machine is gone, and a new one stands in its place."""
    shutil.rmtree(Path(os.environ["CHEMSCALE_CACHE"]) / "objects")


def test_where_a_run_lies_changes_neither_its_identity_nor_its_losses(bucket, tmp_path, smiles_file):
    here = point_in(tmp_path, smiles_file)
    train_point(here, [])
    there = at(bucket, tmp_path, smiles_file)
    assert there.identity == here.identity
    train_point(there, [])
    assert losses(there.directory) == losses(here.directory)
    one, two = (RunRecord.load(point.directory) for point in (here, there))
    assert (two.final, two.data, two.data_hash) == (one.final, one.data, one.data_hash)
    stored = json.loads(bucket.get(f"{RUN}/{there.identity}/record.json"))
    assert stored["state"] == "done"
    assert "mirror" not in stored
    assert not [key for key in bucket.listed() if ".lease" in key or ".part" in key or key.endswith(".lock")]


@pytest.mark.parametrize(
    "older",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["an empty disk", "an older folder"],
)
def test_a_run_goes_on_from_its_store_to_the_bit(bucket, tmp_path, smiles_file, older):
    whole = point_in(tmp_path, smiles_file)
    train_point(whole, [])
    if older:
        train_point(at(bucket, tmp_path, smiles_file, "pause=0.25"), [])
        shutil.copytree(os.environ["CHEMSCALE_CACHE"], tmp_path / "older")
    half = at(bucket, tmp_path, smiles_file, "pause=0.5")
    train_point(half, [])
    wipe()
    if older:
        shutil.copytree(tmp_path / "older" / "objects", Path(os.environ["CHEMSCALE_CACHE"]) / "objects")
    point = at(bucket, tmp_path, smiles_file)
    bring_points([point])
    assert RunRecord.load(point.directory).data.steps == STEPS // 2
    train_point(point, [])
    assert losses(point.directory) == losses(whole.directory)
    one, two = RunRecord.load(whole.directory), RunRecord.load(point.directory)
    assert (two.final, two.data, two.state) == (one.final, one.data, State.DONE)
    assert two.attempts == 2 + older


def test_a_point_that_another_machine_trains_is_left_to_it(bucket, tmp_path, smiles_file, monkeypatch):
    monkeypatch.setattr(Lease, "_has_died", lambda *_: False)
    point = at(bucket, tmp_path, smiles_file)
    theirs = {"host": "node7", "boot": "theirs", "pid": 5, "token": "t", "written": "now"}
    bucket.put(f"{RUN}/{point.identity}/.mirror.lease-000001", json.dumps(theirs).encode())
    with pytest.raises(PointBusyError, match=r"s3://.* is being trained by another process \(pid 5 on node7"):
        train_point(point, [])
    assert not (point.directory / "record.json").exists()


def test_a_store_that_takes_no_checkpoint_ends_no_run_and_is_in_record_and_status(
    bucket, tmp_path, smiles_file, caplog
):
    point = at(bucket, tmp_path, smiles_file)
    taken = Fault(lambda method, path: method == "PUT" and ".ckpt" in path, forbid, times=10**6)
    bucket.proxy.faults.append(taken)
    train_point(point, [])
    record = RunRecord.load(point.directory)
    assert (record.state, record.data.steps) == (State.DONE, STEPS)
    assert record.mirror["address"] == f"{bucket.url}/{RUN}/{point.identity}"
    assert "the store refuses it" in record.mirror["problem"]
    assert "the same command writes what is missing" in caplog.text
    with pytest.raises(SystemExit) as left:
        end_mirrored([point.directory])
    assert left.value.code == 1
    assert f"1 of 1 runs are not all in their store: {point.identity}" in caplog.text
    taken.times = 0
    bring_points([point])
    assert RunRecord.load(point.directory).mirror == {}
    assert f"{RUN}/{point.identity}/model.sha256" in bucket.listed()
    end_mirrored([point.directory])


def test_a_point_that_was_done_elsewhere_meanwhile_is_not_trained_again(
    bucket, tmp_path, smiles_file, caplog
):
    point = at(bucket, tmp_path, smiles_file)
    train_point(point, [])
    wipe()
    caplog.set_level("INFO", logger="chemscale")
    train_point(point, [])
    assert "is done already" in caplog.text
    assert RunRecord.load(point.directory).attempts == 1


def test_records_and_weights_are_read_from_an_address(bucket, tmp_path, smiles_file):
    point = at(bucket, tmp_path, smiles_file)
    train_point(point, [])
    wipe()
    ((directory, record),) = find_records(f"{bucket.url}/{RUN}")
    assert directory == point.directory
    assert losses(directory)
    assert [path.name for path in directory.iterdir() if path.is_dir()] == []
    run = find_run(Path(f"{bucket.url}/{RUN}/{point.identity}"))
    assert run == point.directory
    assert (run / "model" / "model.safetensors").exists()
    assert not (run / "checkpoints").exists()
    wipe()
    by_name = find_run(Path(f"{bucket.url}/{RUN}/{record.name}/model"))
    assert by_name == point.directory / "model"
    assert (by_name / "config.json").exists()
    with pytest.raises(ValueError, match="no such run"):
        find_run(Path(f"{bucket.url}/{RUN}/another"))
    with pytest.raises(ValueError, match="no record of a run there"):
        list(find_records(f"{bucket.url}/nowhere"))


def test_the_newest_checkpoint_of_an_unfinished_run_is_brought(bucket, tmp_path, smiles_file):
    train_point(at(bucket, tmp_path, smiles_file, "pause=0.5"), [])
    wipe()
    (run,) = (find_run(d) for d, _ in find_records(f"{bucket.url}/{RUN}"))
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        f"step-{STEPS // 2:09d}.ckpt",
        f"step-{STEPS // 2:09d}.sha256",
    ]
    assert (run / "architecture").is_dir()


# --- commands ---


def command(bucket, folder, *arguments, interpreter=None):
    environment = {**bucket.environment, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    return subprocess.Popen(
        [interpreter or python(), "-m", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(process):
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def arguments(folder, smiles_file, runs, steps=STEPS):
    return (
        *("chemscale.train", "data=smiles", f"data.path={smiles_file}", "data.block=256"),
        *("data.validation_fraction=0.1", "data.prepare_workers=1", "model.width=8", "model.layers=1"),
        *("model.heads=2", "batch.tokens=512", f"runs={runs}", f"corpora={folder}/corpora", "logger=jsonl"),
        *("trainer.accelerator=cpu", "budget.epochs=null", f"budget.steps={steps}", "trainer.log_every=1"),
        *("trainer.validate_every=2000", "trainer.checkpoint_steps=50"),
    )


@pytest.mark.slow
def test_a_machine_that_is_lost_is_replaced_by_another_to_the_bit(bucket, tmp_path, smiles_file):
    """Killed by SIGKILL with its two ranks, its disk wiped; the next goes on from what the store has."""
    more = ("launcher.gpus_per_node=2", "trainer.threads=1")
    steps = 500
    said(command(bucket, tmp_path, *arguments(tmp_path, smiles_file, tmp_path / "runs", steps), *more))
    (whole,) = (tmp_path / "runs" / "single").glob("*/record.json")
    wanted = arguments(tmp_path, smiles_file, f"{bucket.url}/runs", steps)
    process = command(bucket, tmp_path, *wanted, *more, interpreter=sys.executable)
    until = time.monotonic() + 120
    while not any(key.endswith(".sha256") and "step-" in key for key in bucket.listed()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGSTOP)  # it would see its ranks go
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in [*children, process.pid]:
        os.kill(int(pid), signal.SIGKILL)
    process.communicate()
    state = json.loads(bucket.get(f"{RUN}/{whole.parent.name}/record.json"))["state"]
    assert state == "running"
    wipe()
    text = said(command(bucket, tmp_path, *wanted, *more))
    assert "Bringing back s3://" in text
    (again,) = Path(bucket.environment["CHEMSCALE_CACHE"]).glob("objects/s3/*/runs/single/*/record.json")
    assert losses(again.parent) == losses(whole.parent)
    assert RunRecord.load(again).final == RunRecord.load(whole).final


@pytest.mark.slow
def test_a_sweep_is_trained_fitted_and_read_where_it_lies(bucket, tmp_path, smiles_file):
    wanted = arguments(tmp_path, smiles_file, f"{bucket.url}/runs")
    sweep = ("sweep_name=widths", "+hydra.mode=MULTIRUN", "hydra/sweeper=chemscale", "model.width=8,16,24,32")
    first = said(command(bucket, tmp_path, *wanted, *sweep))
    assert "Report:" in first
    wipe()
    second = said(command(bucket, tmp_path, *wanted, *sweep))
    assert second.count("Bringing back") == 4
    wipe()
    law = said(command(bucket, tmp_path, "chemscale.fit", f"{bucket.url}/runs/widths"))
    assert "4 " in law
    (run, *_) = (key.split("/")[2] for key in bucket.listed() if key.endswith("model.sha256"))
    drawn = said(
        command(bucket, tmp_path, "chemscale.generate", f"{bucket.url}/runs/widths/{run}", "--n", "4")
    )
    assert drawn
    said(command(bucket, tmp_path, "chemscale.export", f"{bucket.url}/runs/widths/{run}", "--to", "exported"))
    assert (tmp_path / "exported" / "config.json").exists()
