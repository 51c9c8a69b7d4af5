"""What a store answers, faults included, and what is said of it."""

import base64
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from chemscale.objects import store as stores
from chemscale.objects.address import Address
from chemscale.objects.errors import Damaged, Missing, StoreError, Unreachable
from chemscale.objects.seals import fetch_sealed, files_of, is_here, seal_folder, send_sealed
from chemscale.objects.store import open_store
from chemscale.objects.transfers import fetch_all
from tests.helpers.object_stores import Fault, cut, forbid, free_port, shorten, slow_down
from tests.helpers.paths import ROOT


def reading(method, path):
    return method == "GET" and "list-type" not in path


def place(bucket, key=""):
    return Address.parse(f"{bucket.url}/{key}")


def test_objects_are_written_listed_read_and_removed(bucket):
    store, folder = open_store(place(bucket)), place(bucket, "folder")
    assert store.entries(folder) == {}
    store.write(folder.child("a", "b"), b"hello")
    bucket.put("folder-of-others/c", b"")
    assert {name: entry.size for name, entry in store.entries(folder).items()} == {"a/b": 5}
    assert store.names(place(bucket)) == ["folder", "folder-of-others"]
    assert store.read(folder.child("a", "b")) == b"hello"
    assert store.entry(folder) is None
    store.delete([folder.child("a", "b"), folder.child("never there")])
    assert bucket.listed() == ["folder-of-others/c"]
    with pytest.raises(Missing, match="folder/a/b: no such object"):
        store.read(folder.child("a", "b"))


def test_an_object_is_created_once(bucket):
    store, address = open_store(place(bucket)), place(bucket, "lock")
    assert store.create(address, b"one")
    assert not store.create(address, b"two")
    assert bucket.get("lock") == b"one"


@pytest.mark.slow
def test_a_store_that_throttles_is_asked_again(bucket):
    bucket.put("x", b"hello")
    bucket.proxy.faults.append(Fault(reading, slow_down, times=3))
    assert open_store(place(bucket)).read(place(bucket, "x")) == b"hello"
    bucket.proxy.faults[:] = [Fault(lambda method, path: method == "PUT", slow_down, times=2)]
    open_store(place(bucket)).write(place(bucket, "y"), b"there")
    assert bucket.get("y") == b"there"


def test_a_transfer_that_breaks_off_goes_on_where_it_was(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "BLOCK", 1 << 16)
    content = os.urandom(300_000)
    bucket.put("big", content)
    store, address = open_store(place(bucket)), place(bucket, "big")
    entry = store.entry(address)

    def third(method, path):
        done = sum(reading(*asked) for asked in bucket.proxy.asked)
        return reading(method, path) and done > 2

    bucket.proxy.faults.append(Fault(third, forbid, times=1))
    with pytest.raises(StoreError, match="refuses"):
        store.get(address, tmp_path / "big", entry)
    assert not (tmp_path / "big").exists()
    (partial,) = tmp_path.glob(".big.*.fetching")
    assert partial.stat().st_size == 2 << 16
    bucket.proxy.faults[:] = [Fault(reading, cut(1000)), Fault(reading, shorten(100))]
    bucket.proxy.asked.clear()
    store.get(address, tmp_path / "big", entry)
    assert (tmp_path / "big").read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["big"]


def test_an_object_that_is_not_what_was_promised_is_refused(bucket, tmp_path):
    bucket.put("x", b"hello")
    store, address = open_store(place(bucket)), place(bucket, "x")
    entry = store.entry(address)
    with pytest.raises(Damaged, match="SHA-256"):
        store.get(address, tmp_path / "x", entry, sha256="0" * 64)
    bucket.put("x", b"HELLO")
    with pytest.raises(Damaged, match="was replaced while"):
        store.get(address, tmp_path / "x", entry)
    assert not list(tmp_path.iterdir())


def test_a_file_that_two_fetch_at_once_is_whole(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "BLOCK", 1 << 14)
    content = os.urandom(150_000)
    bucket.put("curve", content)
    store, address = open_store(place(bucket)), place(bucket, "curve")
    entry = store.entry(address)
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(store.get, address, tmp_path / "curve", entry) for _ in range(6)]:
            done.result()
    assert (tmp_path / "curve").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["curve"]


