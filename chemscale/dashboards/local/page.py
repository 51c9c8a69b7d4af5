"""The page itself: one document with its style and script inside, served empty or written with its data."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chemscale.common.files import atomic_path
from chemscale.dashboards.local.board import Board
from chemscale.records import HEADLINES

SCRIPTS = ("plot.js", "table.js", "words.js", "page.js")
ALL_METRICS_UP_TO = 50
"""Points of a sweep up to which a written page holds every metric; above, its headlines and training loss."""


@cache
def _static(name: str) -> str:
    return (files(__package__) / "static" / name).read_text(encoding="utf-8")


@cache
def _style() -> str:
    return _static("page.css")


@cache
def _script() -> str:
    return "\n".join(_static(name) for name in SCRIPTS)


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


@cache
def policy(served: bool) -> str:
    """The content security policy: our own script and style by their hash, and nothing from elsewhere."""
    connect = "connect-src 'self'; frame-ancestors 'none'; " if served else ""
    return (
        f"default-src 'none'; script-src {_hash(_script())}; style-src {_hash(_style())}; {connect}"
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def page(snapshot: dict[str, Any] | None = None) -> str:
    """The document of the dashboard.

    Args:
        snapshot: state and curves to write into it, so that it needs no server; None where it is served.
    """
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy(served=False)}">'
    filled = {
        "POLICY": "" if snapshot is None else meta,  # a served page has it in its header
        "STYLE": _style(),
        "SCRIPT": _script(),
        "SNAPSHOT": "null" if snapshot is None else in_script(snapshot),
    }
    return re.sub(r"@@(\w+)@@", lambda found: filled[found[1]], _static("page.html"))


def in_script(content: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def snapshot(board: Board, out: Path) -> dict[str, Any]:
    """State, laws and curves of now; links to reports are made relative to the page.

    Args:
        board: that is shown.
        out: file that the page will be.
    """
    board.refresh()
    board.wait_for_laws()
    state = board.state()
    for laws in state["laws"].values():
        for law in laws:
            if "report" in law:
                path = os.path.relpath(board.reports[law["report"]], out.resolve().parent)
                law["report"] = quote(os.fsencode(path))  # a name may hold # or ?
    curves = {}
    for sweep, about in state["sweeps"].items():
        everything = board.curves(sweep, [], seconds=float("inf"))["metrics"]
        if about["total"] > ALL_METRICS_UP_TO:
            headlines = [key for key, _, _ in HEADLINES]
            keep = {"validation": [*headlines, "objective"], "train": ["loss"]}
            everything = {
                kind: [m for m in names if m in keep.get(kind, [])] for kind, names in everything.items()
            }
        metrics = [f"{kind}/{name}" for kind, names in everything.items() for name in names]
        curves[sweep] = {**board.curves(sweep, metrics), "metrics": everything}
    return {"state": state, "curves": curves}


def write_page(root: Path, out: Path) -> Path:
    """Write the state of a folder of runs as one page that opens from the disk.

    Args:
        root: folder of the runs.
        out: file to write.

    Raises:
        RecordError: no such folder.
        OSError: the page cannot be written.
    """
    out = Path(out)
    text = page(snapshot(Board(root), out))
    with atomic_path(out) as partial:
        # Names of files need not be UTF-8; their odd bytes become what JSON reads as them.
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    return out
