"""The report of training performance estimation (TPE, Frey et al. 2023) over a sweep of settings.

Which settings were finished, how good the estimate was, and what it saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import write_json
from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.early_stopping.calibration import LEVEL, Assessment, assess
from chemscale.laws.early_stopping.estimators import ESTIMATORS, WINDOWS
from chemscale.laws.early_stopping.rule import Outcome, Rule, Standing, replay, standing, successive_halving
from chemscale.laws.reports.early_stopping_figures import prediction_figure, training_figure
from chemscale.laws.reports.page import render, whole_folder, write_text
from chemscale.laws.reports.plotting import saved_inline


@dataclass
class TpeReport:
    """Everything that the report of a sweep over settings shows.

    Args:
        title: of the page.
        curves: of all settings.
        rule: by which runs are finished.
        unit: of the final losses.
        states: of the runs.
        command: that asks for it.
        left_out: what is left out, counted by reason, in a sentence; empty where nothing is.
    """

    title: str
    curves: Sequence[TrainingCurve]
    rule: Rule
    unit: str
    states: list[str] = field(default_factory=list)
    command: str = ""
    left_out: str = ""
    axis = "share of the run"

    def __post_init__(self) -> None:
        self.known: Standing = standing(self.curves, self.rule)
        finals = self.known.finals
        self.assessments: list[Assessment] = []
        for estimator in ESTIMATORS.values():
            found = assess(
                estimator.name,
                estimator.title,
                estimator.scores(self.curves, self.rule.share),
                finals,
                direct=estimator.direct and self.same_unit,
            )
            if found is not None:
                self.assessments.append(found)
        self.outcomes: list[Outcome] = []
        if self.complete:
            self.outcomes = [replay(self.curves, self.rule), successive_halving(self.curves, self.rule.share)]

    @property
    def same_unit(self) -> bool:
        """Whether training and final losses are one quantity, so that a curve may be read as its own end."""
        return self.unit.startswith("nats_per_token")

    @property
    def complete(self) -> bool:
        """Whether every end is known, so that policies can be replayed against the truth."""
        return not np.isnan(self.known.finals).any()

    @property
    def order(self) -> list[int]:
        """Numbers of the runs by rank."""
        return [int(n) for n in np.argsort(self.known.ranks)]

    @property
    def finished(self) -> str:
        """How many settings were finished, in words."""
        done = int(np.sum(~np.isnan(self.known.finals)))
        if self.complete:
            return f"all {done} settings were finished"
        shares = [c.spent / c.flops for c in self.curves if c.final is None and c.spent and c.flops]
        ends = dict.fromkeys(f"{share:.0%}" for share in (min(shares, default=0), max(shares, default=0)))
        stopped = f"the others stopped at {' to '.join(ends)}"
        return f"{done} of {len(self.curves)} settings were finished, {stopped}"

    @property
    def saved(self) -> float:
        """Share of the compute of the whole sweep that was not spent."""
        total = sum(c.flops for c in self.curves)
        spent = sum(c.flops if c.spent is None else c.spent for c in self.curves)
        return 1 - spent / total if total else 0.0

    def rows(self) -> list[dict[str, Any]]:
        """A row a run, most promising first."""
        return [self.row(n) for n in self.order]

    def row(self, n: int) -> dict[str, Any]:
        """What is known of the n-th run."""
        calibration = self.known.calibration
        curve, score = self.curves[n], self.known.scores[n]
        row: dict[str, Any] = {
            "run": curve.label,
            "rank": int(self.known.ranks[n]) + 1,
            "score": float(score),
        }
        if calibration is not None and np.isfinite(score):
            low, high = calibration.interval(np.array([score]))
            row["predicted"] = float(calibration.predict(np.array([score]))[0])
            row["interval"] = [float(low[0]), float(high[0])]
        row["final"] = curve.final
        chance = float(self.known.chances[n])
        row["chance below the best finished"] = None if np.isnan(chance) else chance
        row["state"] = self.states[n] if self.states else ("done" if curve.final is not None else "stopped")
        return row

    def lines(self) -> list[str]:
        """The result as it is printed."""
        best = self.known.best
        out = [f"{self.left_out[0].upper()}{self.left_out[1:]}."] if self.left_out else []
        if best is None:
            return [
                *out,
                f"No run has ended yet: {len(self.curves)} settings ranked by {self.rule.by.title}.",
            ]
        out += [
            f"Best setting: {self.curves[best].label}, final {self.known.finals[best]:.5g} ({self.unit}); "
            f"{self.finished}."
        ]
        if not self.complete:
            out.append(f"Compute saved: {self.saved:.0%} of training every setting to its end.")
            out += self._missed()
        out += self._late_validation()
        for found in self.assessments:
            if found.name == self.rule.estimator or self.complete:
                out.append(assessment_text(found, self.rule.share))
                if not self.complete:
                    out.append("  The finished runs were chosen by their score, which flatters ρ and R².")
        for outcome in self.outcomes:
            out.append(
                f"{outcome.policy}: {len(outcome.finished)} finished, {outcome.saved:.0%} saved, "
                f"{outcome.regret:.4g} above the best of all."
            )
        return out

    def _late_validation(self) -> list[str]:
        """A line where the baseline was read earlier than the estimate, which is not fair."""
        limits = [self.rule.share * c.planned for c in self.curves]
        read = [
            c.validated[c.validated <= end * (1 + 1e-9)] for c, end in zip(self.curves, limits, strict=True)
        ]
        shares = [
            seen[-1] / c.planned if len(seen) else 0.0 for seen, c in zip(read, self.curves, strict=True)
        ]
        if min(shares) > 0.95 * self.rule.share:
            return []
        return [
            f"  Early validation losses were read at {min(shares):.0%} to {max(shares):.0%} of the runs: "
            "validate more often for a fair baseline (trainer.validate_every=0.05)."
        ]

    def _missed(self) -> list[str]:
        chances = self.known.chances
        left = np.isfinite(chances)
        if not left.any():
            return ["  Too few runs have ended to say what the stopped ones would have become."]
        likeliest = int(np.nanargmax(np.where(left, chances, -1.0)))
        return [
            f"  What may have been missed: {self.curves[likeliest].label} has the largest chance of "
            f"all stopped runs to end below the best, {chances[likeliest]:.1%}."
        ]

    def to_dict(self) -> dict[str, Any]:
        """The content of ``tpe.json``."""
        return {
            "rule": asdict(self.rule),
            "unit": self.unit,
            "windows": WINDOWS,
            "level": LEVEL,
            "left_out": self.left_out,
            "runs": self.rows(),
            "assessments": [asdict(found) for found in self.assessments],
            "policies": [
                {
                    **asdict(outcome),
                    "finished": [self.curves[n].label for n in outcome.finished],
                    "saved": outcome.saved,
                    "regret": outcome.regret,
                }
                for outcome in self.outcomes
            ],
            "saved": self.saved,
            "command": self.command,
        }  # fmt: skip

    def write(self, out: Path) -> Path:
        """Write the page, its figures and ``tpe.json`` into `out`; returns the page."""
        share, title = self.rule.share, self.rule.by.title
        predicted = prediction_figure(self.known, share, title, self.unit)
        trained = training_figure(self.curves, self.known, share)
        with whole_folder(Path(out)) as folder:
            images = [
                ("Predicted and final loss", saved_inline(predicted, folder / "predicted_final")),
                ("Training curves", saved_inline(trained, folder / "training_curves")),
            ]
            write_json(folder / "tpe.json", self.to_dict())
            write_text(folder / "report.html", render("tpe.html.j2", report=self, images=images))
        return Path(out) / "report.html"


def assessment_text(found: Assessment, share: float) -> str:
    """One estimator in one line, each figure with its interval."""
    text = (
        f"{found.title} at {share:.0%}, {found.runs} finished runs: "
        f"ρ = {found.rho:.3f} {_ends(found.rho_interval)}, "
        f"R² = {found.r2:.3f} {_ends(found.r2_interval)}, MAE = {found.mae:.3g} {_ends(found.mae_interval)}; "
        f"each run predicted without it: R² = {found.loo_r2:.3f} {_ends(found.loo_r2_interval)}, "
        f"MAE = {found.loo_mae:.3g} {_ends(found.loo_mae_interval)}, {LEVEL:.0%} intervals hold "
        f"{found.coverage:.0%} [{found.coverage_interval[0]:.0%}, {found.coverage_interval[1]:.0%}]"
    )
    if found.direct_mae is None or found.direct_mae_interval is None:
        return text
    return f"{text}; taken as it is: MAE = {found.direct_mae:.3g} {_ends(found.direct_mae_interval)}"


def _ends(pair: tuple[float, float]) -> str:
    return f"[{pair[0]:.3g}, {pair[1]:.3g}]"
