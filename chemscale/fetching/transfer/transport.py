"""One request for a file from a byte on: HTTP and HTTPS with the standard library, and plain files.

Proxies are those of the environment (``https_proxy``, ``http_proxy``, ``no_proxy``), certificates those of
the system or of ``SSL_CERT_FILE``. A token of the Hugging Face Hub (``HF_TOKEN``) goes to its own host only,
and never along with a redirection.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

from chemscale import __version__
from chemscale.common.files import open_regular
from chemscale.fetching.errors import Interrupted, Refused

TOKENS = {"huggingface.co": "HF_TOKEN"}
"""Hosts that ask for a token, and the variable that holds it."""
BROKEN = (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError, OSError)
"""What a transfer may raise while it runs."""


class Body(Protocol):
    """What an answer is read from."""

    def read1(self, size: int, /) -> bytes:
        """What has come meanwhile, at most so many bytes; empty at the end."""

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True)
class Answer:
    """What a server, or the disk, answered.

    Args:
        status: of HTTP; 200 or 206 for a plain file.
        headers: by lower-case name.
        body: to be read.
        url: where redirections led.
    """

    status: int
    headers: Mapping[str, str]
    body: Body
    url: str

    def close(self) -> None:
        """Let go of the connection."""
        self.body.close()


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follow redirections, but none from an encrypted connection to a plain one."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise Refused(f"it redirects from https to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def ask(
    url: str, start: int = 0, *, last: int | None = None, same: str | None = None, timeout: float = 60
) -> Answer:
    """Ask for a file from a byte on.

    Args:
        url: of the file.
        start: first byte that is wanted.
        last: last byte that is wanted; None for all that follow.
        same: validator (``ETag`` or date) of what is here already: the whole file comes if it has changed.
        timeout: seconds without a byte after which the connection counts as broken.

    Returns:
        The answer, whatever its status.

    Raises:
        Refused: no answer is to be had from there.
        Interrupted: none came this time.
    """
    if urlsplit(url).scheme == "file":
        return _from_disk(url, start)
    request = urllib.request.Request(
        url,
        headers={"User-Agent": f"chemscale/{__version__}", "Accept-Encoding": "identity", "Accept": "*/*"},
    )
    if start or last is not None:
        request.add_header("Range", f"bytes={start}-{'' if last is None else last}")
        if same:
            request.add_header("If-Range", same)
    host = urlsplit(url).hostname or ""
    if token := os.environ.get(TOKENS.get(host, ""), ""):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    answer: Any
    try:
        answer = urllib.request.build_opener(_Redirections).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        answer = error  # an answer as well
    except urllib.error.URLError as error:
        raise _no_connection(url, error.reason) from None
    except BROKEN as error:
        raise Interrupted(f"the connection broke before an answer came ({describe(error)})") from None
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(answer.status or 0, headers, answer, answer.url or url)


def _from_disk(url: str, start: int) -> Answer:
    path = Path(unquote(urlsplit(url).path))
    try:
        file = cast(BufferedReader, open_regular(path))
        size = os.fstat(file.fileno()).st_size
        file.seek(start)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    headers = {"content-length": str(max(0, size - start))}
    if start:
        headers["content-range"] = f"bytes {start}-{size - 1}/{size}" if start < size else f"bytes */{size}"
    return Answer((206 if start < size else 416) if start else 200, headers, file, url)


def _no_connection(url: str, reason: Any) -> Exception:
    """What a connection that did not come about means."""
    host = urlsplit(url).hostname
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Refused(
            f"the certificate of {host} is not trusted ({reason.verify_message}); behind a proxy that opens "
            "connections, SSL_CERT_FILE names its certificate"
        )
    if isinstance(reason, socket.gaierror):
        return Refused(
            f"the name {host} is not known here ({reason.strerror}): this machine may have no network"
        )
    if isinstance(reason, OSError) and reason.errno in (101, 113):
        return Refused(f"{host} cannot be reached ({reason.strerror}): this machine may have no network")
    if "Tunnel connection failed" in str(reason):
        return Refused(f"the proxy of the environment let nothing through ({reason})")
    return Interrupted(f"no connection to {host} ({describe(reason)})")


def describe(error: Any) -> str:
    """An exception in a few words."""
    if isinstance(error, TimeoutError):
        return "nothing came for too long"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def free(folder: Path) -> int:
    """Bytes that may still be written to the disk of a folder, or of the nearest one above that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
