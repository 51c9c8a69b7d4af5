"""The server of the page: this machine only unless asked otherwise, known routes, and nothing but reading."""

from __future__ import annotations

import errno
import gzip
import ipaddress
import json
import socket
import sys
from collections.abc import Collection
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

from chemscale.common.files import read_regular
from chemscale.dashboards.local.board import Board
from chemscale.dashboards.local.page import page, policy

FIRST_PORT, TRIED_PORTS = 8765, 50
MAX_METRICS = 4
WAIT_S = 2.0
"""Longest time that an answer waits for a slow file system before it gives what was known before."""
GZIP_ABOVE = 2000
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
)


class ServerError(ValueError):
    """An address that cannot be served on; the message has which and the way out."""


class Server(ThreadingHTTPServer):
    """Serve one board over HTTP.

    Args:
        board: that is served.
        address: host and port.
        names: host names under which a browser may ask.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, board: Board, address: tuple[str, int], names: Collection[str]):
        self.board, self.names = board, {name.lower() for name in names}
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)

    @property
    def port(self) -> int:
        """That it listens on."""
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def make_server(root: Path, host: str, port: int | None, names: Collection[str] = ()) -> Server:
    """Make a server of the runs below a folder, bound and ready.

    Args:
        root: folder of the runs.
        host: an address of this machine.
        port: None for the first free one from 8765 on.
        names: further names that a browser may know it by.

    Raises:
        ServerError: the port is taken, or the host is not an address of this machine.
    """
    board = Board(root)
    known = {"localhost", host, *names}
    if not is_loopback(host):
        known |= {socket.gethostname(), socket.gethostname().partition(".")[0]}
    ports = range(FIRST_PORT, FIRST_PORT + TRIED_PORTS) if port is None else [port]
    for each in ports:
        try:
            return Server(board, (host, each), known)
        except PermissionError:
            raise ServerError(f"--port {each}: only root may use it. Give one above 1023.") from None
        except socket.gaierror:
            raise ServerError(f"--host {host}: no such host. Leave it out for this machine only.") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                why = error.strerror or error
                raise ServerError(f"--host {host}: {why}. Give an address of this machine.") from None
    if port is not None:
        raise ServerError(f"--port {port} is taken by another program. Give another, or leave --port out.")
    raise ServerError(f"Ports {ports[0]} to {ports[-1]} are all taken. Give a free one: --port N.")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Handler(BaseHTTPRequestHandler):
    """GET of the page, its state, its curves, and the reports that the board knows."""

    server_version, sys_version = "chemscale", ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    @property
    def board(self) -> Board:
        """That the server shows."""
        return cast(Server, self.server).board

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: a page asks every few seconds."""

    def do_GET(self) -> None:
        """Answer a request."""
        if not self._known_host():
            asked = self.headers.get("Host", "")
            self._text(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"This dashboard does not answer to the name {asked!r}. Start it with --allow-host NAME.",
            )
            return
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        if url.path == "/":
            self._send(page().encode(), "text/html; charset=utf-8", policy=policy(served=True))
        elif url.path == "/api/state":
            self._state(query)
        elif url.path == "/api/curves":
            self._curves(query, parse_qs(url.query).get("metric", []))
        elif url.path.startswith("/report/") and (
            report := self.board.reports.get(unquote(url.path.removeprefix("/report/")))
        ):
            self._report(report)
        else:
            self._text(HTTPStatus.NOT_FOUND, "There is no such page. The dashboard is at /.")

    def _known_host(self) -> bool:
        """Names that others could point at this machine are refused; an address cannot be pointed."""
        host = self.headers.get("Host", "").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name in cast(Server, self.server).names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def _state(self, query: dict[str, str]) -> None:
        self.board.refresh(wait=WAIT_S)
        tag = f'"{self.board.boot}-{self.board.version}"'
        if self.headers.get("If-None-Match") == tag:
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.send_header("ETag", tag)
            self._end()
            return
        self._json(self.board.state(self._since(query)), tag)

    def _curves(self, query: dict[str, str], metrics: list[str]) -> None:
        sweep = query.get("sweep", ".")
        if not metrics or len(metrics) > MAX_METRICS:
            self._text(HTTPStatus.BAD_REQUEST, f"Give 1 to {MAX_METRICS} times metric=KIND/NAME.")
            return
        self._json(self.board.curves(sweep, metrics, self._since(query)))

    def _since(self, query: dict[str, str]) -> int:
        """The version that the page knows; 0 where it speaks of another start of the server."""
        same = query.get("boot") == self.board.boot and query.get("since", "").isdecimal()
        return int(query["since"]) if same else 0

    def _report(self, path: Path) -> None:
        try:
            content = read_regular(path)
        except OSError as error:
            self._text(HTTPStatus.NOT_FOUND, f"The report cannot be read: {error.strerror or error}.")
            return
        self._send(content, "text/html; charset=utf-8", policy=REPORT_POLICY)

    # --- answers ---

    def _json(self, content: Any, tag: str = "") -> None:
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        self._send(text.encode(), "application/json", tag=tag)

    def _text(self, status: HTTPStatus, text: str) -> None:
        self._send(text.encode(), "text/plain; charset=utf-8", status=status)

    def _send(
        self,
        content: bytes,
        kind: str,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        tag: str = "",
        policy: str = "default-src 'none'",
    ) -> None:
        self.send_response(status)
        if len(content) > GZIP_ABOVE and "gzip" in self.headers.get("Accept-Encoding", ""):
            content = gzip.compress(content, compresslevel=3)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", policy)
        if tag:
            self.send_header("ETag", tag)
        self._end()
        self.wfile.write(content)

    def _end(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
