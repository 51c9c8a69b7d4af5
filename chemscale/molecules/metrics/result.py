"""What an evaluation found, as it is printed, kept in ``metrics.json`` and read again."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.common.files import read_regular
from chemscale.molecules.metrics.intervals import Value
from chemscale.molecules.metrics.sampled.files import SamplesError
from chemscale.molecules.metrics.table import METRICS

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
METRICS_FILE, PAGE_FILE, MOLECULES = "metrics.json", "report.html", "molecules"
"""In the folder of an evaluation."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Args:
        values: metrics of the sample by name (``metrics.table.METRICS``).
        own: the same of reference molecules judged by other reference molecules; empty without a reference.
        fates: how many sequences were truncated, rewritten and so on; empty where that is not known.
        notes: what a reader must know before any number.
        folder: of ``metrics.json`` and ``report.html``.
    """

    values: dict[str, Value]
    own: dict[str, Value]
    fates: dict[str, int]
    notes: list[str]
    folder: Path

    @property
    def page(self) -> Path:
        """The page to open in a browser."""
        return self.folder / PAGE_FILE

    def lines(self) -> list[str]:
        """A table for a terminal: metric, value, 95 % interval, the reference's own value; then the notes."""
        rows = [("metric", "value", "95 % interval", "reference's own" if self.own else "")]
        for metric in METRICS.values():
            if metric.name in self.values:
                value, own = self.values[metric.name], self.own.get(metric.name)
                shown = metric.show(own) if own is not None else ""
                rows.append((metric.title, metric.show(value), metric.show_interval(value), shown))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        table = [
            f"{row[0]:{widths[0]}s}  " + "  ".join(f"{row[i]:>{widths[i]}s}" for i in (1, 2, 3))
            for row in rows
        ]
        return [*(line.rstrip() for line in table), *self.notes]


def earlier_evaluation(folder: Path, request: dict[str, Any]) -> Evaluation | None:
    """The evaluation that a folder holds, if it is of the same request; None where there is none yet.

    Args:
        folder: of the evaluation.
        request: what decides its numbers, as plain values.

    Raises:
        SamplesError: it is of another one, or the folder is something else.
    """
    file = folder / METRICS_FILE
    if not file.is_file():
        ours = {MOLECULES, PAGE_FILE}
        if folder.exists() and (not folder.is_dir() or {p.name for p in folder.iterdir()} - ours):
            raise SamplesError(f"{folder} exists and is no evaluation: choose another place with --out.")
        return None
    try:
        content = json.loads(read_regular(file))
        earlier = content["request"]
        values, own = (_values(content[key]) for key in ("metrics", "own"))
        found = Evaluation(values, own, content["fates"], content["notes"], folder)
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        raise SamplesError(f"{file}: damaged. Remove {folder}, or choose another place with --out.") from None
    differing = sorted(key for key in {*earlier, *request} if earlier.get(key) != request.get(key))
    if differing:
        raise SamplesError(
            f"{folder} holds another evaluation ({', '.join(differing)} differ). Choose another place with "
            "--out, or remove it."
        )
    log.info("%s holds this evaluation already.", folder)
    return found


def _values(raw: dict[str, dict[str, Any]]) -> dict[str, Value]:
    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    return {
        name: Value(number(v["value"]), number(v["low"]), number(v["high"]), int(v["of"]))
        for name, v in raw.items()
    }
