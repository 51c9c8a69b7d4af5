"""The report of a law: one page that stands alone, its figures, and the numbers for machines."""

from __future__ import annotations

import csv
import datetime
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chemscale.laws import figures
from chemscale.laws.fitting import LEVEL, Fit, supported
from chemscale.laws.points import LawPoints

SCHEMA_VERSION = 1
SYMBOLS = {"alpha": "α", "beta": "β", "floor": "L∞"}


@dataclass
class Report:
    """Everything that a report shows."""

    title: str
    points: LawPoints
    fits: list[Fit]
    axis: str
    unit: str
    refused: list[str]
    """Why a form was not fitted, in words."""
    conventions: list[tuple[str, Fit]] = field(default_factory=list)
    """The first form under other counts of the size."""
    curves: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, str]] = field(default_factory=list)
    command: str = ""
    data_hash: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> Fit | None:
        """The form that the points support."""
        return supported(self.fits)

    def lines(self) -> list[str]:
        """The law as it is printed: never a number without its interval."""
        out = []
        for fit in self.fits:
            mark = " (supported best)" if fit is self.chosen and len(self.fits) > 1 else ""
            out.append(f"{fit.form.formula}{mark}: {values_text(fit)}")
            if fit.held_out_error is not None:
                out.append(
                    f"  fitted without the largest size, it misses that one by {fit.held_out_error:+.1%}"
                )
            out += [f"  {note}" for note in fit.notes]
        return out + [f"  {why}" for why in self.refused]

    def law(self) -> dict[str, Any]:
        """``law.json``"""
        chosen = self.chosen
        main = chosen.to_dict() if chosen else {}
        return {
            "schema_version": SCHEMA_VERSION,
            "form": main.get("form"),
            "parameters": main.get("parameters"),
            "intervals": main.get("intervals"),
            "objective": main.get("objective"),
            "axis": self.axis,
            "unit": self.unit,
            "data": {
                "source": self.points.source,
                "hash": self.points.hash,
                "corpus": self.data_hash,
                "points": [
                    {
                        "label": p.label,
                        **p.sizes,
                        **p.losses,
                        "seed": p.seed,
                        "used": p.used,
                        "reason": p.reason,
                    }
                    for p in self.points.points
                ],
            },
            "command": self.command,
            "fits": [fit.to_dict() for fit in self.fits],
            "conventions": {name: fit.to_dict() for name, fit in self.conventions},
            "notes": self.refused,
            "versions": self.versions,
        }

    def write(self, out: Path) -> Path:
        """Write the page, the figures, ``law.json`` and ``points.csv``; returns the page."""
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        ordered = sorted(self.fits, key=lambda fit: fit is not self.chosen)
        law = figures.law_figure(self.points, ordered, self.axis, self.unit)
        figures.save(law, out / f"loss_vs_{self.axis}")
        images = [("Loss against size", figures.inline_svg(law))]
        figures.close(law)
        if any(len(curve["seen"]) for curve in self.curves):
            curves = figures.curves_figure(self.curves, self.unit)
            figures.save(curves, out / "learning_curves")
            images.append(("Learning curves", figures.inline_svg(curves)))
            figures.close(curves)
        write_text(out / "law.json", json.dumps(self.law(), indent=1))
        write_csv(out / "points.csv", self.law()["data"]["points"])
        page = out / "report.html"
        write_text(page, self._html(images))
        return page

    def _html(self, images: list[tuple[str, str]]) -> str:
        return render("report.html.j2", report=self, images=images)


def render(template: str, **values: Any) -> str:
    """A page of this package from what it shows: a ``Report`` or a ``Ladder``, and images."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("chemscale.laws"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.globals.update(interval=interval_text, symbols=SYMBOLS)
    shown = values.get("report") or values["ladder"]
    return environment.get_template(template).render(
        **values,
        level=f"{LEVEL:.0%}",
        unit=figures.UNITS.get(shown.unit, shown.unit),
        axis=figures.AXES.get(shown.axis, shown.axis),
        made=datetime.datetime.now(datetime.UTC).strftime("%d %B %Y %H:%M UTC"),
    )


def interval_text(fit: Fit, name: str) -> str:
    """``0.123 [0.101, 0.145]``; a side that the data do not bound is ∞."""
    low, high = fit.intervals[name]
    # A floor at its bound comes out as 1e-30.
    left = "−∞" if low is None else f"{0.0 if abs(low) < 1e-12 else low:.4g}"
    right = "∞" if high is None else f"{high:.4g}"
    return f"{fit.values[name]:.4g} [{left}, {right}]"


def values_text(fit: Fit) -> str:
    """Every parameter with its interval."""
    values = ", ".join(f"{SYMBOLS[name]} = {interval_text(fit, name)}" for name in fit.form.parameters)
    return f"{values}  [{LEVEL:.0%} intervals, {len(fit.x)} points]"


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
