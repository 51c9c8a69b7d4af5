"""Processes that share a build leave the bytes of one, whoever is killed, late, slow or wrong."""

import itertools
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from chemscale.molecules.corpus import Corpus, CorpusError
from chemscale.molecules.preparation import build as building
from chemscale.molecules.preparation import finishing, stages
from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.conditions.request import ConditionRequest
from chemscale.molecules.preparation.request import Request
from chemscale.molecules.preparation.sharing import members, work
from chemscale.molecules.preparation.sharing.work import Shared
from chemscale.molecules.preparation.sources import Source, SourceError
from chemscale.molecules.preparation.standardize import Policy, standardize


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def rows(smiles, tmp_path_factory):
    """Molecules, duplicates that fall into other chunks, and rows that are dropped."""
    path = tmp_path_factory.mktemp("rows") / "rows.smi"
    texts = smiles[:200]
    path.write_text("".join(f"{text}\n" for text in [*texts, "C1C", *texts[::3], "[*]"]))
    return path


@pytest.fixture(scope="module")
def alone(rows, tmp_path_factory):
    """What one process leaves that shares with nobody, in few chunks."""
    return contents(build_corpus([rows], tmp_path_factory.mktemp("alone"), workers=1).path)


@pytest.fixture
def small(monkeypatch):
    """Many chunks and buckets, and little patience."""
    monkeypatch.setattr(building, "CHUNK_ROWS", 8)
    monkeypatch.setattr(building, "BUCKET_BYTES", 1024)
    monkeypatch.setattr(work, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(members, "BEAT_SECONDS", 0.1)


def share(rows, target, name="one", **options):
    own = Shared(name, options.pop("session", "night"))
    return build_corpus([rows], target, workers=options.pop("workers", 1), work=own, **options), own


def fork(call) -> int:
    """A child that does something: status 0, or 2 for an error that is the user's."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            call()
            status = 0
        except ValueError as error:
            print(error, flush=True)
            status = 2
        finally:
            os._exit(status)
    return child


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def slowly(module, name: str, seconds: float, note=None):
    """Let a function of a stage take time, and note before what it is to do."""
    function = getattr(module, name)

    def slow(task):
        time.sleep(seconds)
        if note is not None:
            note(task)
        return function(task)

    setattr(module, name, slow)


def test_four_processes_of_which_some_are_killed_leave_the_bytes_of_one(rows, alone, small, tmp_path):
    target, chance = tmp_path / "shared", random.Random(7)

    def run():
        slowly(building, "standardize_chunk", 0.06)
        slowly(building, "encode_bucket", 0.06)
        share(rows, target, str(os.getpid()))

    running = {fork(run) for _ in range(4)}
    killed = 0
    deadline = time.monotonic() + 60
    while running and time.monotonic() < deadline:
        time.sleep(chance.uniform(0.05, 0.25))
        if not (target / "manifest.json").exists() and killed < 8:
            victim = chance.choice(sorted(running))
            os.kill(victim, signal.SIGKILL)
            if status_of(victim) != -signal.SIGKILL:
                running.remove(victim)  # it had ended
                continue
            killed += 1
            running = running - {victim} | {fork(run)}
            continue
        assert {status_of(child) for child in running} == {0}
        running = set()
    assert killed >= 3
    assert contents(target) == alone
    assert not (target / ".build").exists()


def test_each_chunk_and_bucket_is_done_by_one_of_them_and_all_have_some(rows, alone, small, tmp_path):
    target, noted = tmp_path / "shared", tmp_path / "noted"
    noted.mkdir()

    def run(number):
        def note(task):
            kind, path = type(task).__name__, getattr(task, "path", None)
            if not (path or stages.part_path(task.folder, task.number)).exists():
                (noted / f"{kind}-{task.number}-{number}").touch()

        slowly(building, "standardize_chunk", 0.02, note)
        slowly(building, "encode_bucket", 0.02, note)
        share(rows, target, str(number))

    children = [fork(lambda n=n: run(n)) for n in range(3)]
    assert [status_of(child) for child in children] == [0, 0, 0]
    done = [path.name.split("-") for path in noted.iterdir()]
    for kind in ("Chunk", "Bucket"):
        assert set(Counter(number for k, number, _ in done if k == kind).values()) == {1}
        assert {who for k, _, who in done if k == kind} == {"0", "1", "2"}


def test_what_a_dead_process_claimed_is_taken_over_and_the_rest_is_left_to_the_living(
    rows, alone, small, tmp_path
):
    target = tmp_path / "shared"

    def die_in_the_third_chunk():
        function = building.standardize_chunk

        def stop(chunk):
            if chunk.number == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(chunk)

        building.standardize_chunk = stop
        share(rows, target)

    assert status_of(fork(die_in_the_third_chunk)) == -signal.SIGKILL
    claims = target / ".build" / "sharing" / "claims"
    assert [path.name for path in claims.iterdir()] == ["part-000002"]
    made, own = share(rows, target)
    assert own.finished
    assert contents(made.path) == alone


@pytest.mark.parametrize("columns", [(), ("measured",)], ids=["plain", "columns"])
def test_chunks_that_were_lost_are_read_again_and_files_without_them_are_not_opened(
    columns, smiles, small, tmp_path, monkeypatch
):
    """Fourteen files of 15 rows, chunks of 8: several chunks lie in two files."""
    folder = tmp_path / "files"
    folder.mkdir()
    for n in range(14):
        lines = [f"{text},{i}" for i, text in enumerate(smiles[15 * n : 15 * n + 15])]
        (folder / f"{n:02d}.csv").write_text("\n".join(["smiles,measured", *lines]) + "\n")
    files = sorted(folder.iterdir())
    conditions = ConditionRequest(columns) if columns else None
    whole = build_corpus(files, tmp_path / "whole", workers=1, conditions=conditions)
    target, lost = tmp_path / "shared", (5, 6, 25)
    function, opened = building.standardize_chunk, []

    def lose(chunk):
        """As if the process that claimed them had died after this one had passed them."""
        if chunk.number in lost and not opened:
            return 0
        return function(chunk)

    again = building._Stream.again

    def watched(stream, wanted):
        assert set(wanted) == set(lost)
        opened.append("again")
        monkeypatch.setattr(
            Source, "rows", lambda source: opened.append(source.entry.path.name) or read(source)
        )
        return again(stream, wanted)

    read = Source.rows
    monkeypatch.setattr(building, "standardize_chunk", lose)
    monkeypatch.setattr(building._Stream, "again", watched)
    own = Shared("one")
    made = build_corpus(files, target, workers=1, conditions=conditions, work=own)
    assert contents(made.path) == contents(whole.path)
    assert opened[0] == "again"
    if not columns:  # rows 40 to 55 and 200 to 207
        assert opened[1:] == ["02.csv", "03.csv", "13.csv"]


def test_a_process_of_another_machine_is_dead_when_its_count_stands_still(small, tmp_path, monkeypatch):
    monkeypatch.setattr(members, "LEASE_SECONDS", 0.4)
    me = members.Members(tmp_path)
    beat = {"machine": "another", "pid": os.getpid(), "started": 1, "count": 1}

    def says(count):
        (tmp_path / "far.beat").write_text(json.dumps({**beat, "count": count}))

    for count in range(8):  # longer than the lease in all
        says(count)
        assert me.is_alive("far")
        time.sleep(0.1)
    time.sleep(0.5)
    assert not me.is_alive("far")
    says(9)
    assert me.is_alive("far"), "it was only slow"
    (tmp_path / "far.beat").write_text("")
    assert me.is_alive("far"), "half written on another machine"
    (tmp_path / "far.beat").unlink()
    assert not me.is_alive("far")
    me.close()


def test_only_one_of_many_takes_over_from_the_dead(small, tmp_path):
    target = tmp_path / "corpus"
    folder = target / ".build"
    own = Shared("first")
    own.begin(folder, target)
    os.symlink("nobody-1-abc", folder / "sharing" / "claims" / "part-000000")

    def take():
        other = Shared("other")
        other.begin(folder, target)
        got = other.claim("part-000000")
        time.sleep(1.0)  # alive, so that the others see a claim of the living
        os._exit(int(got))

    assert sorted(status_of(child) for child in [fork(take) for _ in range(6)]) == [0] * 5 + [1]
    own.end()


def test_a_bad_row_at_the_end_ends_all_with_the_same_message(rows, small, tmp_path, capfd):
    path = tmp_path / "bad.smi"
    path.write_bytes(rows.read_bytes() + b"C\xffC\n")
    target = tmp_path / "shared"
    children = [fork(lambda n=n: share(path, target, f"task {n}")) for n in range(3)]
    assert [status_of(child) for child in children] == [2, 2, 2]
    said = capfd.readouterr().out.splitlines()
    assert len(said) == 3
    line = len(path.read_bytes().splitlines())
    assert all(f"bad.smi, line {line}: byte 0xFF is not UTF-8" in text for text in said)


def test_a_failure_of_one_in_the_encoding_ends_those_that_wait(rows, alone, small, tmp_path, capfd):
    target = tmp_path / "shared"

    def fail():
        def refuse(*_):
            time.sleep(0.5)
            raise CorpusError("bucket 3 is cursed.")

        stages.symbols_of = refuse
        share(rows, target, "task 0")

    def go_on():
        slowly(building, "encode_bucket", 0.3)
        share(rows, target, "task 1")

    children = [fork(fail), fork(go_on)]
    assert [status_of(child) for child in children] == [2, 2]
    said = sorted(capfd.readouterr().out.splitlines())
    assert said == ["bucket 3 is cursed.", "bucket 3 is cursed. (task 0 met this; all end with it.)"]
    made, _ = share(rows, target, session="next night")
    assert contents(made.path) == alone


def test_a_process_whose_worker_is_killed_ends_alone_and_the_others_finish(rows, alone, small, tmp_path):
    target = tmp_path / "shared"

    def lose_a_worker():
        def broken(*_):
            raise work.BrokenExecutor("a worker was killed")

        building.map_claimed = broken
        share(rows, target)

    child = fork(lose_a_worker)
    made, own = share(rows, target)
    assert status_of(child) == 1
    assert own.finished
    assert contents(made.path) == alone


def test_too_few_molecules_end_all_and_leave_no_parts(small, tmp_path, capfd):
    path = tmp_path / "one.smi"
    path.write_text("CCO\nOCC\n" * 30)
    target = tmp_path / "shared"
    children = [fork(lambda n=n: share(path, target, f"task {n}")) for n in range(2)]
    assert [status_of(child) for child in children] == [2, 2]
    said = capfd.readouterr().out
    assert said.count("too few to train on") == 2
    assert not list(target.glob("**/part-*.npy"))
    assert not list(target.glob("*.csv.gz"))


def test_one_that_does_not_share_waits_for_those_that_do_and_takes_up_what_they_left(
    rows, alone, small, tmp_path
):
    target = tmp_path / "corpus"

    def run(status):
        slowly(building, "encode_bucket", 0.05)
        share(rows, target, "shares")

    child = fork(lambda: run(0))
    while not (target / ".build" / "sharing").exists():
        time.sleep(0.02)
    started = []

    def alone():
        building._build = lambda *_: started.append(1)
        build_corpus([rows], target, workers=1)
        os._exit(5 if started else 0)

    waiter = fork(alone)
    assert status_of(child) == 0
    assert status_of(waiter) == 0, "it opened what the other had made"


def test_a_build_that_one_process_began_is_gone_on_with_by_several(rows, alone, small, tmp_path, monkeypatch):
    target = tmp_path / "corpus"
    with monkeypatch.context() as patch:
        function, count = building.standardize_chunk, itertools.count()

        def stop(chunk):
            if next(count) == 10:
                raise KeyboardInterrupt
            return function(chunk)

        patch.setattr(building, "standardize_chunk", stop)
        with pytest.raises(KeyboardInterrupt):
            build_corpus([rows], target, workers=1)
    assert len(list(target.glob(".build/part-*.npy"))) == 10
    worked = []
    monkeypatch.setattr(stages, "standardize", lambda *a: worked.append(1) or standardize(*a))
    share(rows, target)
    assert len(worked) == len(rows.read_text().splitlines()) - 10 * 8
    assert contents(target) == alone


def test_one_that_was_taken_for_dead_and_still_writes_harms_nobody_and_opens_what_the_other_made(
    rows, alone, small, tmp_path
):
    target = tmp_path / "corpus"

    def write_slowly(seconds, note=None):
        function = finishing.write_bucket

        def slow(*arguments):
            if note is not None:
                (tmp_path / note).touch()
            time.sleep(seconds)
            function(*arguments)

        finishing.write_bucket = slow

    def first():
        write_slowly(0.15, "begun")
        share(rows, target, "first")

    def second():
        write_slowly(0.03)
        members.Members.is_alive = lambda self, name: name == self.name
        share(rows, target, "second")

    children = [fork(first)]
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    children.append(fork(second))
    assert [status_of(child) for child in children] == [0, 0]
    Corpus.open(target).verify()
    assert contents(target) == alone


@pytest.mark.parametrize("lost", ["all", "some", "while they are written"])
def test_who_was_taken_for_dead_names_no_corpus_whose_files_another_has_removed(
    lost, rows, small, tmp_path, monkeypatch
):
    path, target = tmp_path / "few.smi", tmp_path / "corpus"
    path.write_text("".join(rows.read_text().splitlines(keepends=True)[:40]))
    function, seen = finishing._write, []

    def taken_over(*arguments):
        found, staged = function(*arguments), arguments[-1]
        if not seen:
            claim = target / ".build" / "sharing" / "claims" / "finish"
            claim.unlink()
            claim.symlink_to("another-1-abc")
            (staged / "train-tokens-00000.bin").unlink() if lost == "some" else shutil.rmtree(staged)
        seen.append(staged)
        if lost == "while they are written" and len(seen) == 1:
            raise Exception("No such file or directory (os error 2)")  # as the package tokenizers has it
        return found

    monkeypatch.setattr(finishing, "_write", taken_over)
    share(path, target, validation_fraction=0.3)
    Corpus.open(target).verify()
    assert len(seen) == 2, "it took the work up again"


def test_who_was_taken_for_dead_removes_no_shards_of_who_took_over(tmp_path, monkeypatch):
    folder, target = tmp_path / ".build", tmp_path
    late, other = Shared("late"), Shared("other")
    for each in (late, other):
        each.begin(folder, target)
    monkeypatch.setattr(members.Members, "is_alive", lambda self, name: name == self.name)
    assert late.claim("finish")
    assert other.claim("finish")
    shards = other.staging(target)
    assert late.staging(target) != shards
    assert shards.exists()
    assert other.staging(target) != shards
    assert not shards.exists(), "of its first attempt"
    for each in (late, other):
        each.end()


def test_files_that_others_remove_hide_no_reason_to_give_up(tmp_path, monkeypatch):
    own, target, listed = Shared("one"), tmp_path / "corpus", Path.iterdir
    own.begin(target / ".build", target)
    (target / ".build" / "bucket-000000.npy").touch()
    monkeypatch.setattr(Path, "iterdir", lambda path: [path / "gone", *listed(path)])
    own.give_up(target, CorpusError("too few"))
    own.end()
    assert not (target / ".build" / "bucket-000000.npy").exists()


def test_a_claim_that_was_taken_over_is_let_go_by_its_new_owner_only(tmp_path):
    own = Shared("one")
    own.begin(tmp_path / ".build", tmp_path)
    assert own.claim("part-000000")
    claim = tmp_path / ".build" / "sharing" / "claims" / "part-000000"
    claim.unlink()
    claim.symlink_to("another-1-abc")
    own.release("part-000000")
    own.end()
    assert os.readlink(claim) == "another-1-abc"


def test_a_corpus_that_a_network_file_system_does_not_show_yet_is_no_failure(rows, tmp_path, monkeypatch):
    target = tmp_path / "corpus"
    target.mkdir()

    def stages(*_):
        (target / "manifest.json").write_text("{}")  # by another, who has removed the folder of the build
        raise FileNotFoundError

    monkeypatch.setattr(building, "_stages", stages)
    monkeypatch.setattr(Path, "exists", lambda path: path.name != "manifest.json" and os.path.exists(path))
    request = Request((rows,), Policy(), None, 0.02, None)
    building._build(request, {}, target, 1, Shared("late"))
    assert not os.path.exists(target / ".build")


def test_workers_of_processes_that_share_give_the_same_bytes(rows, alone, small, tmp_path, monkeypatch):
    made, _ = share(rows, tmp_path / "two", workers=2)
    assert contents(made.path) == alone


def test_a_file_that_is_no_file_of_molecules_is_refused_at_once(small, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SourceError):
        share(path, tmp_path / "corpus")
