"""The table of faults in docs/howto/fetching.md: each is played, and says what stands there."""

import errno
import gzip
import hashlib
import io
import logging
import re
import socket
import tarfile
import threading
import zipfile
from urllib.request import Request

import pytest

from chemscale.cli.app import one_paragraph
from chemscale.common.locks import file_lock
from chemscale.fetching.places import refuse_missing
from chemscale.fetching.registry import Unpack
from chemscale.fetching.transfer import download as downloading
from chemscale.fetching.transfer.transport import _Redirections
from chemscale.fetching.unpacking import unpack
from tests.fetching.conftest import remote
from tests.fetching.test_faults import BODY, MD5, PAGE, POINTER, unknown
from tests.helpers.file_server import CHALLENGE, cut_off, says
from tests.helpers.paths import ROOT

ROWS = dict(
    re.findall(
        r"^\| (.+?) \| (.+) \|$",
        (ROOT / "docs/howto/fetching.md").read_text().split("| fault | what is said |\n|---|---|\n")[1],
        re.MULTILINE,
    )
)
OTHER = "0" * 32


class Stage:
    """What a fault is played with."""

    def __init__(self, server, fetch, tmp_path, monkeypatch):
        self.server, self.fetch, self.tmp, self.patch = server, fetch, tmp_path, monkeypatch
        self.here = tmp_path / "things"

    def answers(self, answer, **known):
        """A server that gives one answer and no other."""
        self.fetch(remote(self.server.host("/a", always=answer), **{"bytes": len(BODY), **known}))

    def then(self, *faults, **known):
        """Faults, one after the other, and then the file."""
        self.fetch(remote(self.server.host("/a", BODY, faults=list(faults), tag=None), **known))

    def swapped(self, body, **hosted):
        """Another file at the address from the second request on."""

        def swap(handler):
            self.server.host("/a", body, **hosted)
            handler.answer(503, b"")

        self.server.host("/a", BODY, faults=[cut_off(1000), swap], **hosted)
        return remote(self.server.url("/a"))

    def unpacks(self, name, members, kind="zip", cut=None, **options):
        """An archive of (name, content) pairs, or of links where the content is None."""
        path = self.tmp / name
        if kind == "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
                for member, content in members:
                    file.writestr(member, content)
        else:
            with tarfile.open(path, "w:gz") as tar:
                for member, content in members:
                    info = tarfile.TarInfo(member)
                    info.size = len(content or b"")
                    info.type = tarfile.SYMTYPE if content is None else tarfile.REGTYPE
                    tar.addfile(info, io.BytesIO(content or b""))
        path.write_bytes(path.read_bytes()[:cut])
        (self.tmp / "out").mkdir()
        unpack(path, Unpack(("*.xyz",), "./"), self.tmp / "out", **options)

    def silent(self):
        asleep = threading.Event()

        def answer(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(BODY)))
            handler.end_headers()
            handler.wfile.write(BODY[:1500])
            asleep.wait(10)

        url = self.server.host("/a", always=answer)
        try:
            self.fetch(remote(url), patience=downloading.Patience(tries=0, timeout=0.2))
        finally:
            asleep.set()

    def resumed(self):
        self.server.host("/a", b"N" * len(BODY), faults=[cut_off(1000)], tag=None)
        self.server.files["/a"].faults.append(lambda handler: handler.give(self.server.files["/a"]))
        self.fetch(remote(self.server.url("/a"), md5=MD5))

    def too_long(self):
        url = self.server.host("/a", BODY, tag=None)
        self.here.mkdir()
        (self.here / "things.csv.part").write_bytes(b"y" * 9999)
        (self.here / "things.csv.part.json").write_text(f'{{"url": "{url}"}}')
        self.fetch(remote(url))

    def no_network(self):
        self.patch.setattr(socket, "getaddrinfo", unknown)
        self.fetch(remote("http://nobody.invalid/a"))

    def no_room(self):
        self.patch.setattr("chemscale.fetching.sets.free", lambda folder: 1000)
        self.fetch(remote(self.server.host("/a", BODY), bytes=len(BODY)))

    def full(self):
        def write(out, chunk):
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch.setattr(downloading, "write_all", write)
        with one_paragraph():
            self.fetch(remote(self.server.host("/a", BODY)))

    def busy(self):
        with file_lock(self.here / ".fetch.lock") as lock:
            lock.write("process 7 on login1 since 2026-11-30 01:00:00\n")
            lock.flush()
            self.fetch(remote(self.server.url("/a")), wait=False)

    def adopted(self):
        self.here.mkdir()
        (self.here / "things.csv").write_bytes(BODY)
        self.fetch(remote(self.server.url("/a"), md5=OTHER))

    def changed(self):
        self.fetch(file := remote(self.server.host("/a", BODY)))
        (self.here / "things.csv").write_bytes(BODY.replace(b"C", b"N"))
        self.fetch(file, verify=True)

    def contents(self):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as file:
            file.writestr("p.txt", "CCO")
        plan = Unpack(("*.txt",), "molecules.txt", sha256={"p.txt": "0" * 64})
        self.fetch(remote(self.server.host("/a", packed.getvalue()), path="a.zip", unpack=plan))

    def missing(self):
        self.patch.setenv("CHEMSCALE_DATA", str(self.tmp))
        refuse_missing(str(self.tmp / "moses" / "dataset_v1.csv"))


