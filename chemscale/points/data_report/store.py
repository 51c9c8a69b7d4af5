"""The report of a store of frames that is prepared: looked at, and written beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from chemscale.common.durations import format_duration
from chemscale.points.data_report.page import write_report
from chemscale.points.data_report.remarks import remarks_on_structures
from chemscale.points.data_report.structures import describe_store
from chemscale.structures.lint.findings import Finding
from chemscale.structures.store import FrameStore

log = logging.getLogger(__name__)


def report_store(
    store: FrameStore, method: str | Mapping[int, float], findings: Sequence[Finding] | None
) -> Path:
    """Write ``report.html`` and ``report.json`` beside a store, and say where.

    Args:
        store: prepared.
        method: of reference energies (``data.references``).
        findings: of the linter; None where it did not look.

    Returns:
        The page.

    Raises:
        ReportError: nothing can be written there.
    """
    started = time.monotonic()
    content = describe_store(store, method, findings)
    page = write_report(store.path, content | {"remarks": remarks_on_structures(content)})
    log.info("Report, made in %s: %s", format_duration(time.monotonic() - started), page)
    return page
