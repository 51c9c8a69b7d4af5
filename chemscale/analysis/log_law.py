"""The law of a sweep to the trackers of its points; a tracker that fails is logged and spoils no fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chemscale.training.trackers import SweepLaw, TrackerError, chosen

log = logging.getLogger(__name__)


def log_law(
    config: Mapping[str, Any], sweep: str, report: Path, law: Mapping[str, Any], show: Callable[[str], object]
) -> None:
    """Log a fitted law wherever its points were tracked.

    Args:
        config: of one of the points; its ``logger`` counts.
        sweep: name of the sweep.
        report: the page; figures and ``law.json`` lie beside it.
        law: ``law.json``.
        show: called with a line of each tracker that has one.
    """
    try:
        trackers = chosen(config)
    except TrackerError as error:
        log.warning("The law is not logged: %s", error)
        return
    found = SweepLaw(sweep, report.parent, law, figures_of(report.parent, law.get("axis")))
    for kind, settings in trackers:
        try:
            line = kind.log_law(found, settings)
        except Exception as error:
            log.warning("%s could not show the law (%s): it is in %s.", kind.__name__, error, report.parent)
            continue
        if line:
            show(line)


def figures_of(folder: Path, axis: str | None = None) -> list[Path]:
    """The figures of a law, the main one first: loss against its axis, or that of all families.

    Args:
        folder: where they lie.
        axis: of the law, where it has one.
    """
    first = (f"loss_vs_{axis}", "ladder", "loss_vs_flops", "loss_vs_parameters")
    return sorted(
        folder.glob("*.png"),
        key=lambda path: (first.index(path.stem) if path.stem in first else len(first), path.name),
    )
