"""The table of faults in docs/howto/object-stores.md: each is played, and says what stands there."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chemscale.common.locks import PointBusyError
from chemscale.fetching.hub import local_path
from chemscale.objects import lease as leases
from chemscale.objects import mirror as mirrors
from chemscale.objects import store as stores
from chemscale.objects.address import Address, local_place
from chemscale.objects.errors import StoreError
from chemscale.objects.lease import Lease
from chemscale.objects.mirror import FolderMirror, Mirror
from chemscale.objects.reading import bring_records
from chemscale.objects.runs import bring_back
from chemscale.objects.seals import fetch_folder, publish_folder
from chemscale.objects.store import open_store
from chemscale.points import mirroring
from tests.helpers.object_stores import Fault, cut, forbid, free_port, shorten, slow_down
from tests.helpers.paths import ROOT

ROWS = dict(
    re.findall(
        r"^\| (.+?) \| (.+) \|$",
        (ROOT / "docs/howto/object-stores.md").read_text().split("| fault | what is said |\n|---|---|\n")[1],
        re.MULTILINE,
    )
)


class Stage:
    """What a fault is played with."""

    def __init__(self, bucket, monkeypatch, caplog):
        self.bucket, self.monkeypatch, self.caplog = bucket, monkeypatch, caplog
        monkeypatch.setattr(mirrors, "LOOK_SECONDS", 0.05)
        monkeypatch.setattr(leases, "RENEW_SECONDS", 0.05)
        caplog.set_level("INFO", logger="chemscale")

    def address(self, key=""):
        return Address.parse(f"{self.bucket.url}/{key}")

    @property
    def store(self):
        return open_store(self.address())

    def refused(self, do):
        with pytest.raises((StoreError, FileNotFoundError, PointBusyError)) as caught:
            do()
        return f"{caught.value}\n"

    def fault(self, method, part, play, times=1):
        self.bucket.proxy.faults.append(Fault(lambda m, path: m == method and part in path, play, times))

    def read(self, content=b"hello" * 100):
        self.bucket.put("x", content)
        entry = self.store.entry(self.address("x"))
        target = local_place(f"{self.bucket.url}/x")
        self.store.get(self.address("x"), target, entry, sha256=hashlib.sha256(content).hexdigest())
        assert target.read_bytes() == content
        return ""

    def run(self, attempts=1):
        """A run with a checkpoint on this disk."""
        folder = local_place(f"{self.bucket.url}/runs/one")
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / "step-000000010.ckpt").write_bytes(b"state")
        line = f"{hashlib.sha256(b'state').hexdigest()}  step-000000010.ckpt\n"
        (folder / "checkpoints" / "step-000000010.sha256").write_text(line)
        (folder / "record.json").write_text(json.dumps({"attempts": attempts, "state": "running"}))
        return folder

    def mirror(self):
        """A mirror of that run; its lease is held."""
        address, folder = self.address("runs/one"), self.run()
        lease = Lease(self.store, address.child(".mirror"))
        assert not lease.acquire()
        return Mirror([FolderMirror(self.store, folder, address)], lease)

    def until(self, text):
        end = time.monotonic() + 20
        while text not in self.caplog.text:
            assert time.monotonic() < end, self.caplog.text
            time.sleep(0.05)


def without_package(stage):
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from chemscale.objects.address import Address; from chemscale.objects.store import open_store\n"
        "open_store(Address.parse('s3://bucket/x'))"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stderr


def without_credentials(stage):
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        stage.monkeypatch.delenv(key)
    for key in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        stage.monkeypatch.setenv(key, "/nowhere")
    stores.forget()
    return stage.refused(lambda: stage.store.read(stage.address("x")))


def forbidden(stage):
    stage.bucket.put("x", b"hello")
    stage.fault("GET", "/x", forbid, 99)
    return stage.refused(lambda: stage.store.read(stage.address("x")))


def no_bucket(stage):
    said = stage.refused(lambda: stage.store.entries(Address.parse("s3://no-bucket/x")))
    assert "there is no bucket no-bucket" in said
    return said.replace("no-bucket", "NAME")


def nothing_there(stage):
    url = f"{stage.bucket.url}/none"
    asked = (
        lambda: stage.store.read(stage.address("none")),
        lambda: local_path(url),
        lambda: bring_records(url),
    )
    return "".join(map(stage.refused, asked))


def down(stage):
    stage.monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    stage.monkeypatch.setattr(stores, "PAUSES", ())
    stores.forget()
    return stage.refused(lambda: bring_back(local_place(f"{stage.bucket.url}/runs/one")))


def down_meanwhile(stage):
    mirror = stage.mirror()
    stage.fault("PUT", ".ckpt", forbid, 2)
    mirror.start()
    stage.until("is in step again")
    assert mirror.close() == ""
    return stage.caplog.text


def throttled(stage):
    stage.fault("GET", "/x", slow_down, 2)
    return stage.read()


def broken_off(stage):
    stage.fault("GET", "/x", cut(100))
    return stage.read()


def too_short(stage):
    stage.fault("GET", "/x", shorten(7))
    return stage.read()


def sealed_folder(stage):
    folder = local_place(f"{stage.bucket.url}/corpora/one")
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / name).write_text(name)
    assert publish_folder(folder)
    shutil.rmtree(folder)
    return folder


def other_content(stage):
    folder = sealed_folder(stage)
    stage.bucket.put("corpora/one/a", b"A")
    said = stage.refused(lambda: fetch_folder(folder))
    assert not [path for path in folder.parent.rglob("*") if path.name == "a"]
    return said


def replaced(stage):
    stage.bucket.put("x", b"old")
    entry = stage.store.entry(stage.address("x"))
    stage.bucket.put("x", b"new")
    return stage.refused(lambda: stage.store.get(stage.address("x"), Path("/tmp/chemscale-x"), entry))


def lost_a_file(stage):
    folder = sealed_folder(stage)
    stage.bucket.delete("corpora/one/b")
    return stage.refused(lambda: fetch_folder(folder)).replace("one.sha256", "NAME.sha256")


def half_a_checkpoint(stage):
    folder = stage.run()
    FolderMirror(stage.store, folder, stage.address("runs/one")).sync()
    shutil.rmtree(folder)
    stage.bucket.delete("runs/one/checkpoints/step-000000010.sha256")
    assert bring_back(folder)
    assert not (folder / "checkpoints").exists()
    return ""


def behind(stage):
    folder = stage.run(attempts=2)
    FolderMirror(stage.store, folder, stage.address("runs/one")).sync()
    stage.run(attempts=1)
    return stage.refused(FolderMirror(stage.store, folder, stage.address("runs/one")).sync)


def elsewhere(stage):
    folder = stage.run()
    content = {"host": "node7", "pid": 5, "boot": "theirs", "token": "t", "written": "now"}
    stage.bucket.put("runs/one/.mirror.lease-000001", json.dumps(content).encode())
    stage.monkeypatch.setattr(leases.Lease, "_has_died", lambda *_: False)
    return stage.refused(lambda: mirroring._open(folder, stage.address("runs/one")))


def taken_over(stage):
    mirror = stage.mirror()
    mirror.start()
    content = {"host": "node7", "pid": 5, "token": "t", "written": "now"}
    stage.bucket.put("runs/one/.mirror.lease-000002", json.dumps(content).encode())
    stage.until("taken over")
    mirror.close()
    return stage.caplog.text.replace("Training", "training")


PLAYED = {
    "the package is not installed": without_package,
    "no credentials": without_credentials,
    "403, wrong or expired keys": forbidden,
    "no such bucket": no_bucket,
    "nothing at the address": nothing_there,
    "the endpoint is down, at the start": down,
    "the same, while a run trains": down_meanwhile,
    "503, throttled": throttled,
    "a connection that is cut": broken_off,
    "an answer that is too short": too_short,
    "another content than its checksum": other_content,
    "a file that changed while it was fetched": replaced,
    "a sealed folder that lost a file": lost_a_file,
    "half a checkpoint, without its seal": half_a_checkpoint,
    "the disk is behind the store": behind,
    "the point is trained elsewhere": elsewhere,
    "the lease was taken over": taken_over,
}
AT_THE_END = "the store did not take the end of a run"
"""Played in test_runs, by a run."""


def test_every_fault_of_the_table_is_played():
    assert set(ROWS) == {*PLAYED, AT_THE_END}


@pytest.mark.parametrize("fault", PLAYED)
def test_a_fault_says_what_the_table_says(fault, bucket, monkeypatch, caplog):
    said = PLAYED[fault](Stage(bucket, monkeypatch, caplog))
    quoted = re.findall(r"`(.+?)`", ROWS[fault])
    if not quoted:
        assert ROWS[fault].startswith("nothing")
        assert not said
        assert not [each for each in caplog.records if each.levelname in ("WARNING", "ERROR")]
    for text in quoted:
        for part in text.split("…"):
            assert part.strip(" ,():") in said, (text, said)
