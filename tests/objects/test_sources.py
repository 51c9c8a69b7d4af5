"""Sources at an address are fetched once, again when they change, and read as files are."""

import glob
import json
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from chemscale.common.locks import file_lock
from chemscale.common.paths import cache_folder
from chemscale.fetching.hub import local_path
from chemscale.objects import store as stores
from chemscale.objects.address import Address
from chemscale.objects.sources import LISTED, is_meant
from tests.helpers.object_stores import Fault, cut, free_port
from tests.helpers.preloaded import python

SMILES = "CCO\nCCN\nc1ccccc1\nCC(=O)O\nCCCl\nCCBr\nCNC\nCOC\n"


def fetched(bucket, which):
    found = sorted(glob.glob(local_path(f"{bucket.url}/{which}"), recursive=True))
    return [Path(each).name for each in found]


def gets(bucket):
    asked = [path for method, path in bucket.proxy.asked if method == "GET" and "list-type" not in path]
    bucket.proxy.asked.clear()
    return [path.split("?")[0].rsplit("/", 1)[-1] for path in asked]


def test_files_of_a_pattern_are_fetched_once_and_again_when_they_change(bucket):
    for name in ("a.smi", "b.smi", "b.csv", "deep/c.smi"):
        bucket.put(f"molecules/{name}", name.encode())
    assert fetched(bucket, "molecules/*.smi") == ["a.smi", "b.smi"]
    assert sorted(gets(bucket)) == ["a.smi", "b.smi"]
    assert fetched(bucket, "molecules/*.smi") == ["a.smi", "b.smi"]
    assert gets(bucket) == []
    bucket.put("molecules/a.smi", b"A.smi")  # as long as before
    bucket.delete("molecules/b.smi")
    assert fetched(bucket, "molecules/*.smi") == ["a.smi"]
    assert gets(bucket) == ["a.smi"]
    assert Path(local_path(f"{bucket.url}/molecules/a.smi")).read_bytes() == b"A.smi"
    assert gets(bucket) == []
    assert fetched(bucket, "molecules/**/*.smi") == ["a.smi", "c.smi"]


def test_a_file_or_a_folder_may_be_named(bucket):
    bucket.put("molecules/a.smi", b"CCO")
    bucket.put("molecules/deep/.hidden", b"")
    folder = Path(local_path(f"{bucket.url}/molecules"))
    assert [each.name for each in folder.rglob("*") if each.is_file()] == ["a.smi"]
    with pytest.raises(FileNotFoundError, match=r"data.path=s3://.*/other: the store has no such file"):
        local_path(f"{bucket.url}/other")


def test_a_file_that_came_in_part_is_not_taken_for_whole(bucket, monkeypatch):
    bucket.put("a.smi", b"C" * 5000)
    monkeypatch.setattr(stores, "PAUSES", ())
    fault = Fault(lambda method, path: method == "GET" and "a.smi" in path, cut(100), times=99)
    bucket.proxy.faults.append(fault)
    with pytest.raises(ValueError, match="does not answer as it should"):
        local_path(f"{bucket.url}/a.smi")
    assert not list(Path(bucket.environment["CHEMSCALE_CACHE"]).rglob("a.smi"))
    fault.times = 0
    assert Path(local_path(f"{bucket.url}/a.smi")).stat().st_size == 5000


@pytest.mark.slow
def test_what_was_fetched_serves_where_the_store_is_silent(bucket, monkeypatch, caplog):
    bucket.put("a.smi", b"CCO")
    local_path(f"{bucket.url}/a.smi")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(stores, "PAUSES", ())
    stores.forget()
    assert Path(local_path(f"{bucket.url}/a.smi")).read_bytes() == b"CCO"
    assert "Using what was fetched before" in caplog.text


@pytest.mark.parametrize(
    "pattern",
    ["*.smi", "a?.smi", "[ab]*.smi", "[!a]*.smi", "[a-c].smi", "p-[0-9].smi", "[]a].smi", "x[.smi",
     "**/*.smi", "d/**", "**/d/*.smi", "*/*.smi", "d*"],
)  # fmt: skip
def test_a_pattern_means_what_it_means_on_a_disk(pattern, tmp_path):
    names = ["a.smi", "a1.smi", "b.smi", "b2.smi", "x.smi", "axsmi", "p-3.smi", "p--.smi", "].smi", "x[.smi",
             "d/a.smi", "d/e/x.smi", "e/d/b.smi"]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {Path(each) for each in glob.glob(pattern, root_dir=tmp_path, recursive=True)}
    wanted = {name for name in names if found & {Path(name), *Path(name).parents}}
    address = Address("s3", "bucket", pattern)
    assert {name for name in names if is_meant(address, name)} == wanted


