"""The report of a law of one axis: one page that stands alone, its figures, and the numbers for machines."""

from __future__ import annotations

import csv
import datetime
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chemscale.laws.axis.fit import LEVEL, Fit, floor_significance
from chemscale.laws.axis.law import AxisLaw
from chemscale.laws.data.points import LawPoints
from chemscale.laws.reports import axis_figures as figures
from chemscale.laws.reports.plotting import saved_inline, short

SCHEMA_VERSION = 1
SYMBOLS = {
    "alpha": "α", "beta": "β", "eta": "η", "floor": "L∞", "R_D_star": "R_D*", "R_N_star": "R_N*",
    "alpha_N": "α_N", "alpha_D": "α_D",
}  # fmt: skip


@dataclass
class Origin:
    """Where a law comes from, as every report says it."""

    curves: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, str]] = field(default_factory=list)
    command: str = ""
    data_hash: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What a reader must know of the runs before any number."""


@dataclass
class Report:
    """Everything that a report of one axis shows."""

    title: str
    points: LawPoints
    law_of: AxisLaw
    axis: str
    unit: str
    origin: Origin
    conventions: list[tuple[str, Fit]] = field(default_factory=list)
    """The first form under other counts of the size."""

    @property
    def chosen(self) -> Fit | None:
        """The law."""
        return self.law_of.chosen

    @property
    def refused(self) -> list[str]:
        """What a reader must know, and why a form was not fitted, in words."""
        regime = self.law_of.regime
        test = (
            [] if regime is None or regime.p_value is None else [f"Regime: {regime.statement} {regime.test}"]
        )
        # Of a joint law that was sought first, a note may have said the same.
        why = [text for text in self.law_of.refused if not any(text in note for note in self.origin.notes)]
        return [*self.origin.notes, *why, *test]

    def lines(self) -> list[str]:
        """The law as it is printed: never a number without its interval."""
        out = list(self.origin.notes)
        for which, fit in self.law_of.shown():
            mark = ", ".join(text for text in (which, self._mark(fit)) if text)
            out.append(f"{fit.form.formula}{f' ({mark})' if mark else ''}: {values_text(fit)}")
            if fit.held_out_error is not None:
                out.append(
                    f"  fitted without the largest size, it misses that one by {fit.held_out_error:+.1%}"
                )
            # Forms often share what is said of the points.
            out += [line for note in fit.notes if (line := f"  {note}") not in out]
        return out + [f"  {why}" for why in self.refused[len(self.origin.notes) :]]

    def _mark(self, fit: Fit) -> str:
        return "the law" if fit is self.chosen and len(self.law_of.shown()) > 1 else ""

    def law(self) -> dict[str, Any]:
        """``law.json``"""
        regime = self.law_of.regime
        main = self.chosen.to_dict() if self.chosen else {}
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "axis",
            **{key: main.get(key) for key in ("form", "formula", "parameters", "intervals", "objective")},
            "axis": self.axis,
            "unit": self.unit,
            "data": law_data(self.points, self.origin),
            "command": self.origin.command,
            "fits": [fit.to_dict() for fit in self.law_of.fits],
            "inside_regime": [fit.to_dict() for fit in self.law_of.inside],
            "regime": None
            if regime is None
            else {
                "test": regime.test,
                "statement": regime.statement,
                "p_value": regime.p_value,
                "outside": self.law_of.outside.tolist(),
            },
            "conventions": {name: fit.to_dict() for name, fit in self.conventions},
            "notes": self.refused,
            "versions": self.origin.versions,
        }

    def write(self, out: Path) -> Path:
        """Write the page, the figures, ``law.json`` and ``points.csv``; returns the page."""
        with whole_folder(Path(out)) as folder:
            self._write(folder)
        return Path(out) / "report.html"

    def _write(self, out: Path) -> None:
        shown = self.law_of.shown()
        drawn = figures.law_figure(self.points, shown, self.axis, self.unit, self.law_of.outside)
        images = [("Loss against size", saved_inline(drawn, out / f"loss_vs_{self.axis}"))]
        if any(len(curve["seen"]) for curve in self.origin.curves):
            drawn = figures.curves_figure(self.origin.curves, self.unit)
            images.append(("Learning curves", saved_inline(drawn, out / "learning_curves")))
        law = self.law()
        write_law(out / "law.json", law)
        write_csv(out / "points.csv", law["data"]["points"])
        write_text(out / "report.html", render("report.html.j2", report=self, images=images))

    @property
    def significance(self) -> str:
        """The F test of the floor, in words; empty where both forms were not fitted."""
        fits = {fit.form.name: fit for fit in self.law_of.fits}
        if not {"power", "offset"} <= set(fits):
            return ""
        return f"p = {floor_significance(fits['power'], fits['offset']):.2g}"


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to write in, whose files move to `out` at the end: a failure leaves `out` as it was."""
    # Beside `out`, or inside where it is there: it may lie on another file system than its parent.
    beside = out if out.is_dir() else out.parent
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".writing-") as name:
        yield Path(name)
        out.mkdir(exist_ok=True)
        # The page names what it shows: it comes last.
        for path in sorted(Path(name).iterdir(), key=lambda path: path.suffix == ".html"):
            os.replace(path, out / path.name)


