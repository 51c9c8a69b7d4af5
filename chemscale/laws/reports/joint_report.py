"""The report of a joint law of model size and data: printed lines, ``law.json``, figures and the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import write_json
from chemscale.common.listening import work
from chemscale.laws.allocation.compute import SIX_ND
from chemscale.laws.allocation.optimum import Allocation, Optimum
from chemscale.laws.axis.fit import LEVEL, FitError
from chemscale.laws.data.points import LawPoints
from chemscale.laws.joint.fit import SurfaceFit
from chemscale.laws.reports import check_figures, joint_figures
from chemscale.laws.reports.axis_figures import curves_figure
from chemscale.laws.reports.joint_analysis import JointAnalysis
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
from chemscale.laws.reports.texts import (
    SYMBOLS,
    exponent_text,
    parameters_text,
    short,
    sizes_text,
    span_text,
)

Drawn = tuple[str, str, Callable[[], Any], str]
"""Name of a figure's file, its caption, the drawing, and what it shows."""
COUNTS = {
    "parameters": "matrices (12·L·d²)",
    "blocks": "blocks",
    "non_embedding": "non-embedding",
    "all": "all",
}


@dataclass
class SurfaceReport:
    """Everything that a report of a joint law shows."""

    title: str
    found: JointAnalysis
    origin: Origin

    @property
    def unit(self) -> str:
        """Of the loss."""
        return self.found.unit

    @property
    def axis(self) -> str:
        """Axis of the data."""
        return self.found.data_axis

    @property
    def points(self) -> LawPoints:
        """All points, used or not."""
        return self.found.points

    @property
    def chosen(self) -> SurfaceFit:
        """The law.

        Raises:
            FitError: no form could be fitted.
        """
        if self.found.law is None:
            raise FitError(" ".join(self.found.refused) or "No joint form was fitted.")
        return self.found.law

    def lines(self) -> list[str]:
        """The law as it is printed: never a number without its interval."""
        out = list(self.origin.notes)
        for fit in self.found.fits:
            mark = " (the law)" if fit is self.chosen and len(self.found.fits) > 1 else ""
            values = parameters_text(fit.values, fit.intervals)
            out.append(
                f"{fit.surface.formula}{mark}: {values}  [{LEVEL:.0%} intervals, {len(fit.loss)} runs]"
            )
            out.append(f"  {self.how(fit)}")
            out += [f"  {note}" for note in self.notes(fit)]
        out += [each.words for each in self.found.held_out]
        out += [self.found.form.words] if self.found.form and self.found.form.words else []
        out += self._per_axis_lines()
        most = self.found.budgets[-1]
        for allocation, best in self.optima(most):
            a = span_text(allocation.exponent_n, allocation.intervals["exponent_n"], ".3f")
            text = f"Approach {allocation.approach}, {allocation.compute}: N* ∝ C^a, a = {a}"
            if best is not None:
                text += (
                    f"; at {most:.2g} FLOP (10 times the largest run) "
                    f"N* = {self.size_text(allocation, best.n, best.n_interval)}, "
                    f"D* = {self.size_text(allocation, best.d, best.d_interval)}, "
                    f"loss {self.loss_text(allocation, best)}"
                )
            out.append(text)
        return out + [f"  {why}" for why in self.found.refused]

    @property
    def against(self) -> bool:
        """Whether the runs speak against the law's form."""
        return self.found.form is not None and not self.found.form.holds

    def _unknown(self, allocation: Allocation) -> bool:
        """Whether an approach rests on a form that the runs speak against: its intervals do not hold."""
        return self.against and allocation.approach.startswith("3")

    def may_be_off(self, best: Optimum) -> float | None:
        """Share of the loss by which it may be off at an optimum: by held-out runs, or half its band."""
        times = max(1.0, best.flops / float(self.found.flops.max()))
        off = self.found.form.off(times) if self.found.form else None
        return None if off is None else max(off, float(np.ptp(best.loss_interval)) / 2 / best.loss)

    def loss_text(self, allocation: Allocation, best: Optimum) -> str:
        """The loss at an optimum with its interval, or with how far off it may be."""
        if not self._unknown(allocation):
            return span_text(best.loss, best.loss_interval)
        off = self.may_be_off(best)
        return f"{best.loss:.4g} (no interval{'' if off is None else f'; may be off by ±{off:.1%}'})"

    def size_text(self, allocation: Allocation, value: float, ends: tuple[float, float]) -> str:
        """N* or D* with its interval, or without where the form does not hold."""
        if self._unknown(allocation):
            return f"{short(value)} (no interval)"
        return sizes_text(value, ends)

    def _per_axis_lines(self) -> list[str]:
        """The exponent along each axis alone, at the largest value of the other that has most sizes."""
        out = []
        for axis in ("parameters", self.axis):
            along = [each for each in self.found.per_axis if each.axis == axis]
            if along:
                last = max(along, key=lambda each: (len(np.unique(each.fit.x)), each.value))
                names = ("N", "D") if axis == "parameters" else ("D", "N")
                out.append(
                    f"Along {names[0]} alone at {names[1]} = {short(last.value)}: β = {exponent_text(last)}"
                )
        return out

    def how(self, fit: SurfaceFit) -> str:
        """How the optimum was found, in words."""
        ended = "converged" if fit.converged else "did not converge"
        text = (
            f"Σ Huber = {fit.objective:.6g} at δ = {fit.delta:g} of log loss; {ended}, {fit.reached:.0%} of "
            f"{fit.starts} starts end there; residuals {fit.noise:.2%}"
        )
        check = self.check(fit)
        return f"{text}. {check}" if check else f"{text}."

    def notes(self, fit: SurfaceFit) -> list[str]:
        """Notes of a fit with its parameters as people write them."""
        out = []
        for note in fit.notes:
            for name in sorted(SYMBOLS, key=len, reverse=True):
                note = re.sub(rf"\b{name}\b", SYMBOLS[name], note)
            out.append(note)
        return out

    def check(self, fit: SurfaceFit) -> str:
        """The check of a fit by variable projection, in words; empty where its form does not allow it."""
        mine = (c for c in self.found.checks if c.projection.form == fit.surface.name)
        return next((check.words for check in mine), "")

    def optima(self, budget: float) -> list[tuple[Allocation, Optimum | None]]:
        """Where each approach spends a budget; None where it has no optimum there."""
        out: list[tuple[Allocation, Optimum | None]] = []
        for allocation in self.found.allocations:
            try:
                out.append((allocation, allocation.at(budget)))
            except FitError:
                out.append((allocation, None))
        return out

    @cached_property
    def six_nd(self) -> tuple[float, float, float] | None:
        """Least, median and greatest ratio of counted FLOPs to 6ND; None where nothing was counted."""
        if not self.found.counted:
            return None
        ratio = sorted((self.found.flops / SIX_ND(self.found.n, self.found.d)).tolist())
        return ratio[0], ratio[len(ratio) // 2], ratio[-1]

    @property
    def counts(self) -> dict[str, str]:
        """Counts of parameters as the page names them."""
        return COUNTS

    def law(self) -> dict[str, Any]:
        """The content of ``law.json``; planning goes on from ``known`` and ``flops``."""
        found, chosen = self.found, self.chosen
        main = chosen.to_dict()
        relation = found.relation
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "surface",
            **{
                key: main[key] for key in ("form", "formula", "parameters", "intervals", "level", "objective")
            },
            "delta": chosen.delta,
            "axes": {"N": "parameters", "D": found.data_axis, "C": "flops"},
            "unit": found.unit,
            "known": {
                "surface": chosen.surface.name,
                "coordinates": list(chosen.surface.coordinates),
                "phi": chosen.phi.tolist(),
                "covariance": chosen.covariance.tolist(),
                "noise": chosen.noise,
                "freedom": len(chosen.loss) - len(chosen.free),
                "draws": chosen.draws.to_dict(),
                "drift": None if chosen.drift is None else chosen.drift.to_dict(),
            },
            "flops": {
                "counted": found.counted,
                "k": relation.k,
                "p": relation.p,
                "q": relation.q,
                "misfit": relation.misfit,
            },
            "data": law_data(found.points, self.origin),
            "command": self.origin.command,
            "fits": [fit.to_dict() for fit in found.fits],
            "checks": [{**c.projection.to_dict(), "agrees": c.agrees} for c in found.checks],
            "held_out": [each.to_dict() for each in found.held_out],
            "form_check": found.form.to_dict() if found.form else None,
            "held_out_by_form": {fit.surface.name: each.mean_error for fit, each in found.compared},
            "sensitivity": [row.to_dict() for row in found.sensitivity],
            "profiles": [each.to_dict() for each in found.profiles],
            "conventions": {name: fit.to_dict() for name, fit in found.conventions},
            "slices": [each.to_dict() for each in found.per_axis],
            "allocation": [self._allocation(each) for each in found.allocations],
            "notes": [*self.origin.notes, *found.refused],
            "versions": self.origin.versions,
        }

    def _allocation(self, allocation: Allocation) -> dict[str, Any]:
        optima = []
        for budget in self.found.budgets:
            try:
                best = allocation.at(budget)
                optimum = dict(vars(best))
                if self._unknown(allocation):
                    optimum |= dict.fromkeys(("n_interval", "d_interval", "loss_interval"))
                    optimum |= {"may_be_off": self.may_be_off(best)}
                optima.append(optimum)
            except FitError as error:
                optima.append({"flops": budget, "reason": str(error)})
        return {**allocation.to_dict(), "optima": optima}

    def write(self, out: Path) -> Path:
        """Write the page, the figures, ``law.json`` and ``points.csv`` into `out`; returns the page."""
        with whole_folder(Path(out)) as folder:
            self._write(folder)
        return Path(out) / "report.html"

    def _write(self, out: Path) -> None:
        drawn = [*self._laws(), *self._checks()]
        images = []
        with work(len(drawn), "figures") as done:
            for name, caption, draw, text in drawn:
                images.append((caption, saved_inline(draw(), out / name), text))
                done(1)
        law = self.law()
        write_json(out / "law.json", law)
        write_csv(out / "points.csv", law["data"]["points"])
        write_text(out / "report.html", render("surface.html.j2", report=self, images=images))

    def _laws(self) -> list[Drawn]:
        found, axis = self.found, self.found.data_axis
        seen = "" if len(self.chosen.surface.columns) < 3 else (
            " Lines are for data that are seen once." if found.corpus is None
            else f" Beyond {found.corpus:.3g} tokens the lines repeat their data, as the runs do."
        )  # fmt: skip
        held = (
            " The runs speak against the form: read it within them."
            if self.against
            else " It allows for exponents that drift too weakly to show."
        )
        band = f"Points are runs, lines the law with its {LEVEL:.0%} band.{seen}{held}"
        crosses = (
            " Dotted lines and crosses are parabolas through the runs and their minima (Approach 2)."
            if joint_figures.parabolas(found) else ""
        )  # fmt: skip
        drawn: list[Drawn] = [
            ("loss_vs_parameters", "Loss against N",
             lambda: joint_figures.loss_against(found, "parameters"), band),
            (f"loss_vs_{axis}", "Loss against D", lambda: joint_figures.loss_against(found, axis), band),
        ]  # fmt: skip
        if axis == "tokens":
            drawn += [
                ("loss_vs_flops", "Loss against C", lambda: joint_figures.loss_against_compute(found),
                 "Thin lines are the law at one N, the thick one the best loss of a budget (Approach 3), "
                 "dashed beyond the largest run."),
                ("isoflop", "Curves of equal compute", lambda: joint_figures.isoflop_figure(found),
                 f"Lines are the law at one C, points the runs near it, stars the law's optimum.{crosses}"),
            ]  # fmt: skip
        drawn.append(
            ("surface", "Loss surface", lambda: joint_figures.surface_figure(found),
             "Contours of equal loss over N and D."
             + (" The thick line is where a budget is spent best." if found.allocations else ""))
        )  # fmt: skip
        return drawn

    def _checks(self) -> list[Drawn]:
        found = self.found
        drawn: list[Drawn] = []
        if any(len(curve["seen"]) for curve in self.origin.curves):
            drawn.append(
                ("learning_curves", "Learning curves", lambda: curves_figure(self.origin.curves, self.unit),
                 "Validation loss while training; the marker is the end of the run.")
            )  # fmt: skip
        drawn.append(
            ("residuals", "Residuals", lambda: check_figures.residual_figure(found),
             f"Observed less fitted. The band holds {LEVEL:.0%} of normal residuals; a pattern in any row "
             "says that the form does not hold.")
        )  # fmt: skip
        if found.profiles:
            drawn.append(
                ("profiles", "Profile likelihoods", lambda: check_figures.profile_figure(found.profiles),
                 "Rise of the objective with one parameter held and the others refitted, in units of the "
                 f"rise that ends the {LEVEL:.0%} interval (shaded). A flat valley is a parameter that the "
                 "runs do not tell.")
            )  # fmt: skip
        return drawn

    @property
    def symbols(self) -> dict[str, str]:
        """Symbols of the parameters as the page writes them."""
        return {name: SYMBOLS.get(name, name) for name in self.chosen.values}
