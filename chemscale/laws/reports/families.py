"""Several families of models on one axis: a law for each, their exponents side by side, one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chemscale.common.files import write_json
from chemscale.laws.axis.fit import Fit
from chemscale.laws.axis.law import AxisLaw, fit_axis
from chemscale.laws.data.left_out import LeftOut
from chemscale.laws.data.points import LawPoint, LawPoints
from chemscale.laws.data.pooling import refuse_pooling
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
from chemscale.laws.reports.texts import ahead_text, values_text


@dataclass
class Family:
    """One family and the forms fitted to it."""

    name: str
    points: list[LawPoint]
    law_of: AxisLaw

    @property
    def fit(self) -> Fit | None:
        """The law."""
        return self.law_of.chosen

    @property
    def fits(self) -> list[Fit]:
        """Every fit, the law first."""
        return self.law_of.shown()

    @property
    def refused(self) -> list[str]:
        """Why a form is missing, and which points lie outside the regime."""
        regime = self.law_of.regime
        outside = [regime.statement] if regime is not None and len(self.law_of.outside) else []
        return [*self.law_of.refused, *outside]

    def line(self, fit: Fit) -> str:
        """A fit as it is printed."""
        mark = self.law_of.standing.get(fit.form.name, "")
        values = values_text(fit, self.law_of.holds(fit))
        return f"{self.name}: {fit.form.formula}{f' ({mark})' if mark else ''}: {values}"


@dataclass
class FamiliesReport:
    """Families of models compared along one axis.

    Args:
        title: of the page.
        groups: name of each family to its points.
        axis: along which laws are fitted.
        unit: of the loss.
        source: where the points come from.
        origin: what the page shows of the runs.
        forms: names; None for what the points allow.
        bootstrap: draws.
        seed: of the draws.
        beside: what lay beside the points and is none (see ``LawPoints``).
    """

    title: str
    groups: dict[str, list[LawPoint]]
    axis: str
    unit: str
    source: str
    origin: Origin
    forms: Sequence[str] | None = None
    bootstrap: int = 1000
    seed: int = 0
    beside: tuple[LeftOut, ...] = ()

    def __post_init__(self) -> None:
        self.points = LawPoints(
            tuple(p for group in self.groups.values() for p in group), self.source, self.beside
        )
        self.families = [self._fit(name, group) for name, group in self.groups.items()]

    def _fit(self, name: str, group: list[LawPoint]) -> Family:
        points = LawPoints(tuple(group), self.source)
        if why := refuse_pooling(points, self.axis, self.unit):
            return Family(name, group, AxisLaw([], [why]))
        x, y = points.used(self.axis, self.unit)
        law = fit_axis(x, y, axis=self.axis, forms=self.forms, bootstrap=self.bootstrap, seed=self.seed)
        return Family(name, group, law)

    def lines(self) -> list[str]:
        """A line for each form of each family: never an exponent without its interval."""
        out = list(self.origin.notes)
        for family in self.families:
            if not family.fits:
                out.append(f"{family.name}: no law. {' '.join(family.refused)}")
                continue
            first = len(out)
            if family.fit is None:
                out.append(f"{family.name}: {family.law_of.why} {ahead_text(family.law_of)}")
            for fit in family.fits:
                out.append(family.line(fit))
                if fit is family.fit:
                    out += [f"  {family.law_of.why}", f"  {ahead_text(family.law_of)}"]
                shown = out[first:]
                out += [line for note in fit.notes if (line := f"  {note}") not in shown]
            out += [f"  {why}" for why in family.refused]
        return out

    def law(self) -> dict[str, Any]:
        """The content of ``law.json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "ladder",
            "form": "the form that the points support, for each rung",
            "axis": self.axis,
            "unit": self.unit,
            "rungs": {
                family.name: {
                    **(family.fit.to_dict() if family.fit else {}),
                    "why": family.law_of.why,
                    "predictions": [asdict(each) for each in family.law_of.ahead()],
                    "fits": [family.law_of.to_dict(fit) for fit in family.law_of.fits],
                    "refused": family.refused,
                }
                for family in self.families
            },
            "command": self.origin.command,
            "data": law_data(self.points, self.origin),
            "notes": self.origin.notes,
            "versions": self.origin.versions,
        }

    def write(self, out: Path) -> Path:
        """Write the page, the figure, ``law.json`` and ``points.csv`` into `out`; returns the page."""
        figure = figures.families_figure(
            [(each.name, each.points, each.fit) for each in self.families], self.axis, self.unit
        )
        with whole_folder(Path(out)) as folder:
            image = saved_inline(figure, folder / "ladder")
            write_json(folder / "law.json", self.law())
            write_csv(folder / "points.csv", self._rows())
            write_text(folder / "report.html", render("families.html.j2", report=self, image=image))
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