def law_data(points: LawPoints, origin: Origin) -> dict[str, Any]:
    """``data`` of ``law.json``: source, hash, corpus and every point."""
    return {
        "source": points.source,
        "hash": points.hash,
        "corpus": origin.data_hash,
        "points": [
            {"label": p.label, **p.sizes, **p.losses, "seed": p.seed, "used": p.used, "reason": p.reason}
            for p in points.points
        ],
    }


def render(template: str, **values: Any) -> str:
    """A page of this package from what it shows: a report with ``unit`` and ``axis``, and images."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(
        interval=interval_text, span=span_text, sizes=sizes_text, short=short, symbols=SYMBOLS
    )
    environment.filters["formula"] = formula_html
    shown = values.get("report") or values["ladder"]
    return environment.get_template(template).render(
        **values,
        level=f"{LEVEL:.0%}",
        unit=figures.UNITS.get(shown.unit, shown.unit),
        axis=figures.AXES.get(shown.axis, shown.axis),
        made=datetime.datetime.now(datetime.UTC).strftime("%d %B %Y %H:%M UTC"),
    )


def span_text(value: float, ends: Sequence[float | None], digits: str = ".4g") -> str:
    """``0.123 [0.101, 0.145]``; a side that the data do not bound is ∞."""
    low, high = ends
    # A floor at its bound comes out as 1e-30.
    left = "−∞" if low is None or low == -math.inf else f"{0.0 if abs(low) < 1e-12 else low:{digits}}"
    right = "∞" if high is None or high == math.inf else f"{high:{digits}}"
    return f"{'∞' if math.isinf(value) else f'{value:{digits}}'} [{left}, {right}]"


def sizes_text(value: float, ends: Sequence[float | None]) -> str:
    """``3.2B [2.7B, 3.8B]``"""
    low, high = (math.inf if end is None else end for end in ends)
    return f"{short(value)} [{short(low)}, {short(high)}]"


def formula_html(text: str) -> Any:
    """A formula or a symbol with raised exponents and lowered indices."""
    from markupsafe import Markup, escape

    out = str(escape(text))
    for pattern, tag in (
        (r"\^\(([^()]+)\)", "sup"), (r"\^(\w+)", "sup"), (r"_\{([^}]+)\}", "sub"), (r"_(\w)", "sub"),
    ):  # fmt: skip
        out = re.sub(pattern, rf"<{tag}>\1</{tag}>", out)
    return Markup(out)


def interval_text(fit: Any, name: str) -> str:
    """A parameter of a fit, of one axis or joint, with its interval."""
    return span_text(fit.values[name], fit.intervals[name])


def parameters_text(values: Mapping[str, float], intervals: Mapping[str, Sequence[float | None]]) -> str:
    """Every parameter with its interval."""
    return ", ".join(
        f"{SYMBOLS.get(name, name)} = {span_text(values[name], intervals[name])}" for name in values
    )


def values_text(fit: Fit) -> str:
    """Every parameter with its interval, and what it rests on."""
    return f"{parameters_text(fit.values, fit.intervals)}  [{LEVEL:.0%} intervals, {len(fit.x)} points]"


def write_law(path: Path, law: Mapping[str, Any]) -> None:
    """``law.json``: numbers that JSON does not know, infinities and NaN, become null."""
    write_text(path, json.dumps(finite(law), indent=1, allow_nan=False))


def finite(content: Any) -> Any:
    """The same with null in place of every number that is not finite."""
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Mapping):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return content


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    os.replace(partial, path)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """A table whose rows may lack columns; a reader sees the old file or the new one."""
    partial = path.with_suffix(".part")
    with open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
