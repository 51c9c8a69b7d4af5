"""Several families of models on one axis: a law for each, their exponents side by side, one figure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chemscale.laws import figures
from chemscale.laws.fitting import LEVEL, Fit, FitError, fit_power_law
from chemscale.laws.points import LawPoint, LawPoints
from chemscale.laws.report import interval_text, render, write_csv, write_text


@dataclass
class Rung:
    """One family and its power law; `refused` says why there is none."""

    name: str
    points: list[LawPoint]
    fit: Fit | None = None
    refused: str = ""


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
        rung = Rung(name, group)
        try:
            x, y = LawPoints(tuple(group), self.source).used(self.axis, self.unit)
            rung.fit = fit_power_law(x, y, bootstrap=self.bootstrap, seed=self.seed)
        except FitError as error:
            rung.refused = str(error)
        return rung

    def lines(self) -> list[str]:
        """One line a rung: never an exponent without its interval."""
        out = []
        for rung in self.rungs:
            if rung.fit is None:
                out.append(f"{rung.name}: no law. {rung.refused}")
                continue
            out.append(
                f"{rung.name}: L = α·x^(−β), β = {interval_text(rung.fit, 'beta')}, "
                f"α = {interval_text(rung.fit, 'alpha')}  [{LEVEL:.0%} intervals, {len(rung.fit.x)} points]"
            )
            out += [f"  {note}" for note in rung.fit.notes]
        return out

    def law(self) -> dict[str, Any]:
        """Everything machine-readable."""
        return {
            "form": "power law for each rung",
            "axis": self.axis,
            "unit": self.unit,
            "rungs": {
                rung.name: rung.fit.to_dict() if rung.fit else {"refused": rung.refused}
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
