"""The linter on a store or on files, and what it found before."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from chemscale.structures.blocks import Block, Source
    from chemscale.structures.lint import Finding
    from chemscale.structures.store import FrameStore

log = logging.getLogger(__name__)


def lint_store(store: FrameStore, mode: str) -> list[Finding]:
    """What the linter finds in a store; looked for once and kept beside it.

    Errors and warnings are shown. `mode` is ``off`` (nothing is done), ``warn`` or ``strict``.

    Raises:
        ValueError: an unknown mode; or errors were found and the mode is ``strict``.
    """
    import json

    import numpy as np

    from chemscale.common.files import write_json
    from chemscale.structures.lint import Finding, lint, report
    from chemscale.structures.store import PARTS

    if mode == "off":
        return []
    if mode not in ("warn", "strict"):
        raise ValueError(f"lint={mode!r}: choose warn, strict or off (prepare also knows only).")
    kept = store.path / "lint.json"
    if kept.exists():
        findings = [Finding(**f) for f in json.loads(kept.read_text())]
    else:
        parts = {part: np.asarray(store.part(part)) for part in PARTS}
        findings = lint(
            {part: partial(store.blocks, frames) for part, frames in parts.items() if len(frames)}
        )
        write_json(kept, [vars(f) for f in findings])
    for line in report([f for f in findings if f.severity != "note"])[
        : sum(f.severity != "note" for f in findings)
    ]:
        log.warning("%s: %s", store.path.name, line)
    errors = [f for f in findings if f.severity == "error"]
    if errors and mode == "strict":
        raise ValueError(f"{store.path}: the linter found {len(errors)} errors, first: {errors[0].message}")
    return findings


def lint_source(source: Source) -> list[Finding]:
    """What the linter finds in files, nothing being made of them; published parts are told apart."""
    from chemscale.structures.lint import lint

    published = source.splits()
    if published is None:
        return lint({"train": source.blocks})
    return lint({part: partial(_rows_of, source, rows) for part, rows in published.items()})


def _rows_of(source: Source, rows: np.ndarray) -> Iterator[Block]:
    import numpy as np

    for block in source.blocks():
        chosen = np.isin(block.rows, rows)
        if chosen.any():
            yield block.select(chosen)