def test_a_curve_that_grew_since_it_was_listed_is_fetched_as_it_is_now(bucket, tmp_path):
    bucket.put("curve", b"1\n")
    store, address = open_store(place(bucket)), place(bucket, "curve")
    listed = store.entry(address)
    bucket.put("curve", b"1\n2\n")
    with pytest.raises(Damaged, match="replaced while it was fetched"):
        fetch_all(store, [(address, tmp_path / "curve", listed, None)])
    fetch_all(store, [(address, tmp_path / "curve", listed, None)], growing=True)
    assert (tmp_path / "curve").read_bytes() == b"1\n2\n"
    bucket.delete("curve")
    fetch_all(store, [(address, tmp_path / "gone", listed, None)], growing=True)
    assert not (tmp_path / "gone").exists()


def test_a_file_of_the_same_length_is_not_taken_for_the_object(bucket, tmp_path):
    bucket.put("law.json", b"0.31")
    entry, here = open_store(place(bucket)).entry(place(bucket, "law.json")), tmp_path / "law.json"
    assert not is_here(here, entry)
    here.write_bytes(b"0.29")
    assert not is_here(here, entry)
    here.write_bytes(b"0.31")
    assert is_here(here, entry)


def test_a_file_of_the_same_length_is_not_taken_for_the_object_at_googles_either(tmp_path):
    (tmp_path / "law.json").write_bytes(b"0.29")
    for content, same in ((b"0.29", True), (b"0.31", False)):
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        entry = stores._entry({"size": 4, "etag": "CKih16GjycICEAE=", "md5Hash": md5})
        assert is_here(tmp_path / "law.json", entry) is same


def test_a_sealed_folder_that_two_fetch_at_once_is_whole(bucket, tmp_path):
    folder = tmp_path / "from" / "model"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / name).write_bytes(os.urandom(20_000))
    store, parent = open_store(place(bucket)), place(bucket, "run")
    files = {f"model/{name}": path for name, path in files_of(folder).items()}
    send_sealed(store, parent, files, "model.sha256", seal_folder(folder))
    into = tmp_path / "to"
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(fetch_sealed, store, parent, "model", into) for _ in range(4)]:
            done.result()
    assert seal_folder(into / "model") == seal_folder(folder)
    assert [path.name for path in into.iterdir()] == ["model"]


def test_who_may_not_read_is_told_what_is_asked_for(bucket):
    bucket.put("x", b"hello")
    bucket.proxy.faults.append(Fault(reading, forbid, times=99))
    with pytest.raises(StoreError, match=r"the store refuses it .*AWS_ACCESS_KEY_ID"):
        open_store(place(bucket)).read(place(bucket, "x"))


@pytest.mark.parametrize("ask", ["entries", "names", "entry", "read"])
def test_a_bucket_that_is_not_there_is_named(bucket, ask):
    address = Address.parse("s3://no-such-bucket/x")
    with pytest.raises(StoreError, match="there is no bucket no-such-bucket"):
        getattr(open_store(address), ask)(address)
    with pytest.raises(StoreError, match="there is no bucket no-such-bucket"):
        open_store(address).write(address, b"")


def test_a_machine_without_credentials_is_told_so(bucket, monkeypatch, tmp_path):
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(key)
    for key in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(key, str(tmp_path / "none"))
    stores.forget()
    with pytest.raises(StoreError, match=r"no credentials on this machine .*AWS_PROFILE"):
        open_store(place(bucket)).read(place(bucket, "x"))


@pytest.mark.slow
def test_a_store_that_is_down_is_said_to_be(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(stores, "PAUSES", ())
    stores.forget()
    with pytest.raises(Unreachable, match=r"does not answer as it should .*Could not connect"):
        open_store(place(bucket)).read(place(bucket, "x"))


def test_without_the_package_the_command_that_installs_it_is_named():
    code = (
        "import sys; sys.modules['s3fs'] = sys.modules['gcsfs'] = None\n"
        "from chemscale.objects.address import Address; from chemscale.objects.store import open_store\n"
        "for each in ('s3://bucket/x', 'gs://bucket/x'):\n"
        "    try: open_store(Address.parse(each))\n"
        "    except ValueError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "s3://bucket/x: needs s3fs: pip install 'chemscale[s3]'.",
        "gs://bucket/x: needs gcsfs: pip install 'chemscale[gs]'.",
    ]


def test_what_has_no_address_loads_no_library_of_stores():
    code = (
        "import sys\n"
        "from chemscale.objects.address import local_place; from chemscale.objects import seals, sources\n"
        "import chemscale.fetching.hub as hub, chemscale.records\n"
        "local_place('runs'); hub.local_path('x.smi')\n"
        "print(sorted({'fsspec', 's3fs', 'gcsfs', 'botocore', 'aiohttp', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