def redirected(stage: Stage) -> None:
    _Redirections().redirect_request(Request("https://x/y"), None, 302, "", {}, "http://x/y")


ZEROS = b"\0" * 2_000_000
NOISE = gzip.compress(b"".join(hashlib.sha256(bytes([n])).digest() for n in range(200)))
PLAYED = {
    "challenge for browsers (figshare since 2026)": lambda s: s.answers(CHALLENGE),
    "202, 203 or 204": lambda s: s.answers(says(202)),
    "empty answer": lambda s: s.answers(says(200)),
    "page of HTML, as the headers say": lambda s: s.answers(says(200, b"<p>", Content_Type="text/html")),
    "page of HTML under another name": lambda s: s.answers(says(200, PAGE)),
    "pointer of Git LFS": lambda s: s.answers(says(200, POINTER)),
    "compressed on the way": lambda s: s.answers(says(200, b"x", Content_Encoding="gzip")),
    "login wanted": lambda s: s.answers(says(401)),
    "forbidden": lambda s: s.answers(says(403)),
    "gone": lambda s: s.answers(says(404)),
    "429 or 503 with `Retry-After: 7`": lambda s: s.then(says(429, Retry_After="7")),
    "told to come back in hours": lambda s: s.answers(says(503, Retry_After="7200")),
    "server down": lambda s: s.answers(says(503)),
    "another length": lambda s: s.answers(says(200, b"x" * 9)),
    "another checksum": lambda s: s.answers(says(200, b"x" * len(BODY)), md5=MD5),
    "connection closed in the middle": lambda s: s.then(cut_off(1000)),
    "silence in the middle": Stage.silent,
    "no ranges on the server, or a new `ETag`": lambda s: s.fetch(s.swapped(b"N" * 2000, ranges=False)),
    "file changed meanwhile, no `ETag`": lambda s: s.fetch(s.swapped(b"N" * 5000, tag=None)),
    "416 to what is here": Stage.too_long,
    "resumed bytes that do not fit": Stage.resumed,
    "no network": Stage.no_network,
    "redirection to plain http": redirected,
    "no room": Stage.no_room,
    "disk full in the middle": Stage.full,
    "another process fetches": Stage.busy,
    "file there is another one": Stage.adopted,
    "file changed since it was fetched": Stage.changed,
    "archive with `../`": lambda s: s.unpacks("a.tar.gz", [("../evil.xyz", b"x")], "tar"),
    "link or device in an archive": lambda s: s.unpacks("a.tar.gz", [("a.xyz", None)], "tar"),
    "zip bomb": lambda s: s.unpacks("a.zip", [("a.xyz", ZEROS)], min_limit=500_000),
    "archive cut off": lambda s: s.unpacks("a.zip", [("a.xyz", NOISE)], cut=-100),
    "other content in an archive": Stage.contents,
    "data not there for training": Stage.missing,
}


def test_every_row_of_the_table_is_played():
    assert list(ROWS) == list(PLAYED)


@pytest.mark.parametrize("fault", PLAYED)
def test_a_fault_says_what_the_table_says(fault, server, fetch, tmp_path, monkeypatch, caplog, capsys):
    caplog.set_level(logging.INFO)
    raised = ""
    try:
        PLAYED[fault](Stage(server, fetch, tmp_path, monkeypatch))
    except (Exception, SystemExit) as error:
        raised = str(error)
    said = f"{raised}\n{caplog.text}\n{capsys.readouterr().err}"
    pattern = ".*".join(re.escape(piece) for piece in ROWS[fault].split("…"))
    assert re.search(pattern, said), said
