"""What the pages of all reports share: where their runs come from, templates, and writing of files."""

from __future__ import annotations

import csv
import datetime
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from chemscale.common.files import atomic_write
from chemscale.laws.axis.fit import LEVEL
from chemscale.laws.data.points import LawPoints
from chemscale.laws.reports.plotting import AXES, UNITS
from chemscale.laws.reports.texts import (
    SYMBOLS,
    ahead_text,
    exponent_text,
    formula_html,
    interval_text,
    short,
    sizes_text,
    span_text,
)

SCHEMA_VERSION = 1
"""Of ``law.json``."""


@dataclass
class Origin:
    """Where a law comes from, as every report shows it.

    Args:
        curves: learning curves of the runs (see ``curves_figure``).
        runs: rows of their table.
        command: that fits them.
        data_hash: of their data.
        versions: of the software.
        notes: what a reader must know of the runs before any number.
    """

    curves: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, str]] = field(default_factory=list)
    command: str = ""
    data_hash: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def law_data(points: LawPoints, origin: Origin) -> dict[str, Any]:
    """Part ``data`` of ``law.json``: source, hash, corpus and every point."""
    return {
        "source": points.source,
        "hash": points.hash,
        "corpus": origin.data_hash,
        "left_out": points.left_out_summary,
        "points": [
            {"label": p.label, **p.sizes, **p.losses, "seed": p.seed, "used": p.used, "reason": p.reason}
            for p in points.points
        ],
    }


def render(template: str, **values: Any) -> str:
    """Render a page.

    Args:
        template: of this package.
        **values: what it shows: a ``report`` that has a unit and an axis, and images.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(
        interval=interval_text,
        exponent=exponent_text,
        ahead=ahead_text,
        span=span_text,
        sizes=sizes_text,
        short=short,
        symbols=SYMBOLS,
    )
    environment.filters["formula"] = formula_html
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    shown = values["report"]
    return environment.get_template(template).render(
        **values,
        level=f"{LEVEL:.0%}",
        unit=UNITS.get(shown.unit, shown.unit),
        axis=AXES.get(shown.axis, shown.axis),
        made=datetime.datetime.now(datetime.UTC).strftime("%d %B %Y %H:%M UTC"),
    )


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write in, whose files move to `out` at the end: a failure leaves `out` as it was."""
    # Beside `out`, or inside where it is there: it may lie on another file system than its parent.
    beside = out if out.is_dir() else out.parent
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".writing-") as name:
        yield Path(name)
        out.mkdir(exist_ok=True)
        # The page names what it shows: it comes last.
        for path in sorted(Path(name).iterdir(), key=lambda path: path.suffix == ".html"):
            os.replace(path, out / path.name)


class OutputError(ValueError):
    """A folder that a report cannot be written to; the message names it."""


def refuse_unwritable(out: Path) -> None:
    """Refuse a folder for a report before anything is computed for it.

    Args:
        out: the folder, there or not.

    Raises:
        OutputError: it is a file, lies below one, or nothing can be written there.
    """
    there = next(path for path in (out, *out.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        what = "is a file" if there == out else f"lies below the file {there}"
        raise OutputError(f"--out {out} {what}: a report is a folder. Name another by --out.")
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".writing-"):
            pass
    except OSError as error:
        raise OutputError(
            f"{out}: nothing can be written in {there} ({error.strerror}). Name another folder by --out."
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one."""
    with atomic_write(path) as file:
        file.write(text)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a table whose rows may lack columns; a reader sees the old file or the new one."""
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
