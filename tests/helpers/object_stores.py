"""Real servers of S3 and of Google's storage on this machine, and a proxy that plays faults."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.helpers.serving import running

KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


@contextlib.contextmanager
def _process(command: list[str], port: int) -> Iterator[None]:
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            assert server.poll() is None, f"{command} ended with {server.returncode}"
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Moto as a process of its own; yields its address."""
    port = free_port()
    with _process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def gs_server() -> Iterator[str]:
    """The emulator of Google's storage as a process of its own; yields its address."""
    port = free_port()
    code = (
        "from gcp_storage_emulator.server import create_server as c; "
        f"s = c('127.0.0.1', {port}, in_memory=True, default_bucket='bucket'); s.run()"
    )
    with _process([sys.executable, "-c", code], port):
        yield f"http://127.0.0.1:{port}"


@dataclass
class Fault:
    """Played in place of an answer, to requests that it is for.

    Args:
        wanted: of a request: its method and its path.
        play: answers it; takes the handler and the whole answer of the server.
        times: how often, before requests go through.
    """

    wanted: Callable[[str, str], bool]
    play: Callable[[FaultyHandler, int, list[tuple[str, str]], bytes], None]
    times: int = 1


class FaultyHandler(BaseHTTPRequestHandler):
    """Hands every request on to the real server, unless a fault is due."""

    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path))
        host, port = self.server.behind.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        fault = next(
            (f for f in self.server.faults if f.times > 0 and f.wanted(self.command, self.path)), None
        )
        if fault is not None and self.command in ("PUT", "POST", "DELETE"):
            fault.times -= 1  # what is refused is not done
            fault.play(self, 503, [], b"")
            return
        # The signature holds for the host that the client named.
        connection.request(self.command, self.path, body, dict(self.headers.items()))
        answer = connection.getresponse()
        content, headers = answer.read(), answer.getheaders()
        connection.close()
        if fault is not None:
            fault.times -= 1
            fault.play(self, answer.status, headers, content)
        else:
            self.give(answer.status, headers, content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any

    def give(
        self, status: int, headers: list[tuple[str, str]], content: bytes, *, most: int | None = None
    ) -> None:
        """An answer; the connection is cut after `most` bytes of it."""
        self.send_response_only(status)
        dropped = {"transfer-encoding", "connection"} | (
            {"content-length"} if self.command != "HEAD" else set()
        )
        for name, value in headers:
            if name.lower() not in dropped:
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if most is None else content[:most])
        if most is not None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


class FaultyServer(ThreadingHTTPServer):
    """Stands before a real server.

    Args:
        behind: address of the real one.
    """

    daemon_threads = True

    def __init__(self, behind: str):
        super().__init__(("127.0.0.1", 0), FaultyHandler)
        self.behind = behind
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        """Its own address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


def slow_down(handler: FaultyHandler, *_: object) -> None:
    """503, as S3 throttles."""
    text = (
        b'<?xml version="1.0"?><Error><Code>SlowDown</Code>'
        b"<Message>Please reduce your request rate.</Message></Error>"
    )
    handler.give(503, [("Content-Type", "application/xml")], text)


def forbid(handler: FaultyHandler, *_: object) -> None:
    """403, as S3 refuses."""
    text = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
    handler.give(403, [("Content-Type", "application/xml")], text)


def cut(after: int) -> Callable[[FaultyHandler, int, list[tuple[str, str]], bytes], None]:
    """The connection ends after so many bytes of the object."""

    def play(handler: FaultyHandler, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        handler.give(status, headers, content, most=after)

    return play


def shorten(by: int) -> Callable[[FaultyHandler, int, list[tuple[str, str]], bytes], None]:
    """An answer that is whole by its own length, and lacks so many bytes."""

    def play(handler: FaultyHandler, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        handler.give(
            status, [h for h in headers if not h[0].lower().startswith("x-amz-checksum")], content[:-by]
        )

    return play


@dataclass
class Bucket:
    """A bucket of a real server, reached through a proxy that can play faults.

    Args:
        proxy: before the server.
        name: of the bucket.
        environment: for processes that are to reach it.
    """

    proxy: FaultyServer
    name: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """``s3://NAME``"""
        return f"s3://{self.name}"

    @property
    def _client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=self.proxy.behind, **_login())

    def listed(self) -> list[str]:
        """What lies in it."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return sorted(each["Key"] for page in pages for each in page.get("Contents", ()))

    def put(self, key: str, content: bytes) -> None:
        """Write an object by another client than ours."""
        self._client.put_object(Bucket=self.name, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        """Read an object by another client than ours."""
        return bytes(self._client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def delete(self, key: str) -> None:
        """Remove an object by another client than ours."""
        self._client.delete_object(Bucket=self.name, Key=key)


def _login() -> dict[str, str]:
    return {
        "aws_access_key_id": KEYS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"],
        "region_name": "us-east-1",
    }


@contextlib.contextmanager
def bucket_of(server: str, name: str, cache: Path) -> Iterator[Bucket]:
    """A new bucket of a server, and a proxy before it.

    Args:
        server: address.
        name: of the bucket.
        cache: where working copies lie.
    """
    import boto3

    boto3.client("s3", endpoint_url=server, **_login()).create_bucket(Bucket=name)
    with running(FaultyServer(server)) as proxy:
        here = {**KEYS, "AWS_ENDPOINT_URL": proxy.url, "CHEMSCALE_CACHE": str(cache)}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "FSSPEC_"))}
        yield Bucket(proxy, name, {**kept, **here})
