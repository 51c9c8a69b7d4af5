"""What a mirror has is at every moment something to go on from."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from chemscale.objects import lease as leases
from chemscale.objects import mirror as mirrors
from chemscale.objects.address import Address, local_place
from chemscale.objects.errors import StoreError
from chemscale.objects.lease import Lease
from chemscale.objects.mirror import FolderMirror, Mirror
from chemscale.objects.reading import bring_records, bring_run
from chemscale.objects.runs import bring_back, bring_trunk, is_in_step
from chemscale.objects.store import open_store
from tests.helpers.object_stores import Fault, forbid, slow_down


@pytest.fixture
def folder(bucket):
    """The working copy of a run."""
    made = local_place(f"{bucket.url}/runs/sweep/point")
    (made / "checkpoints").mkdir(parents=True)
    return made


def checkpoint(folder, step, content=b"state", parts=()):
    """A checkpoint as ``Checkpoints`` leaves it; the newest two stay."""
    path = folder / f"step-{step:09d}.ckpt"
    files = [path]
    if parts:
        path.mkdir()
        files = [path / part for part in parts]
    for file in files:
        file.write_bytes(content)
    lines = [f"{hashlib.sha256(content).hexdigest()}  {file.relative_to(folder)}\n" for file in files]
    path.with_suffix(".sha256").write_text("".join(lines))


def forget(folder, step):
    for suffix in (".ckpt", ".sha256"):
        (folder / f"step-{step:09d}{suffix}").unlink()


def record(folder, attempts=1, state="running", updated="2026-01-01T00:00:00+00:00"):
    content = {"attempts": attempts, "state": state, "updated": updated, "name": "one"}
    (folder / "record.json").write_text(json.dumps(content))


def mirror_of(folder, keeps_all=False):
    address = Address.parse("s3://" + str(folder).split("/objects/s3/")[1])
    return FolderMirror(open_store(address), folder, address, keeps_all)


def steps(bucket):
    found = {key.rpartition("/")[2] for key in bucket.listed() if "step-" in key and "checkpoints" in key}
    return sorted(found)


def test_a_checkpoint_is_sealed_behind_its_parts_and_old_ones_go_when_it_is(bucket, folder):
    mirror = mirror_of(folder)
    record(folder)
    (folder / "metrics.jsonl").write_text("{}\n")
    checkpoint(folder / "checkpoints", 10)
    mirror.sync()
    checkpoint(folder / "checkpoints", 20, parts=("rank0", "rank1"))
    forget(folder / "checkpoints", 10)
    bucket.proxy.faults.append(
        Fault(lambda method, path: method == "PUT" and "rank1" in path, forbid, times=99)
    )
    with pytest.raises(StoreError, match=r"step-000000020.ckpt/rank1"):
        mirror.sync()
    assert "step-000000020.sha256" not in steps(bucket)
    assert "step-000000010.sha256" in steps(bucket)
    bucket.proxy.faults.clear()
    bucket.proxy.asked.clear()
    mirror.sync()
    assert steps(bucket) == ["rank0", "rank1", "step-000000020.sha256"]
    asked = [path for method, path in bucket.proxy.asked if method in ("PUT", "DELETE")]
    order = [next(i for i, path in enumerate(asked) if part in path) for part in ("rank1", "010.sha256")]
    seal = next(
        i for i, path in enumerate(asked) if path.split("?")[0].endswith("020.sha256") and i > order[0]
    )
    assert order[0] < seal < order[1]


def test_what_was_rolled_back_goes_before_anything_is_written(bucket, folder):
    mirror = mirror_of(folder)
    record(folder)
    for step in (10, 20):
        checkpoint(folder / "checkpoints", step)
        mirror.sync()
    forget(folder / "checkpoints", 20)
    record(folder, updated="2026-01-02T00:00:00+00:00")
    bucket.proxy.asked.clear()
    mirror.sync()
    assert steps(bucket) == ["step-000000010.ckpt", "step-000000010.sha256"]
    changes = [
        (method, path.split("?")[0]) for method, path in bucket.proxy.asked if method in ("PUT", "DELETE")
    ]
    assert [method for method, _ in changes] == ["DELETE", "DELETE", "PUT"]
    checkpoint(folder / "checkpoints", 20, content=b"another state of the same length"[:5])
    mirror.sync()
    assert bucket.get("runs/sweep/point/checkpoints/step-000000020.ckpt") == b"anoth"


def test_a_run_that_is_done_and_came_here_without_checkpoints_leaves_them_in_its_store(bucket, folder):
    mirror = mirror_of(folder)
    for step in (10, 20, 30):
        record(folder, state="done" if step == 30 else "running")
        checkpoint(folder / "checkpoints", step)
        if step == 30:
            forget(folder / "checkpoints", 10)
        mirror.sync(all_of_it=True)
    there = [f"step-0000000{step}.{end}" for step in (20, 30) for end in ("ckpt", "sha256")]
    assert steps(bucket) == there
    for step in (30, 20):  # exported, and of an empty disk
        forget(folder / "checkpoints", step)
        mirror_of(folder).sync(all_of_it=True)
        assert steps(bucket) == there


@pytest.mark.parametrize("lacks", ["metrics.jsonl", "step-000000020.ckpt"])
def test_a_record_that_says_done_comes_behind_all_that_it_stands_for(bucket, folder, lacks):
    record(folder, state="done")
    (folder / "metrics.jsonl").write_text("{}\n")
    checkpoint(folder / "checkpoints", 20)
    fault = Fault(lambda method, path: method == "PUT" and lacks in path, forbid, times=99)
    bucket.proxy.faults.append(fault)
    mirror = mirror_of(folder)
    with pytest.raises(StoreError, match=lacks):
        mirror.sync(all_of_it=True)
    assert "runs/sweep/point/record.json" not in bucket.listed()
    fault.times = 0
    mirror.sync(all_of_it=True)
    assert json.loads(bucket.get("runs/sweep/point/record.json"))["state"] == "done"


def test_why_an_attempt_failed_is_there_until_a_later_one_succeeds(bucket, folder):
    record(folder, state="failed")
    (folder / "error.txt").write_text("why")
    mirror_of(folder).sync()
    assert bucket.get("runs/sweep/point/error.txt") == b"why"
    (folder / "error.txt").unlink()
    mirror_of(folder).sync(all_of_it=True)
    assert "runs/sweep/point/error.txt" not in bucket.listed()


def test_a_run_comes_back_where_the_store_has_it_further(bucket, folder, tmp_path):
    record(folder, attempts=2)
    (folder / "metrics.jsonl").write_text("{}\n{}\n")
    checkpoint(folder / "checkpoints", 20, content=os.urandom(1000), parts=("a", "deep"))
    mirror_of(folder).sync()
    kept = tmp_path / "kept"
    folder.rename(kept)
    assert bring_back(folder)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert names == sorted([".lock", *(str(p.relative_to(kept)) for p in kept.rglob("*") if p.is_file())])
    for name in set(names) - {".lock"}:
        assert (folder / name).read_bytes() == (kept / name).read_bytes()
    assert not bring_back(folder)
    record(folder, attempts=3)
    checkpoint(folder / "checkpoints", 30)
    assert not bring_back(folder)
    assert json.loads((folder / "record.json").read_text())["attempts"] == 3


def test_steps_that_another_machine_went_on_without_are_not_gone_on_from(bucket, folder, tmp_path):
    record(folder, attempts=1)
    (folder / "metrics.jsonl").write_text("20\n")
    checkpoint(folder / "checkpoints", 20)
    mirror_of(folder).sync()
    checkpoint(folder / "checkpoints", 40, content=b"never written there")
    checkpoint(folder / "checkpoints", 50, parts=("a",))
    here = tmp_path / "here"
    folder.rename(here)
    assert bring_back(folder)  # another machine, which goes on
    record(folder, attempts=2)
    checkpoint(folder / "checkpoints", 40, content=b"other")
    (folder / "metrics.jsonl").write_text("20\n40\n")
    mirror_of(folder).sync()
    shutil.rmtree(folder)
    here.rename(folder)  # and the first one is back
    assert bring_back(folder)
    names = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
    assert names == [f"step-{step:09d}.{end}" for step in (20, 40) for end in ("ckpt", "sha256")]
    assert (folder / "checkpoints" / "step-000000040.ckpt").read_bytes() == b"other"
    assert (folder / "metrics.jsonl").read_text() == "20\n40\n"
    assert not bring_back(folder)


def test_steps_that_another_machine_went_on_without_go_also_where_only_records_are_read(bucket, folder):
    record(folder, attempts=2)
    (folder / "metrics.jsonl").write_text("10\n20\n")
    checkpoint(folder / "checkpoints", 20)
    mirror_of(folder).sync()
    record(folder, attempts=1)  # what this machine had before another one went on
    (folder / "metrics.jsonl").write_text("10\n20\n30\n40\n")
    checkpoint(folder / "checkpoints", 40)
    bring_records(f"{bucket.url}/runs/sweep")
    assert json.loads((folder / "record.json").read_text())["attempts"] == 2
    assert (folder / "metrics.jsonl").read_text() == "10\n20\n"
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        f"step-000000020.{end}" for end in ("ckpt", "sha256")
    ]


def test_a_curve_that_the_store_did_not_take_is_not_replaced_by_the_shorter_one_there(bucket, folder):
    record(folder)
    (folder / "metrics.jsonl").write_text("10\n")
    mirror_of(folder).sync()
    (folder / "metrics.jsonl").write_text("10\n20\n")
    bring_records(f"{bucket.url}/runs/sweep")
    assert (folder / "metrics.jsonl").read_text() == "10\n20\n"
    (folder / "metrics.jsonl").write_text("")
    bring_records(f"{bucket.url}/runs/sweep")
    assert (folder / "metrics.jsonl").read_text() == "10\n"


@pytest.mark.parametrize("parts", [(), ("rank0", "rank1")], ids=["a file", "a folder"])
def test_a_checkpoint_of_the_same_step_and_another_content_is_brought_back(bucket, folder, parts):
    record(folder)
    checkpoint(folder / "checkpoints", 20, content=b"theirs", parts=parts)
    mirror_of(folder).sync()
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").mkdir()
    checkpoint(folder / "checkpoints", 20, content=b"ours")
    assert bring_back(folder)
    found = folder / "checkpoints" / "step-000000020.ckpt"
    assert {path.read_bytes() for path in (found.iterdir() if parts else [found])} == {b"theirs"}


def test_who_reads_a_run_that_was_rolled_back_here_does_not_get_what_was_left(bucket, folder):
    record(folder)
    for step in (10, 20):
        checkpoint(folder / "checkpoints", step)
    mirror_of(folder).sync()
    forget(folder / "checkpoints", 20)
    record(folder, updated="2026-01-02T00:00:00+00:00")  # and the store has not heard of it
    bring_run(Path(f"{bucket.url}/runs/sweep/point"))
    assert not (folder / "checkpoints" / "step-000000020.ckpt").exists()


def test_a_run_that_another_machine_trains_on_meanwhile_is_listed_again(bucket, folder):
    record(folder)
    checkpoint(folder / "checkpoints", 10)
    mirror = mirror_of(folder)
    mirror.sync()
    here = folder.with_name("here")
    shutil.copytree(folder, here)
    shutil.rmtree(folder)

    def goes_on(method, path):
        if method == "GET" and "step-000000010.ckpt" in path and (here / "checkpoints").exists():
            os.replace(here, folder.with_name("theirs"))
            theirs = folder.with_name("theirs")
            checkpoint(theirs / "checkpoints", 20)
            forget(theirs / "checkpoints", 10)
            record(theirs, updated="2026-01-02T00:00:00+00:00")
            mirror.folder = theirs
            mirror.sync()
        return False

    bucket.proxy.faults.append(Fault(goes_on, forbid))
    assert bring_back(folder)
    assert [path.name for path in sorted((folder / "checkpoints").glob("step-*"))] == [
        f"step-000000020.{end}" for end in ("ckpt", "sha256")
    ]


def test_a_stable_phase_that_came_in_part_is_brought_again(bucket, folder):
    trunk = folder.parent / "trunks" / "one"
    trunk.mkdir(parents=True)
    checkpoint(trunk, 10)
    mirror_of(trunk, keeps_all=True).sync()
    (trunk / "step-000000010.ckpt").unlink()  # killed between the seal and the checkpoint
    bring_trunk(trunk)
    assert (trunk / "step-000000010.ckpt").exists()


def test_a_folder_that_is_behind_its_store_overwrites_nothing(bucket, folder):
    record(folder, attempts=2)
    checkpoint(folder / "checkpoints", 30)
    mirror_of(folder).sync()
    forget(folder / "checkpoints", 30)
    checkpoint(folder / "checkpoints", 10)
    record(folder, attempts=1)
    with pytest.raises(StoreError, match="is further than"):
        mirror_of(folder).sync()
    assert steps(bucket) == ["step-000000030.ckpt", "step-000000030.sha256"]


def test_a_checkpoint_without_its_seal_is_not_brought(bucket, folder):
    record(folder)
    checkpoint(folder / "checkpoints", 10)
    mirror_of(folder).sync()
    bucket.put("runs/sweep/point/checkpoints/step-000000020.ckpt", b"half of a sta")
    folder.rename(folder.with_name("kept"))
    assert bring_back(folder)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "step-000000010.ckpt",
        "step-000000010.sha256",
    ]


def test_a_mirror_says_what_it_could_not_write_and_catches_up(bucket, folder, monkeypatch, caplog):
    monkeypatch.setattr(mirrors, "LOOK_SECONDS", 0.05)
    address = Address.parse(f"{bucket.url}/runs/sweep/point")
    lease = Lease(open_store(address), address.child(".mirror"))
    assert not lease.acquire()
    record(folder)
    mirror = Mirror([mirror_of(folder)], lease)
    fault = Fault(lambda method, path: method == "PUT" and "step-" in path, forbid, times=10**6)
    bucket.proxy.faults.append(fault)
    mirror.start()
    checkpoint(folder / "checkpoints", 10)
    assert "the store refuses it" in mirror.close(pauses=())
    assert "step-000000010.sha256" not in steps(bucket)
    assert not [key for key in bucket.listed() if ".lease" in key]
    assert not is_in_step(folder)
    fault.times, fault.play = 2, slow_down
    assert not lease.acquire()
    again = Mirror([mirror_of(folder)], lease)
    assert again.close(pauses=()) == ""
    assert "step-000000010.sha256" in steps(bucket)
    assert is_in_step(folder)


def test_training_does_not_end_of_a_fault_in_the_mirror(bucket, folder, monkeypatch, caplog):
    address = Address.parse(f"{bucket.url}/runs/sweep/point")
    lease = Lease(open_store(address), address.child(".mirror"))
    assert not lease.acquire()
    record(folder)
    mirrored = mirror_of(folder)
    monkeypatch.setattr(mirrored, "sync", lambda all_of_it: {}["nothing"])
    assert "KeyError: 'nothing'" in Mirror([mirrored], lease).close(pauses=())
    assert "KeyError: 'nothing'" in caplog.text
    assert not [key for key in bucket.listed() if ".lease" in key]


def test_what_a_mirror_says_names_the_run_and_not_what_it_begins_from(bucket, folder):
    trunk = folder.parent / "trunks" / "one"
    trunk.mkdir(parents=True)
    address = Address.parse(f"{bucket.url}/runs/sweep/point")
    lease = Lease(open_store(address), address.child(".mirror"), lost="pid 3 on node7")
    mirror = Mirror([mirror_of(trunk, keeps_all=True), mirror_of(folder)], lease)
    assert mirror.close(pauses=()) == f"{address}: taken over by pid 3 on node7."


def test_who_lost_the_lease_writes_no_more(bucket, folder, monkeypatch, caplog):
    monkeypatch.setattr(mirrors, "LOOK_SECONDS", 0.05)
    address = Address.parse(f"{bucket.url}/runs/sweep/point")
    lease = Lease(open_store(address), address.child(".mirror"))
    assert not lease.acquire()
    theirs = json.dumps({"host": "node7", "token": "theirs", "pid": 3, "written": "now"}).encode()
    bucket.put("runs/sweep/point/.mirror.lease-000002", theirs)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.05)
    mirror = Mirror([mirror_of(folder)], lease)
    mirror.start()
    until = time.monotonic() + 5
    while "taken over by" not in caplog.text and time.monotonic() < until:
        time.sleep(0.05)
    record(folder)
    assert "taken over by pid 3 on node7" in mirror.close(pauses=())
    assert "runs/sweep/point/record.json" not in bucket.listed()
    assert bucket.get("runs/sweep/point/.mirror.lease-000002") == theirs


def test_a_trunk_keeps_what_other_machines_left_in_it(bucket, folder):
    trunk = folder.parent / "trunks" / "one"
    trunk.mkdir(parents=True)
    for step in (10, 20):
        checkpoint(trunk, step)
        (trunk / f"step-{step:09d}.jsonl").write_text(f"{step}\n")
    mirror_of(trunk, keeps_all=True).sync()
    trunk.rename(trunk.with_name("kept"))
    trunk.mkdir()
    checkpoint(trunk, 30)
    (trunk / "step-000000030.jsonl").write_text("30\n")
    mirror_of(trunk, keeps_all=True).sync()
    bring_trunk(trunk)
    assert sorted(path.name for path in trunk.iterdir()) == [
        f"step-{step:09d}{suffix}" for step in (10, 20, 30) for suffix in (".ckpt", ".jsonl", ".sha256")
    ]
