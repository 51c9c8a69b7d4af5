"""Parts that are merged into runs before they are encoded give the same corpus, however interrupted."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from chemscale.molecules.preparation import build as building
from chemscale.molecules.preparation import merging
from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.conditions.request import ConditionRequest
from chemscale.molecules.preparation.merging import Group, merge_group
from chemscale.molecules.preparation.sharing import work
from chemscale.molecules.preparation.sharing.work import Shared
from chemscale.molecules.preparation.stages import PART_DTYPE

CONDITIONS = ConditionRequest(("measured", "QED"), 4)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def rows(smiles, tmp_path_factory):
    """Molecules with a number each, duplicates with another number, and rows that are dropped."""
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    texts = [*smiles[:150], "C1C", *smiles[:150:3], "[*]"]
    path.write_text("smiles,measured\n" + "".join(f"{t},{n * 7 % 31}\n" for n, t in enumerate(texts)))
    return path


@pytest.fixture(scope="module")
def plain(rows, tmp_path_factory):
    """Without conditions and with: what is left where nothing is merged."""
    folder = tmp_path_factory.mktemp("plain")
    return {
        conditions: contents(build_corpus([rows], folder / str(n), workers=1, conditions=conditions).path)
        for n, conditions in enumerate((None, CONDITIONS))
    }


@pytest.fixture
def many(monkeypatch):
    """Some 25 parts, merged by threes in slabs of a few rows."""
    monkeypatch.setattr(building, "CHUNK_ROWS", 8)
    monkeypatch.setattr(building, "BUCKET_BYTES", 1024)
    monkeypatch.setattr(merging, "GROUP", 3)
    monkeypatch.setattr(merging, "MERGE_ABOVE", 4)
    monkeypatch.setattr(merging, "SLAB_ROWS", 5)
    monkeypatch.setattr(work, "POLL_SECONDS", 0.05)


@pytest.fixture
def merged(monkeypatch):
    """Notes of what is merged, here."""
    noted = []
    function = merging.merge_group
    monkeypatch.setattr(merging, "merge_group", lambda group: noted.append(group) or function(group))
    return noted


@pytest.mark.parametrize("conditions", [None, CONDITIONS], ids=["plain", "conditions"])
def test_merged_parts_give_the_same_bytes(conditions, rows, plain, many, merged, tmp_path, monkeypatch):
    seen = {}
    function = building.finish

    def look(*arguments):
        seen["left"] = [path.name for path in (tmp_path / "corpus" / ".build").iterdir()]
        function(*arguments)

    monkeypatch.setattr(building, "finish", look)
    made = build_corpus([rows], tmp_path / "corpus", workers=1, conditions=conditions)
    assert len(merged) > 5
    assert contents(made.path) == plain[conditions]
    assert not [name for name in seen["left"] if name.startswith("part-")], "their disk is free"
    assert sum(name.startswith("run-") and name.endswith(".smi") for name in seen["left"]) == len(merged)


def test_few_parts_are_not_merged(rows, plain, many, merged, tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "MERGE_ABOVE", 1000)
    assert contents(build_corpus([rows], tmp_path / "corpus", workers=1).path) == plain[None]
    assert merged == []


@pytest.mark.parametrize("left", ["half of the parts of its run", "all parts of its run", "no part"])
def test_a_merge_that_was_killed_goes_on(left, rows, plain, many, tmp_path, monkeypatch):
    target = tmp_path / "corpus"

    def die(group):
        write = merging._write_run
        if group.target.name == "run-of-3-000002.npy":
            if left == "no part":
                merge(group)
            elif left == "half of the parts of its run":
                write(group)
                group.parts[0].unlink()
            else:
                merging._merge_slab = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
                write(group)
            os.kill(os.getpid(), signal.SIGKILL)
        return merge(group)

    merge = merging.merge_group
    child = os.fork()
    if child == 0:
        try:
            merging.merge_group = die
            build_corpus([rows], target, workers=1)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len(list(target.glob(".build/run-*.npy"))) == (2 if left == "all parts of its run" else 3)
    done = []
    function = building.standardize_chunk
    monkeypatch.setattr(building, "standardize_chunk", lambda chunk: done.append(chunk) or function(chunk))
    assert contents(build_corpus([rows], target, workers=1).path) == plain[None]
    assert done == [], "no chunk is standardised again"


def test_processes_that_share_merge_together(rows, plain, many, tmp_path):
    target = tmp_path / "corpus"

    def run(name):
        function = merging._write_run

        def noted(group):
            found = function(group)
            (tmp_path / f"{group.target.stem}.{name}").touch()
            return found

        merging._write_run = noted
        build_corpus([rows], target, workers=1, conditions=None, work=Shared(name))

    children = []
    for name in ("a", "b", "c"):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run(name)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert contents(target) == plain[None]
    merged = [path.stem for path in tmp_path.glob("run-*")]
    assert len(merged) == len(set(merged)) > 5


def two_parts(folder, far=0):
    """A group of two parts, whose text begins that far into its file."""
    for number, (hashes, texts) in enumerate(([(1, 5), (b"CC", b"CCO")], [(3, 9), (b"N", b"O")])):
        path = folder / f"part-{number:06d}.npy"
        index = np.zeros(2, PART_DTYPE)
        index["hash"], index["row"], index["heavy"] = hashes, (2 * number, 2 * number + 1), (1, 2)
        index["length"] = [len(text) for text in texts]
        index["start"] = [far, far + len(texts[0])]
        np.save(path, index)
        with open(path.with_suffix(".smi"), "wb") as file:
            file.seek(far)
            file.write(b"".join(texts))
        path.with_suffix(".dropped").write_text("")
    return Group(folder / "run-of-2-000000.npy", tuple(sorted(folder.glob("part-*.npy"))))


def test_a_run_that_a_network_file_system_does_not_show_yet_is_no_failure(tmp_path, monkeypatch):
    group = two_parts(tmp_path)
    merge_group(group)
    monkeypatch.setattr(Path, "exists", lambda path: False)  # what it saw some time ago
    assert merge_group(group) == 0


def test_a_run_that_others_may_read_is_not_replaced(tmp_path, monkeypatch):
    group, merge = two_parts(tmp_path), merging._merge_slab

    def be_slow(*arguments):
        group.target.write_text("of another process")
        return merge(*arguments)

    monkeypatch.setattr(merging, "_merge_slab", be_slow)
    assert merge_group(group) == 0
    assert group.target.read_text() == "of another process"
    assert sorted(path.name for path in tmp_path.glob("*run-*")) == [group.target.name]


def test_runs_hold_more_text_than_parts_can_count(tmp_path, monkeypatch):
    """Starts of a run have 64 bits: here two parts whose text lies behind 3 GiB of a sparse file each."""
    group = two_parts(tmp_path, far=3 << 30)
    assert merge_group(group) == 4
    assert merge_group(group) == 0
    run = np.load(group.target)
    text = group.target.with_suffix(".smi").read_bytes()
    assert run["start"].dtype == np.uint64
    assert [text[s : s + n].decode() for s, n in zip(run["start"], run["length"], strict=True)] == [
        "CC", "N", "CCO", "O",
    ]  # fmt: skip
    assert run["row"].tolist() == [0, 2, 1, 3]
    assert not list(tmp_path.glob("part-*"))
