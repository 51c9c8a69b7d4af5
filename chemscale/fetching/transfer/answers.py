"""Which answers of a server are the file, which are something else, and which ask for patience.

Sites put challenges, pages of apology and pointers in place of data, often under a status of success:
figshare answers scripts with 202 and no byte (``x-amzn-waf-action: challenge``), portals with a page of HTML,
GitHub with the pointer of Git LFS. Each is refused by its name.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping

from chemscale.common.files import is_web_page
from chemscale.fetching.errors import Interrupted, Refused

LATER = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may do."""
GATED = "for a gated set of the Hugging Face Hub, accept its terms there and set HF_TOKEN"
REASONS = {
    401: f"401: it wants a login ({GATED})",
    403: f"403: it refuses this machine ({GATED})",
    404: "404: nothing lies at this address any more",
    407: "407: the proxy of the environment wants a login",
    410: "410: the file was taken away",
}
POINTER = b"version https://git-lfs.github.com/spec/"
MAX_PATIENCE = 900.0
"""Seconds that a server may ask to wait."""


def check_status(status: int, headers: Mapping[str, str]) -> None:
    """Accept 200, 206 and 416; refuse the rest.

    Args:
        status: of the answer.
        headers: by lower-case name.

    Raises:
        Refused: it is not the file.
        Interrupted: it asks to come back.
    """
    if action := headers.get("x-amzn-waf-action"):
        raise Refused(
            f"{status} with a challenge for browsers (x-amzn-waf-action: {action}) in place of the file"
        )
    if status in LATER:
        raise Interrupted(f"{status}: the server asks to come back", _seconds(headers.get("retry-after")))
    if status in (200, 206, 416):
        return
    if 200 <= status < 300:
        raise Refused(f"{status} without the file: only 200 and 206 carry one")
    raise Refused(REASONS.get(status, f"{status}: refused"))


def check_kind(headers: Mapping[str, str], path: str) -> None:
    """Refuse what the headers call a page, or compressed on the way.

    Args:
        headers: by lower-case name.
        path: of the file, whose suffix may say that it is a page.

    Raises:
        Refused: it is not the file.
    """
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml") and not path.endswith((".html", ".htm")):
        raise Refused(f"a page ({kind}) in place of the file")
    encoding = headers.get("content-encoding", "identity").lower()
    as_it_is = encoding in ("gzip", "x-gzip") and path.endswith(
        (".gz", ".tgz")
    )  # how Apache labels such files
    if encoding != "identity" and not as_it_is:
        raise Refused(
            f"it is compressed on the way ({encoding}) though nobody asked: its length is not the file's"
        )


def check_beginning(begin: bytes, path: str) -> None:
    """Refuse what its first bytes give away.

    Args:
        begin: the first bytes.
        path: of the file.

    Raises:
        Refused: it is not the file.
    """
    if not begin:
        raise Refused("an empty answer in place of the file")
    if begin.startswith(POINTER):
        raise Refused(
            "a pointer of Git LFS in place of the file: its address is on media.githubusercontent.com"
        )
    if is_web_page(begin[:4096]) and not path.endswith((".html", ".htm")):
        raise Refused("a page of HTML in place of the file")


def total_of(status: int, headers: Mapping[str, str]) -> int | None:
    """Length of the whole file that an answer states, in bytes; None where it states none."""
    if status in (206, 416):
        found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", headers.get("content-range", "").strip())
        return int(found[1]) if found else None
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def begins_at(headers: Mapping[str, str]) -> int | None:
    """First byte of a part (206), as its ``Content-Range`` states it; None where it states none."""
    found = re.match(r"bytes (\d+)-", headers.get("content-range", ""))
    return int(found[1]) if found else None


def validator_of(headers: Mapping[str, str]) -> str | None:
    """What tells that a file is still the same: a strong ``ETag``, else ``Last-Modified``."""
    tag = headers.get("etag", "")
    if tag.startswith('"'):
        return tag
    return headers.get("last-modified")


def _seconds(value: str | None) -> float | None:
    """``Retry-After`` in seconds, which may be a date.

    Raises:
        Refused: it asks for more patience than a command has.
    """
    if not value:
        return None
    if value.strip().isdecimal():
        seconds = float(value)
    else:
        try:
            seconds = max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except (TypeError, ValueError):
            return None
    if seconds > MAX_PATIENCE:
        raise Refused(f"it asks to come back in {seconds / 60:.0f} minutes")
    return seconds
