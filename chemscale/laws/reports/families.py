"""Several families of models on one axis: a law for each, their exponents side by side, one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.common.files import write_json
from chemscale.laws.axis.fit import Fit
from chemscale.laws.axis.law import AxisLaw, fit_axis
from chemscale.laws.data.points import LawPoint, LawPoints
from chemscale.laws.reports import axis_figures as figures
from chemscale.laws.reports.page import (
    SCHEMA_VERSION,
    Origin,
    law_data,
    render,
    whole_folder,
    write_csv,
    write_text,
)
from chemscale.laws.reports.plotting import saved_inline
from chemscale.laws.reports.texts import values_text


@dataclass
class Rung:
    """One family and the forms fitted to it."""

    name: str
    points: list[LawPoint]
    law_of: AxisLaw

    @property
    def fit(self) -> Fit | None:
        """The law."""
        return self.law_of.chosen

    @property
    def fits(self) -> list[tuple[str, Fit]]:
        """Every fit with what it was fitted to, the law first."""
        return self.law_of.shown()

    @property
    def refused(self) -> list[str]:
        """Why a form is missing, and which points lie outside the regime."""
        regime = self.law_of.regime
        outside = [regime.statement] if regime is not None and self.law_of.inside else []
        return [*self.law_of.refused, *outside]

    def line(self, which: str, fit: Fit) -> str:
        best = "the law" if fit is self.fit and len(self.fits) > 1 else ""
        mark = ", ".join(text for text in (which, best) if text)
        return f"{self.name}: {fit.form.formula}{f' ({mark})' if mark else ''}: {values_text(fit)}"


@dataclass
class Ladder:
    """Groups of runs that differ in their model, compared along one axis.

    Args:
        groups: name of a rung to its points.
    """

    title: str
    groups: dict[str, list[LawPoint]]
    axis: str
    unit: str
    source: str
    origin: Origin
    forms: Sequence[str] | None = None
    """Names; None for what the points allow."""
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        self.points = LawPoints(tuple(p for group in self.groups.values() for p in group), self.source)
        self.rungs = [self._fit(name, group) for name, group in self.groups.items()]

    def _fit(self, name: str, group: list[LawPoint]) -> Rung:
        x, y = LawPoints(tuple(group), self.source).used(self.axis, self.unit)
        law = fit_axis(x, y, axis=self.axis, forms=self.forms, bootstrap=self.bootstrap, seed=self.seed)
        return Rung(name, group, law)

    def lines(self) -> list[str]:
        """A line for each form of each rung: never an exponent without its interval."""
        out = list(self.origin.notes)
        for rung in self.rungs:
            if not rung.fits:
                out.append(f"{rung.name}: no law. {' '.join(rung.refused)}")
                continue
            first = len(out)
            for which, fit in rung.fits:
                out.append(rung.line(which, fit))
                said = out[first:]
                out += [line for note in fit.notes if (line := f"  {note}") not in said]
            out += [f"  {why}" for why in rung.refused]
        return out

    def law(self) -> dict[str, Any]:
        """Everything machine-readable."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "ladder",
            "form": "the form that the points support, for each rung",
            "axis": self.axis,
            "unit": self.unit,
            "rungs": {
                rung.name: {
                    **(rung.fit.to_dict() if rung.fit else {}),
                    "fits": [fit.to_dict() for fit in rung.law_of.fits],
                    "inside_regime": [fit.to_dict() for fit in rung.law_of.inside],
                    "refused": rung.refused,
                }
                for rung in self.rungs
            },
            "command": self.origin.command,
            "data": law_data(self.points, self.origin),
            "notes": self.origin.notes,
            "versions": self.origin.versions,
        }

    def write(self, out: Path) -> Path:
        """Write the page, the figure, ``law.json`` and ``points.csv``; returns the page."""
        figure = figures.ladder_figure([(r.name, r.points, r.fit) for r in self.rungs], self.axis, self.unit)
        with whole_folder(Path(out)) as folder:
            image = saved_inline(figure, folder / "ladder")
            write_json(folder / "law.json", self.law())
            write_csv(folder / "points.csv", self._rows())
            write_text(folder / "report.html", render("ladder.html.j2", ladder=self, image=image))
        return Path(out) / "report.html"

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "rung": name,
                "label": p.label,
                "seed": p.seed,
                **p.sizes,
                **p.losses,
                "used": p.used,
                "why": p.reason,
            }
            for name, group in self.groups.items()
            for p in group
        ]
