"""What the store lacks of a run that has ended is written by the same command, or it is said why not."""

import hashlib
import json

import pytest
from omegaconf import OmegaConf

from chemscale.analysis.finish import finish_sweep
from chemscale.objects.address import local_place
from chemscale.objects.errors import StoreError
from chemscale.objects.lease import Lease
from chemscale.points import mirroring
from chemscale.points.mirroring import catch_up, end_mirrored
from chemscale.records import Parameters, PointPlan, RunRecord, State

RUN = "runs/sweep/point"
LEASE = f"{RUN}/.mirror.lease-000001"


@pytest.fixture
def folder(bucket):
    """The working copy of a run that is done."""
    made = local_place(f"{bucket.url}/{RUN}")
    (made / "model").mkdir(parents=True)
    (made / "model" / "config.json").write_text("{}")
    done = RunRecord("point", "sweep", "chemgpt", "one", {}, {}, None, "hash", 0, Parameters(1, 1, 1, 1))
    done.state, done.attempts = State.DONE, 1
    done.save(made)
    return made


@pytest.fixture
def of_another_machine(bucket):
    """A lease that stands there, as of this machine before it was started anew."""
    theirs = {"host": "node7", "boot": "theirs", "pid": 5, "token": "t", "written": "then"}
    bucket.put(LEASE, json.dumps(theirs).encode())


def test_a_lease_of_the_dead_does_not_keep_a_run_from_its_store(
    bucket, folder, of_another_machine, monkeypatch
):
    monkeypatch.setattr(Lease, "_has_died", lambda *_: True)
    catch_up(folder)
    assert bucket.get(f"{RUN}/record.json") == (folder / "record.json").read_bytes()
    assert f"{RUN}/model.sha256" in bucket.listed()
    assert LEASE not in bucket.listed()


def test_a_run_that_another_machine_holds_is_said_not_to_be_in_step(
    bucket, folder, of_another_machine, monkeypatch, caplog
):
    monkeypatch.setattr(Lease, "_has_died", lambda *_: False)
    with pytest.raises(SystemExit) as left:
        end_mirrored([folder])
    assert left.value.code == 1
    assert "is being trained by another process (pid 5 on node7" in RunRecord.load(folder).mirror["problem"]
    assert "1 of 1 runs are not all in their store: point" in caplog.text


def test_a_sweep_without_a_law_is_written_all_the_same(bucket, folder, monkeypatch):
    def no_law(*_, **__):
        raise ValueError("no law")

    monkeypatch.setattr("chemscale.analysis.fit.fit_runs", no_law)
    monkeypatch.setattr("chemscale.points.estimates.tables.show_results", no_text)
    monkeypatch.setattr(RunRecord, "why_left_out", no_text)
    config = OmegaConf.create({"runs": f"{bucket.url}/runs", "sweep_name": "sweep"})
    plan = PointPlan("point", folder, "one", 1, 1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="no law"):
        finish_sweep([plan], [config])
    assert bucket.get(f"{RUN}/record.json") == (folder / "record.json").read_bytes()


def no_text(*_):
    return ""


def test_a_store_that_breaks_off_is_left_without_a_lease(bucket, folder, monkeypatch):
    def silent(*_):
        raise StoreError("no answer")

    monkeypatch.setattr(mirroring, "is_ahead", silent)
    with pytest.raises(StoreError, match="no answer"):
        catch_up(folder)
    assert bucket.listed() == []


def test_a_model_that_stands_there_as_it_is_here_keeps_its_seal(bucket, folder):
    catch_up(folder)
    record = RunRecord.load(folder)
    record.reason = "told later"
    record.save(folder)
    bucket.proxy.asked.clear()
    catch_up(folder)
    changed = [path.split("?")[0] for method, path in bucket.proxy.asked if method in ("PUT", "DELETE")]
    assert not [path for path in changed if "model" in path]
    content = bucket.get(f"{RUN}/model/config.json")
    assert hashlib.sha256(content).hexdigest() in bucket.get(f"{RUN}/model.sha256").decode()
