"""A server on this machine that answers as the sites of data sets do, with their faults."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.helpers.serving import running


@dataclass
class Hosted:
    """One path of the server.

    Args:
        body: the file.
        ranges: whether ranges are answered by 206.
        tag: its ETag; None for none.
        kind: Content-Type.
        faults: played once each, in order, before the file is given: functions of the handler.
        always: played at every request in place of the file.
    """

    body: bytes = b""
    ranges: bool = True
    tag: str | None = '"one"'
    kind: str = "application/octet-stream"
    faults: list[Callable[[Handler], None]] = field(default_factory=list)
    always: Callable[[Handler], None] | None = None


class Handler(BaseHTTPRequestHandler):
    """Gives what the server's ``files`` say, and notes what was asked."""

    protocol_version = "HTTP/1.1"
    server: FileServer

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        """Answer one request."""
        self.server.asked.append((self.path, dict(self.headers)))
        hosted = self.server.files.get(self.path)
        if hosted is None:
            self.answer(404, b"no such file")
        elif hosted.always is not None:
            hosted.always(self)
        elif hosted.faults:
            hosted.faults.pop(0)(self)
        else:
            self.give(hosted)

    def give(self, hosted: Hosted, *, most: int | None = None) -> None:
        """The file, or the part of it that was asked for; cut off after `most` bytes."""
        body, start, headers = hosted.body, 0, {"Content-Type": hosted.kind}
        if hosted.tag:
            headers["ETag"] = hosted.tag
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, hosted.tag)
        status = 200
        if asked and hosted.ranges and same:
            start = int(asked[1])
            if start >= len(body):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            end = min(len(body), int(asked[2]) + 1) if asked[2] else len(body)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
            body, status = body[start:end], 206
        self.answer(status, body, headers, most=most)

    def answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, most: int | None = None
    ) -> None:
        """An answer; the connection closes where the body is cut off."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if most is None else body[:most])
        self.close_connection = most is not None


class FileServer(ThreadingHTTPServer):
    """Files by path, and what was asked of them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, Hosted] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def host(self, path: str, body: bytes = b"", **options: object) -> str:
        """Put a file there; its address."""
        self.files[path] = Hosted(body, **options)  # type: ignore[arg-type]
        return self.url(path)

    def url(self, path: str) -> str:
        """Address of a path."""
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def ranges(self, path: str) -> list[str | None]:
        """Ranges that were asked of a path, None for the whole."""
        return [headers.get("Range") for asked, headers in self.asked if asked == path]


def serving() -> AbstractContextManager[FileServer]:
    """A server, running while the block does."""
    return running(FileServer())


def cut_off(after: int) -> Callable[[Handler], None]:
    """The connection closes after so many bytes."""
    return lambda handler: handler.give(handler.server.files[handler.path], most=after)


def says(status: int, body: bytes = b"", **headers: str) -> Callable[[Handler], None]:
    """Another answer; underscores of header names become hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.answer(status, body, named)


CHALLENGE = says(202, x_amzn_waf_action="challenge")
"""What figshare.com answers scripts since 2026."""