def test_what_is_gone_in_the_store_is_not_read_whatever_brought_it(bucket):
    for name in ("a.smi", "b.smi", "part-1.smi", "deep/c.smi"):
        bucket.put(f"molecules/{name}", name.encode())
    assert fetched(bucket, "molecules/**/*.smi") == ["a.smi", "b.smi", "c.smi", "part-1.smi"]
    bucket.delete("molecules/b.smi")
    bucket.delete("molecules/deep/c.smi")
    folder = Path(local_path(f"{bucket.url}/molecules"))
    assert sorted(path.name for path in folder.rglob("*.smi")) == ["a.smi", "part-1.smi"]
    assert fetched(bucket, "molecules/part-[0-9].smi") == ["part-1.smi"]
    whole = Path(local_path(bucket.url))
    assert (whole / "molecules" / "a.smi").read_bytes() == b"a.smi"


def test_who_waits_for_another_process_says_so(bucket, caplog):
    bucket.put("molecules/one.smi", b"CCO\n")
    caplog.set_level("INFO", "chemscale")
    lock = cache_folder() / "sources" / "s3" / bucket.name / LISTED / ".lock"
    with ThreadPoolExecutor(1) as pool:
        with file_lock(lock):
            asked = pool.submit(fetched, bucket, "molecules/*.smi")
            until = time.monotonic() + 10
            while "waiting for it" not in caplog.text and time.monotonic() < until:
                time.sleep(0.02)
        assert asked.result() == ["one.smi"]
    assert f"Another process fetches files of {bucket.name}: waiting for it." in caplog.text


def prepare(bucket, folder, *arguments):
    folder.mkdir(exist_ok=True)
    command = [python(), "-m", "chemscale.prepare", "data.prepare_workers=1", *arguments]
    environment = {**bucket.environment, "CHEMSCALE_CACHE": str(folder / "cache")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_corpus_is_prepared_once_for_all_machines(bucket, tmp_path):
    bucket.put("molecules/one.smi", SMILES.encode())
    wanted = ("data=smiles", f"data.path={bucket.url}/molecules/*.smi", f"corpora={bucket.url}/corpora")
    first = prepare(bucket, tmp_path / "one", *wanted, "report=true")
    assert first.returncode == 0, first.stderr
    assert "Written to s3://" in first.stderr
    (seal,) = (key for key in bucket.listed() if key.endswith(".sha256"))
    pages = {f"{seal.removesuffix('.sha256')}/report.{kind}" for kind in ("html", "json")}
    for page in pages:
        bucket.put(page, bucket.get(page) + b"\n")  # made anew by another version: no seal breaks of it
    listed = [line.split("  ")[1] for line in bucket.get(seal).decode().splitlines()]
    assert {f"corpora/{name}" for name in listed} == {
        key for key in bucket.listed() if key.startswith("corpora/") and key not in {seal, *pages}
    }
    second = prepare(bucket, tmp_path / "two", *wanted)
    assert second.returncode == 0, second.stderr
    assert "Preparing" in first.stderr
    assert "Preparing" not in second.stderr
    (manifest,) = (tmp_path / "two").glob("cache/objects/s3/*/corpora/*/manifest.json")
    assert json.loads(manifest.read_text()) == json.loads(
        bucket.get(f"{seal.removesuffix('.sha256')}/manifest.json")
    )
    damaged = next(key for key in bucket.listed() if key.endswith((".bin", ".npy")))
    bucket.put(damaged, b"\0" * len(bucket.get(damaged)))
    third = prepare(bucket, tmp_path / "three", *wanted)
    assert third.returncode != 0
    assert f"{bucket.url}/{damaged}: has the SHA-256" in third.stderr


def frames(count):
    """An extended XYZ file of water, stretched."""
    lines = []
    for number in range(count):
        far = 0.96 + 0.01 * number
        lines += ["3", f'Properties=species:S:1:pos:R:3:forces:R:3 energy={-100 + far} pbc="F F F"']
        lines += ["O 0 0 0 0 0 0", f"H {far} 0 0 0.1 0 0", f"H 0 {far} 0 0 0.1 0"]
    return "\n".join([*lines, ""]).encode()


@pytest.mark.slow
def test_a_store_of_structures_is_prepared_once_for_all_machines(bucket, tmp_path):
    bucket.put("dft/water.extxyz", frames(20))
    wanted = ("data=structures", f"data.path={bucket.url}/dft", f"structures={bucket.url}/stores", "lint=off")
    first, second = (prepare(bucket, tmp_path / name, *wanted) for name in ("one", "two"))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "Written to s3://" in first.stderr
    assert "Written to" not in second.stderr
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("cache/objects/s3/*/stores/*/*.npy")}
        for name in ("one", "two")
    )
    assert one
    assert one == two


