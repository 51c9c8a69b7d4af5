"""The report of a law of one axis: one page that stands alone, its figures, and the numbers for machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chemscale.common.files import write_json
from chemscale.laws.axis.fit import Fit, floor_significance
from chemscale.laws.axis.law import AxisLaw
from chemscale.laws.data.points import LawPoints
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
class Report:
    """Everything that a report of one axis shows.

    Args:
        title: of the page.
        points: used or not.
        law_of: the fits and the test of their regime.
        axis: of the sizes.
        unit: of the loss.
        origin: what the page shows of the runs.
        conventions: the first form under other counts of the size.
    """

    title: str
    points: LawPoints
    law_of: AxisLaw
    axis: str
    unit: str
    origin: Origin
    conventions: list[tuple[str, Fit]] = field(default_factory=list)

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
        # Of a joint law that was sought first, a note may hold the same.
        why = [text for text in self.law_of.refused if not any(text in note for note in self.origin.notes)]
        return [*self.origin.notes, *why, *test]

    def lines(self) -> list[str]:
        """The law as it is printed: never a number without its interval."""
        out = list(self.origin.notes)
        for fit in self.law_of.shown():
            mark = self.law_of.standing.get(fit.form.name, "")
            values = values_text(fit, self.law_of.holds(fit))
            out.append(f"{fit.form.formula}{f' ({mark})' if mark else ''}: {values}")
            if fit is self.chosen:
                out += [f"  {self.law_of.why}", f"  {ahead_text(self.law_of)}"]
            if fit.held_out_error is not None:
                out.append(
                    f"  fitted without the largest size, it misses that one by {fit.held_out_error:+.1%}"
                )
            # Forms often share notes on the points.
            out += [line for note in fit.notes if (line := f"  {note}") not in out]
        if self.chosen is None and self.law_of.fits:
            out.insert(len(self.origin.notes), f"{self.law_of.why} {ahead_text(self.law_of)}")
        return out + [f"  {why}" for why in self.refused[len(self.origin.notes) :]]

    def law(self) -> dict[str, Any]:
        """The content of ``law.json``."""
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
            "why": self.law_of.why,
            "predictions": [asdict(each) for each in self.law_of.ahead()],
            "fits": [self.law_of.to_dict(fit) for fit in self.law_of.fits],
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
        """Write the page, the figures, ``law.json`` and ``points.csv`` into `out`; returns the page."""
        with whole_folder(Path(out)) as folder:
            self._write(folder)
        return Path(out) / "report.html"

    def _write(self, out: Path) -> None:
        drawn = figures.law_figure(self.points, self.law_of, self.axis, self.unit)
        images = [("Loss against size", saved_inline(drawn, out / f"loss_vs_{self.axis}"))]
        if any(len(curve["seen"]) for curve in self.origin.curves):
            drawn = figures.curves_figure(self.origin.curves, self.unit)
            images.append(("Learning curves", saved_inline(drawn, out / "learning_curves")))
        law = self.law()
        write_json(out / "law.json", law)
        write_csv(out / "points.csv", law["data"]["points"])
        write_text(out / "report.html", render("report.html.j2", report=self, images=images))

    @property
    def significance(self) -> str:
        """The F test of the floor, in words; empty where both forms were not fitted."""
        fits = {fit.form.name: fit for fit in self.law_of.fits}
        if not {"power", "offset"} <= set(fits):
            return ""
        return f"p = {floor_significance(fits['power'], fits['offset']):.2g}"
