"""The report of a corpus or a store that is prepared: looked at, and written beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemscale.common.durations import format_duration
from chemscale.common.parallel import worker_count
from chemscale.points.data_report.molecules import describe_corpus
from chemscale.points.data_report.page import write_report
from chemscale.points.data_report.remarks import remarks_on_molecules, remarks_on_structures
from chemscale.points.data_report.structures import describe_store

if TYPE_CHECKING:
    from chemscale.molecules.corpus import Corpus
    from chemscale.structures.lint import Finding
    from chemscale.structures.store import FrameStore

log = logging.getLogger(__name__)


def report_corpus(corpus: Corpus, block: int, workers: int | None) -> Path:
    """Write ``report.html`` and ``report.json`` beside a corpus, and say where.

    Args:
        corpus: prepared.
        block: positions of a block of training (``data.block``).
        workers: processes; None for one a core.

    Raises:
        ReportError: nothing can be written there.
    """
    started = time.monotonic()
    content = describe_corpus(corpus, block, worker_count(workers))
    return _write(corpus.path, content | {"remarks": remarks_on_molecules(content)}, started)


def report_store(
    store: FrameStore, method: str | Mapping[int, float], findings: Sequence[Finding] | None
) -> Path:
    """Write ``report.html`` and ``report.json`` beside a store, and say where.

    Args:
        store: prepared.
        method: of reference energies (``data.references``).
        findings: of the linter; None where it did not look.

    Raises:
        ReportError: nothing can be written there.
    """
    started = time.monotonic()
    content = describe_store(store, method, findings)
    return _write(store.path, content | {"remarks": remarks_on_structures(content)}, started)


def _write(folder: Path, content: dict[str, Any], started: float) -> Path:
    page = write_report(folder, content)
    log.info("Report, made in %s: %s", format_duration(time.monotonic() - started), page)
    return page
