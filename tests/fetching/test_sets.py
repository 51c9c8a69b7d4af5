"""Sets: what is there is kept, what lies there is checked, two processes do not meet."""

import json
import logging
import multiprocessing
import threading
import time

import pytest

from chemscale.common.locks import file_lock
from chemscale.fetching.errors import FetchError
from chemscale.fetching.sets import Options, fetch_set
from tests.fetching.conftest import described, remote
from tests.helpers.file_server import says

BODY = b"smiles\nCCO\n"
OTHER = "0" * 32


def test_what_is_there_is_not_asked_for_again(server, fetch, caplog):
    caplog.set_level(logging.INFO)
    file = remote(server.host("/a", BODY))
    fetch(file)
    fetch(file)
    assert len(server.asked) == 1
    assert "no checksum is published; recorded sha256" in caplog.text
    assert "things: all there" in caplog.text


def test_a_file_without_a_checksum_must_stay_what_it_was_at_first_use(server, fetch, here):
    file = remote(server.host("/a", BODY))
    fetch(file)
    (here / "things.csv").unlink()
    server.host("/a", b"another")
    with pytest.raises(FetchError, match="not the file: its sha256 is"):
        fetch(file)
    assert not (here / "things.csv").exists()


def test_verify_notices_a_file_that_has_changed(server, fetch, here, caplog):
    caplog.set_level(logging.INFO)
    file = remote(server.host("/a", BODY))
    fetch(file)
    fetch(file, verify=True)
    assert "as it was fetched" in caplog.text
    (here / "things.csv").write_bytes(BODY.replace(b"O", b"N"))
    with pytest.raises(FetchError, match="has changed since it was fetched: its sha256"):
        fetch(file, verify=True)


def test_a_file_that_a_browser_brought_is_checked_and_taken_in(server, fetch, here, caplog):
    caplog.set_level(logging.INFO)
    here.mkdir()
    (here / "things.csv").write_bytes(BODY)
    fetch(remote(server.url("/a"), bytes=len(BODY)))
    assert not server.asked
    assert "nothing is published to check it by" in caplog.text
    (here / "manifest.json").unlink()
    with pytest.raises(FetchError, match=r"lies there and is not the file: its md5 .* Move it away"):
        fetch(remote(server.url("/a"), md5=OTHER))
    assert (here / "things.csv").read_bytes() == BODY  # it stays as it was


def test_a_registry_that_says_something_else_now_does_not_pass_for_the_old_file(server, fetch, here):
    import hashlib

    fetch(remote(server.host("/a", BODY), md5=hashlib.md5(BODY).hexdigest()))
    with pytest.raises(FetchError, match=r"the registry says 0000.* now"):
        fetch(remote(server.url("/a"), md5=OTHER))


def test_a_part_of_a_set_brings_what_belongs_to_any_part(server, fetch, here):
    one = remote(server.host("/a", BODY), path="rmd17_a.npz")
    two = remote(server.host("/b", BODY), path="rmd17_b.npz")
    splits = remote(server.host("/s", BODY), path="splits/s.csv", always=True)
    fetch(one, two, splits, only=["_b"])
    assert [path for path, _ in server.asked] == ["/b", "/s"]
    with pytest.raises(FetchError, match=r"--only zz: things has no such file, but rmd17_a\.npz"):
        fetch(one, two, splits, only=["zz"])


def test_files_that_came_are_kept_when_a_later_one_fails(server, fetch, here):
    with pytest.raises(FetchError):
        fetch(
            remote(server.host("/a", BODY), path="a.csv"),
            remote(server.host("/b", always=says(404)), path="b.csv"),
        )
    assert (here / "a.csv").read_bytes() == BODY
    assert list(json.loads((here / "manifest.json").read_text())["files"]) == ["a.csv"]


def test_an_unreadable_record_is_named(fetch, server, here):
    here.mkdir()
    (here / "manifest.json").write_text("{")
    with pytest.raises(FetchError, match=r"manifest\.json: not readable .* Move it away"):
        fetch(remote(server.host("/a", BODY)))


def test_who_fetches_is_said_and_waited_for(server, fetch, here, caplog):
    caplog.set_level(logging.INFO)
    file = remote(server.host("/a", BODY))
    with file_lock(here / ".fetch.lock") as lock:
        lock.write("process 7 on login1 since 2026-11-30 01:00:00\n")
        lock.flush()
        with pytest.raises(FetchError, match="things is being fetched by process 7 on login1"):
            fetch(file, wait=False)
        waiting = threading.Thread(target=fetch, args=(file,))
        waiting.start()
        while "waiting for it" not in caplog.text:
            time.sleep(0.01)
        assert not server.asked
    waiting.join()
    assert (here / "things.csv").read_bytes() == BODY


def in_process(url, home, begin):
    begin.wait()
    fetch_set(described(remote(url)), home, Options())


def test_two_processes_at_once_fetch_it_once(server, tmp_path):
    url = server.host("/a", BODY * 1000)
    context = multiprocessing.get_context("fork")
    begin = context.Barrier(2)
    workers = [context.Process(target=in_process, args=(url, tmp_path, begin)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(server.asked) == 1
    assert (tmp_path / "things/things.csv").read_bytes() == BODY * 1000


def test_plain_files_are_mirrors_too(tmp_path, fetch):
    (tmp_path / "mirror.csv").write_bytes(BODY)
    assert fetch(remote(f"file://{tmp_path}/mirror.csv"))[0].read_bytes() == BODY
    with pytest.raises(FetchError, match="No such file"):
        fetch(remote(f"file://{tmp_path}/none.csv", path="b.csv"))
