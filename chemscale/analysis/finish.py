"""The end of a sweep: the table of its points, the law, the report."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from chemscale.common.durations import format_duration
from chemscale.objects.address import local_place
from chemscale.records import RECORD_NAME, PointPlan, RunRecord

log = logging.getLogger(__name__)


def finish_sweep(plans: Sequence[PointPlan], configs: Sequence[DictConfig]) -> list[float | None]:
    """Show the table of all points, fit their law and write its report.

    Leaves with status 1 if a point failed.

    Args:
        plans: of all points.
        configs: of all points, resolved.

    Returns:
        The objective of each point; None where it has none.
    """
    # Imported here, since train imports this module and a rank needs no Matplotlib.
    from chemscale.analysis.early_stopping_sweep import objective_of
    from chemscale.analysis.fit import Options, fit_runs
    from chemscale.analysis.log_law import log_law
    from chemscale.objects.seals import publish_report
    from chemscale.points.estimates.tables import show_results
    from chemscale.points.mirroring import write_missing

    records = [
        RunRecord.load(plan.directory) if (plan.directory / RECORD_NAME).exists() else None for plan in plans
    ]
    show_results(plans, records)
    in_step = write_missing([plan.directory for plan in plans])  # whether or not there is a law
    root = local_place(configs[0].runs) / str(configs[0].sweep_name)
    if any(record is not None and not record.why_left_out() for record in records):
        started = time.monotonic()
        outcome = fit_runs(
            root,
            only=[plan.identity for plan in plans],
            command="python -m chemscale.train " + " ".join(sys.argv[1:]),
            options=Options(progress=log.info),
        )
        for line in outcome.lines:
            log.info("%s", line)
        publish_report(outcome.report.parent)
        log.info("Report: %s (%s)", outcome.report, format_duration(time.monotonic() - started))
        tracked = cast(dict[str, Any], OmegaConf.to_container(configs[0], resolve=True))
        log_law(tracked, root.name, outcome.report, outcome.law, log.info)
    failed = [p.name for p, r in zip(plans, records, strict=True) if r is None or r.why_left_out()]
    if failed:
        log.error("%d of %d points did not end well: %s", len(failed), len(plans), ", ".join(failed))
    if failed or not in_step:
        sys.exit(1)
    return [objective_of(record) for record in records]