def test_what_is_counted_beside_a_corpus_while_it_is_sent_does_not_break_its_seal(bucket):
    from chemscale.molecules.storage.tables import write_tables
    from chemscale.objects.address import local_place
    from chemscale.objects.seals import fetch_folder, publish_folder

    folder = local_place(f"{bucket.url}/corpora/one")
    folder.mkdir(parents=True)
    (folder / "tokens.bin").write_text("a")

    index = folder / "index" / "blocks-0.index"
    write_tables(index, {}, [np.arange(3)])

    def count(method, path):
        if method == "PUT":
            write_tables(index, {}, [np.arange(5 + len(bucket.proxy.asked))])
        return False

    bucket.proxy.faults.append(Fault(count, cut(0)))
    assert publish_folder(folder)
    assert [key for key in bucket.listed() if "index" in key] == []
    shutil.rmtree(folder)
    assert fetch_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["tokens.bin"]


def test_a_sealed_folder_that_lost_a_file_is_refused(bucket, tmp_path):
    from chemscale.objects.address import local_place
    from chemscale.objects.errors import Damaged
    from chemscale.objects.seals import fetch_folder, publish_folder

    folder = local_place(f"{bucket.url}/corpora/one")
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / name).write_text(name)
    assert publish_folder(folder)
    assert not publish_folder(folder)
    bucket.put("corpora/one/b", b"B")
    shutil.rmtree(folder)
    with pytest.raises(Damaged, match=r"one/b: has the SHA-256 .* Remove one.sha256 there to do without"):
        fetch_folder(folder)
    bucket.delete("corpora/one/b")
    with pytest.raises(Damaged, match=r"corpora/one/b: missing, although one.sha256 names it"):
        fetch_folder(folder)
    assert not folder.exists()


def test_neighbours_that_grow_beside_a_store_are_neither_sealed_nor_sent(bucket):
    from chemscale.objects.address import local_place
    from chemscale.objects.seals import publish_folder

    folder = local_place(f"{bucket.url}/stores/one")
    (folder / "edges-5").mkdir(parents=True)
    (folder / "edges-5" / "train.pairs").write_bytes(b"1234")
    (folder / "manifest.json").write_text("{}")
    assert publish_folder(folder)
    assert bucket.listed() == ["stores/one.sha256", "stores/one/manifest.json"]


def test_a_run_finds_its_store_at_an_address_again(bucket, tmp_path, monkeypatch):
    from chemscale.objects.address import local_place
    from chemscale.points.data import open_or_prepare_structures, read_structure_data
    from chemscale.points.trained.evaluation.run import _store_of
    from chemscale.points.uncertainty.frames import RunFrames
    from chemscale.records import Parameters, RunRecord

    (tmp_path / "water.extxyz").write_bytes(frames(20))
    monkeypatch.chdir(tmp_path)
    data = {"source": "structures", "path": str(tmp_path / "water.extxyz"), "references": "none"}
    place = f"{bucket.url}/stores"
    store = open_or_prepare_structures(read_structure_data(data), local_place(place))
    one = Parameters(1, 1, 1, 1)
    record = RunRecord(
        "i", "s", "schnet", "n", {"data": data, "structures": place}, {}, None, store.hash, 0, one
    )
    assert _store_of(tmp_path, record).path == store.path
    assert RunFrames.of("run", record).store.path == store.path
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cache", "water.extxyz"]
