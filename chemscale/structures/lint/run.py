"""The linter on a store, whose findings are kept beside it, or on files."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from chemscale.common.files import write_json
from chemscale.common.progress import ProgressBar
from chemscale.structures.blocks import Block, Source
from chemscale.structures.lint import Finding, lint, report
from chemscale.structures.store import PARTS, FrameStore

log = logging.getLogger(__name__)

MAX_FRAMES = 1_000_000
"""Frames of a part that the linter looks at, at most: some minutes, and 200 to 300 bytes of memory each."""

RUN = 64
"""Frames of a store that follow each other and are drawn together."""

LINTER_VERSION = 3
"""Raised whenever a check changes: what an older linter said of a store is not believed."""


def lint_store(store: FrameStore, mode: str) -> list[Finding]:
    """Lint a store once and keep the findings beside it; the report is logged.

    Args:
        store: what is linted.
        mode: ``off`` (nothing is done), ``warn`` or ``strict``.

    Raises:
        ValueError: an unknown mode, or errors that were found where the mode is ``strict``.
    """
    if mode == "off":
        return []
    if mode not in ("warn", "strict"):
        raise ValueError(f"lint={mode!r}: choose warn, strict or off (prepare also knows only).")
    findings = _kept(store.path / "lint.json", store.hash)
    if findings is None:
        findings = _lint_parts(store)
        write_json(
            store.path / "lint.json",
            {"version": LINTER_VERSION, "hash": store.hash, "findings": [vars(f) for f in findings]},
        )
    for line in report(findings):
        log.log(logging.WARNING if line.startswith(("ERROR", "WARNING")) else logging.INFO, "%s", line)
    errors = [f for f in findings if f.severity == "error"]
    if errors and mode == "strict":
        raise ValueError(f"{store.path}: the linter found {len(errors)} errors, first: {errors[0].message}")
    return findings


def _lint_parts(store: FrameStore) -> list[Finding]:
    """Findings on the parts, of very many frames on a random sample, with the numbers of both."""
    parts = {part: np.asarray(store.part(part)) for part in PARTS if len(store.part(part))}
    looked = {part: sampled_runs(frames, len(store), MAX_FRAMES) for part, frames in parts.items()}
    total = sum(map(len, looked.values()))
    with ProgressBar("lint", total, "frames", every=5.0) as progress:
        findings = lint({p: partial(_seen, store, frames, progress) for p, frames in looked.items()})
    few = [
        f"{len(looked[part]):,} of {len(frames):,} {part} frames"
        for part, frames in parts.items()
        if len(looked[part]) < len(frames)
    ]
    if few:
        findings.append(
            Finding(
                "sample",
                "note",
                f"Looked at a random sample: {', '.join(few)}. Copies within a part, and frames that two "
                "parts have in common, are found where both are in it: there are more.",
            )
        )
    return findings


def sampled_runs(frames: np.ndarray, of: int, most: int) -> np.ndarray:
    """Frames of a part that the linter looks at: all, or at most so many in random runs of the store.

    Frames that follow each other in a file are neighbours in many data, which the linter compares.

    Args:
        frames: (k,) numbers in the store.
        of: frames of the store.
        most: of the sample.
    """
    if len(frames) <= most:
        return frames
    draws = np.random.default_rng(0).random(-(-of // RUN))[frames // RUN]
    first_too_many = np.partition(draws, most)[most]
    return frames[draws < first_too_many]  # whole runs


def _seen(store: FrameStore, frames: np.ndarray, progress: ProgressBar) -> Iterator[Block]:
    for block in store.blocks(frames):
        yield block
        progress.advance(len(block))


def _kept(path: Path, content: str) -> list[Finding] | None:
    """Findings that this linter kept of these data, or None."""
    try:
        kept = json.loads(path.read_text())
        if kept["version"] == LINTER_VERSION and kept["hash"] == content:
            return [Finding(**f) for f in kept["findings"]]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        pass  # none, of an older form, or cut short: the linter looks again
    return None


def lint_source(source: Source) -> list[Finding]:
    """Lint files without preparing them; published parts are linted as such.

    Args:
        source: what the files hold.
    """
    published = source.splits()
    if published is None:
        return lint({"train": source.blocks})
    return lint({part: partial(_rows_of, source, rows) for part, rows in published.items()})


def _rows_of(source: Source, rows: np.ndarray) -> Iterator[Block]:
    """Blocks of the frames that stand in the given rows."""
    for block in source.blocks():
        chosen = np.isin(block.rows, rows)
        if chosen.any():
            yield block.select(chosen)
