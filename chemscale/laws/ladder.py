"""Several families of models on one axis: a law for each, their exponents side by side, one figure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chemscale.laws import figures
from chemscale.laws.fitting import Fit, fit_forms, supported
from chemscale.laws.points import LawPoint, LawPoints
from chemscale.laws.report import render, values_text, write_csv, write_text


@dataclass
class Rung:
    """One family and the forms fitted to it; `refused` says why one is missing."""

    name: str
    points: list[LawPoint]
    fits: list[Fit]
    refused: list[str]

    @property
    def fit(self) -> Fit | None:
        """The form that the points support."""
        return supported(self.fits)

    def line(self, fit: Fit) -> str:
        mark = " (supported best)" if fit is self.fit and len(self.fits) > 1 else ""
        return f"{self.name}: {fit.form.formula}{mark}: {values_text(fit)}"


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
    runs: list[dict[str, str]] = field(default_factory=list)
    command: str = ""
    data_hash: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        self.points = LawPoints(tuple(p for group in self.groups.values() for p in group), self.source)
        self.rungs = [self._fit(name, group) for name, group in self.groups.items()]

    def _fit(self, name: str, group: list[LawPoint]) -> Rung:
        x, y = LawPoints(tuple(group), self.source).used(self.axis, self.unit)
        return Rung(name, group, *fit_forms(x, y, bootstrap=self.bootstrap, seed=self.seed))

    def lines(self) -> list[str]:
        """A line for each form of each rung: never an exponent without its interval."""
        out = []
        for rung in self.rungs:
            if not rung.fits:
                out.append(f"{rung.name}: no law. {' '.join(rung.refused)}")
            for fit in rung.fits:
                out.append(rung.line(fit))
                out += [f"  {note}" for note in fit.notes]
        return out

    def law(self) -> dict[str, Any]:
        """Everything machine-readable."""
        return {
            "form": "the form that the points support, for each rung",
            "axis": self.axis,
            "unit": self.unit,
            "rungs": {
                rung.name: {
                    **(rung.fit.to_dict() if rung.fit else {}),
                    "fits": [fit.to_dict() for fit in rung.fits],
                    "refused": rung.refused,
                }
                for rung in self.rungs
            },
            "command": self.command,
            "data": {"source": self.source, "points_hash": self.points.hash, "data_hash": self.data_hash},
            "versions": self.versions,
        }

    def write(self, out: Path) -> Path:
        """Write the page, the figure, ``law.json`` and ``points.csv``; returns the page."""
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        figure = figures.ladder_figure([(r.name, r.points, r.fit) for r in self.rungs], self.axis, self.unit)
        figures.save(figure, out / "ladder")
        image = figures.inline_svg(figure)
        figures.close(figure)
        write_text(out / "law.json", json.dumps(self.law(), indent=1))
        write_csv(out / "points.csv", self._rows())
        page = out / "report.html"
        write_text(page, render("ladder.html.j2", ladder=self, image=image))
        return page

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
