"""The report of a corpus that is prepared: looked at, and written beside it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from chemscale.common.durations import format_duration
from chemscale.common.parallel import worker_count
from chemscale.molecules.corpus import Corpus
from chemscale.points.data_report.molecules import describe_corpus
from chemscale.points.data_report.page import write_report
from chemscale.points.data_report.remarks import remarks_on_molecules

log = logging.getLogger(__name__)


def report_corpus(corpus: Corpus, block: int, workers: int | None) -> Path:
    """Write ``report.html`` and ``report.json`` beside a corpus, and say where.

    Args:
        corpus: prepared.
        block: positions of a block of training (``data.block``).
        workers: processes; None for one a core.

    Returns:
        The page.

    Raises:
        ReportError: nothing can be written there.
    """
    started = time.monotonic()
    content = describe_corpus(corpus, block, worker_count(workers))
    page = write_report(corpus.path, content | {"remarks": remarks_on_molecules(content)})
    log.info("Report, made in %s: %s", format_duration(time.monotonic() - started), page)
    return page
