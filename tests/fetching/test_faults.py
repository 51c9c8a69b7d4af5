"""Every fault that a server plays is said by its name, and nothing half-written is taken for whole."""

import contextlib
import errno
import gzip
import hashlib
import json
import logging
import multiprocessing
import socket
import threading
import time
from urllib.request import Request

import pytest

from chemscale.fetching.errors import FetchError, Refused
from chemscale.fetching.registry import Mirror, RemoteFile
from chemscale.fetching.sets import fetch_set
from chemscale.fetching.transfer import download as downloading
from chemscale.fetching.transfer.transport import TOKENS, _Redirections
from tests.fetching.conftest import described, remote
from tests.helpers.file_server import CHALLENGE, cut_off, says

BODY = b"smiles\n" + b"C" * 3000 + b"\n"
MD5 = hashlib.md5(BODY).hexdigest()
PAGE = b"  <!DOCTYPE html>\n<html><body>Sign in</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 84482588\n"


def test_a_file_comes_whole_and_is_recorded(server, fetch, here):
    paths = fetch(remote(server.host("/a", BODY), bytes=len(BODY), md5=MD5))
    assert paths == [here / "things.csv"]
    assert paths[0].read_bytes() == BODY
    manifest = json.loads((here / "manifest.json").read_text())
    assert manifest["licence"] == "CC0"
    assert manifest["citation"] == "Nobody (2026)"
    entry = manifest["files"]["things.csv"]
    assert entry["md5"] == MD5
    assert entry["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert entry["url"] == server.url("/a")
    assert entry["checked"] == "published md5"
    assert sorted(path.name for path in here.iterdir()) == [".fetch.lock", "manifest.json", "things.csv"]


REFUSED = {
    "challenge": (CHALLENGE, "202 with a challenge for browsers (x-amzn-waf-action: challenge)"),
    "202": (says(202), "202 without the file"),
    "empty": (says(200), "an empty answer in place of the file"),
    "html": (says(200, b"<p>hello", Content_Type="text/html; charset=utf-8"), "a page (text/html)"),
    "html inside": (says(200, PAGE), "a page of HTML in place of the file"),
    "pointer": (says(200, POINTER), "a pointer of Git LFS"),
    "compressed": (says(200, b"x", Content_Encoding="gzip"), "compressed on the way (gzip)"),
    "403": (says(403), "403: it refuses this machine"),
    "401": (says(401), "401: it wants a login"),
    "404": (says(404), "404: nothing lies at this address"),
    "416": (says(416), "416: it cannot give its first byte"),
    "other length": (says(200, b"x" * 9), f"it has 9 bytes there, not the {len(BODY):,} that are published"),
    "other content": (says(200, b"x" * len(BODY)), "not the file: its md5 is"),
    "come back": (says(429, Retry_After="7200"), "it asks to come back in 120 minutes"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_not_the_file_is_refused_by_name_and_the_next_mirror_is_asked(
    server, fetch, here, fault, caplog
):
    answer, said = REFUSED[fault]
    first = server.host("/bad", always=answer)
    with pytest.raises(FetchError) as refused:
        fetch(remote(first, bytes=len(BODY), md5=MD5))
    assert said in str(refused.value)
    assert first in str(refused.value)
    assert f"put it there as {here / 'things.csv'}" in str(refused.value)
    assert [path.name for path in here.iterdir() if path.name != ".fetch.lock"] == []
    caplog.clear()
    assert fetch(remote(first, server.host("/good", BODY), bytes=len(BODY), md5=MD5))[0].read_bytes() == BODY
    assert said in caplog.text
    assert "The next mirror." in caplog.text


def test_a_truncated_body_is_resumed_where_it_broke_off(server, fetch, pauses, caplog):
    caplog.set_level(logging.INFO)
    url = server.host("/a", BODY, faults=[cut_off(1000), cut_off(500)])
    assert fetch(remote(url))[0].read_bytes() == BODY
    assert server.ranges("/a") == [None, "bytes=1000-", "bytes=1500-"]
    assert "it broke off after 1,000 of 3,008 bytes (the connection closed); again in 1 s." in caplog.text
    assert len(pauses) == 2
    assert all(1 <= pause <= 1.25 for pause in pauses)


def test_a_body_that_never_comes_whole_is_left_in_part_and_goes_on_at_the_next_command(
    server, fetch, here, pauses
):
    url = server.host("/a", BODY, faults=[cut_off(1000), *[says(503)] * 3])
    with pytest.raises(FetchError) as refused:
        fetch(remote(url))
    assert "503: the server asks to come back, 3 times in a row" in str(refused.value)
    assert "1 kB are kept: the same command goes on from there." in str(refused.value)
    assert pauses[1] >= 2  # it doubles
    assert not (here / "things.csv").exists()
    assert (here / "things.csv.part").stat().st_size == 1000
    assert fetch(remote(url))[0].read_bytes() == BODY
    assert server.ranges("/a")[-1] == "bytes=1000-"
    assert not list(here.glob("*.part*"))


def test_retry_after_is_kept_to(server, fetch, pauses):
    url = server.host("/a", BODY, faults=[says(429, Retry_After="7"), says(503)])
    fetch(remote(url))
    assert pauses[0] == 7
    assert 2 <= pauses[1] <= 2.5


def test_a_server_without_ranges_gives_the_whole_anew(server, fetch, caplog):
    caplog.set_level(logging.INFO)
    url = server.host("/a", BODY, ranges=False, faults=[cut_off(1000)])
    assert fetch(remote(url))[0].read_bytes() == BODY
    assert "the whole file comes, not the rest" in caplog.text


def test_a_file_that_changed_between_two_connections_is_not_joined(server, fetch):
    url = server.host("/a", BODY, faults=[cut_off(1000), says(503)])

    def change(handler):
        server.files["/a"].body, server.files["/a"].tag = b"N" * 2000, '"two"'
        handler.answer(503, b"")

    server.files["/a"].faults[1] = change
    assert fetch(remote(url))[0].read_bytes() == b"N" * 2000  # If-Range: the server gave the new one whole
    assert server.asked[-1][1]["If-Range"] == '"one"'


def test_a_file_that_changed_without_a_validator_is_noticed_by_its_length(server, fetch, caplog):
    caplog.set_level(logging.INFO)
    url = server.host("/a", BODY, tag=None, faults=[cut_off(1000), says(503)])

    def grow(handler):
        server.files["/a"].body = b"N" * 5000
        handler.answer(503, b"")

    server.files["/a"].faults[1] = grow
    assert fetch(remote(url))[0].read_bytes() == b"N" * 5000
    assert "the file has changed (5,000 bytes now); it begins anew" in caplog.text


def test_what_was_resumed_and_is_not_the_file_is_fetched_once_more_from_its_beginning(server, fetch, caplog):
    url = server.host("/a", b"N" * len(BODY), tag=None, faults=[cut_off(1000)])

    def heal(handler):
        server.files["/a"].body = BODY
        handler.give(server.files["/a"])

    server.files["/a"].faults.append(heal)
    assert fetch(remote(url, md5=MD5))[0].read_bytes() == BODY
    assert "what was resumed is not the file (its md5 is" in caplog.text


def test_a_part_that_is_whole_already_is_checked_and_not_asked_for(server, fetch, here):
    url = server.host("/a", BODY, faults=[cut_off(1000), *[says(503)] * 3])
    with pytest.raises(FetchError):
        fetch(remote(url))
    (here / "things.csv.part").write_bytes(BODY)
    asked = len(server.asked)
    assert fetch(remote(url))[0].read_bytes() == BODY
    assert len(server.asked) == asked


def test_a_part_that_is_too_long_is_removed(server, fetch, here):
    url = server.host("/a", BODY, tag=None, faults=[cut_off(1000), *[says(503)] * 3])
    with pytest.raises(FetchError):
        fetch(remote(url))
    state = json.loads((here / "things.csv.part.json").read_text())
    (here / "things.csv.part.json").write_text(json.dumps({**state, "total": None}))
    (here / "things.csv.part").write_bytes(b"y" * 9999)
    assert fetch(remote(url))[0].read_bytes() == BODY  # 416, and anew


def test_parts_of_two_mirrors_are_joined_only_where_a_checksum_decides(server, fetch, here):
    first = server.host("/a", BODY, faults=[cut_off(1000), *[says(503)] * 3])
    second = server.host("/b", BODY)
    fetch(remote(first, second, md5=MD5))
    assert server.ranges("/b") == ["bytes=1000-"]
    (here / "things.csv").unlink()
    (here / "manifest.json").unlink()
    server.host("/a", BODY, faults=[cut_off(1000), *[says(503)] * 3])
    server.asked.clear()
    fetch(remote(first, second))
    assert server.ranges("/b") == [None]


def test_redirections_are_followed_and_never_from_https_to_http(server, fetch):
    server.host("/file", BODY)
    assert fetch(remote(server.host("/a", always=says(302, Location="/file"))))[0].read_bytes() == BODY
    with pytest.raises(Refused, match="redirects from https to http://x/y, which is not encrypted"):
        _Redirections().redirect_request(Request("https://x/y"), None, 302, "", {}, "http://x/y")


def test_a_part_from_another_byte_than_was_asked_for_is_refused(server, fetch):
    wrong = says(206, b"zz", Content_Range="bytes 7-8/3008")
    url = server.host("/a", BODY, faults=[cut_off(1000), wrong])
    with pytest.raises(FetchError, match="bytes from 7 on in place of those from 1,000 on"):
        fetch(remote(url))


def unknown(*_, **__):
    raise socket.gaierror(-2, "Name or service not known")


def test_no_server_and_no_name_are_said(fetch, unused_port, monkeypatch):
    with pytest.raises(FetchError, match=r"no connection to 127\.0\.0\.1 \(Connection refused\), 3 times"):
        fetch(remote(f"http://127.0.0.1:{unused_port}/a"))
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(FetchError, match=r"nobody\.invalid is not known here .* may have no network"):
        fetch(remote("http://nobody.invalid/a"))


@pytest.fixture
def unused_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_an_answer_without_an_end_is_refused(server, fetch, here):
    def endless(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 4096)

    with pytest.raises(FetchError, match="more than the 100,000 bytes that are published"):
        fetch(remote(server.host("/a", always=endless), bytes=100_000))
    assert not list(here.glob("things*"))


def test_an_answer_without_a_length_is_taken_to_its_end(server, fetch):
    def unmeasured(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(BODY), BODY))
        if len(server.asked) > 1:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    assert fetch(remote(server.host("/a", always=unmeasured), md5=MD5))[0].read_bytes() == BODY
    assert len(server.asked) == 2  # the first was cut off before its end


def test_a_killed_fetch_is_continued(server, tmp_path, here):
    asleep = threading.Event()

    def stall(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.send_header("ETag", '"one"')
        handler.end_headers()
        handler.wfile.write(BODY[:1500])
        asleep.wait(10)

    data = described(remote(server.host("/a", BODY, faults=[stall])))
    worker = multiprocessing.get_context("fork").Process(target=fetch_set, args=(data, tmp_path))
    worker.start()
    part = here / "things.csv.part"
    while not part.exists() or part.stat().st_size < 1500:
        time.sleep(0.01)
    worker.kill()
    worker.join()
    asleep.set()
    assert not (here / "things.csv").exists()
    assert fetch_set(data, tmp_path)[0].read_bytes() == BODY  # nothing holds the lock any more
    assert server.ranges("/a") == [None, "bytes=1500-"]


def test_a_full_disk_is_said_before_the_first_byte_and_in_the_middle(server, fetch, here, monkeypatch):
    url = server.host("/a", BODY)
    with monkeypatch.context() as patched:
        patched.setattr(downloading, "free", lambda folder: 1000)
        patched.setattr("chemscale.fetching.sets.free", lambda folder: 1000)
        with pytest.raises(FetchError, match=r"things needs 3\.01 kB more, and the disk of .* has 1 kB free"):
            fetch(remote(url, bytes=len(BODY)))
        assert not server.asked
        with pytest.raises(FetchError, match=r"things\.csv needs .* CHEMSCALE_DATA"):
            fetch(remote(url))  # its length is known from the answer only
    original = downloading.write_all

    def full(out, chunk):
        original(out, chunk[:700])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(downloading, "write_all", full)
        with pytest.raises(OSError, match="No space left on device") as refused:
            fetch(remote(url))
    assert refused.value.filename == str(here / "things.csv.part")  # which the command line says
    assert not (here / "things.csv").exists()
    assert fetch(remote(url))[0].read_bytes() == BODY
    assert server.ranges("/a")[-1] == "bytes=700-"


def test_the_token_of_the_hub_goes_to_the_hub_alone(server, fetch, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    other = server.host("/file", BODY)
    fetch(remote(other))
    monkeypatch.setitem(TOKENS, "127.0.0.1", "HF_TOKEN")
    fetch(remote(server.host("/a", always=says(302, Location="/file")), path="two.csv"))
    sent = [headers.get("Authorization") for _, headers in server.asked]
    assert sent == [None, "Bearer secret", None]


def test_a_proxy_of_the_environment_is_used(server, fetch, monkeypatch):
    server.host("http://data.invalid/a", BODY)  # a proxy is asked by the whole address
    monkeypatch.setenv("http_proxy", server.url(""))
    assert fetch(remote("http://data.invalid/a"))[0].read_bytes() == BODY


def test_a_compressed_file_that_is_labelled_so_is_the_file(server, fetch, here):
    packed = gzip.compress(BODY)
    url = server.host("/a", always=says(200, packed, Content_Encoding="x-gzip"))
    assert fetch(remote(url, path="a.smi.gz"))[0].read_bytes() == packed


def test_an_address_that_is_not_encrypted_is_said_where_nothing_checks_the_file(server, fetch, caplog):
    fetch(remote(server.host("/a", BODY), md5=MD5))
    assert "not encrypted" not in caplog.text
    fetch(remote(server.url("/a"), path="b.csv"))
    assert "not encrypted, and nothing is published to check the file by" in caplog.text


def test_an_unverified_address_is_said(server, fetch, caplog):
    fetch(RemoteFile("things.csv", (Mirror(server.host("/a", BODY), "made up"),)))
    assert "this address is not verified (made up)." in caplog.text
