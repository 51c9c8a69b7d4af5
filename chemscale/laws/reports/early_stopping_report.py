"""The report of a sweep over settings: which were finished, where the others would end, what it saved."""

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
from chemscale.laws.early_stopping.policies import usual_policies
from chemscale.laws.early_stopping.replay import Outcome, Rungs, replay
from chemscale.laws.early_stopping.rule import Rule, Standing, standing
from chemscale.laws.early_stopping.transitions import Population
from chemscale.laws.reports.early_stopping_figures import ends_figure, training_figure
from chemscale.laws.reports.page import render, whole_folder, write_text
from chemscale.laws.reports.plotting import saved_inline


@dataclass
class EarlyStoppingReport:
    """Everything that the report of a sweep over settings shows.

    Args:
        title: of the page.
        curves: of all settings.
        rule: by which runs are stopped.
        population: of earlier sweeps, from which the ends are forecast.
        unit: of the final losses.
        states: of the runs.
        command: that asks for it.
        left_out: what is left out, counted by reason, in a sentence; empty where nothing is.
        share: of each run at which the estimators are compared.
    """

    title: str
    curves: Sequence[TrainingCurve]
    rule: Rule
    population: Population
    unit: str
    states: list[str] = field(default_factory=list)
    command: str = ""
    left_out: str = ""
    share: float = 0.2
    axis = "share of the run"

    def __post_init__(self) -> None:
        self.known: Standing = standing(self.curves, self.rule, self.population)
        self.chances = self.known.chances
        self.finals = np.array([np.nan if curve.final is None else curve.final for curve in self.curves])
        self.assessments: list[Assessment] = []
        reaching = [n for n, curve in enumerate(self.curves) if curve.reaches(self.share)]
        seen = [self.curves[n] for n in reaching]
        for estimator in ESTIMATORS.values() if seen else ():
            found = assess(
                estimator.name,
                estimator.title,
                estimator.scores(seen, self.share),
                self.finals[reaching],
                direct=estimator.direct and self.same_unit,
            )
            if found is not None:
                self.assessments.append(found)
        self.outcomes: list[Outcome] = []
        if self.complete:
            chosen = [Rungs(self.rule, self.population), *usual_policies()]
            self.outcomes = [replay(self.curves, policy) for policy in chosen]

    @property
    def same_unit(self) -> bool:
        """Whether training and final losses are one quantity, so that a curve may be read as its own end."""
        return self.unit.startswith("nats_per_token")

    @property
    def complete(self) -> bool:
        """Whether every end is known, so that policies can be replayed against the truth."""
        return not np.isnan(self.finals).any()

    @property
    def order(self) -> list[int]:
        """Numbers of the runs by rank."""
        return [int(n) for n in np.argsort(self.known.ranks)]

    @property
    def best(self) -> int | None:
        """The best finished run."""
        return None if np.isnan(self.finals).all() else int(np.nanargmin(self.finals))

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
        curve = self.curves[n]
        row: dict[str, Any] = {
            "run": curve.label,
            "rank": int(self.known.ranks[n]) + 1,
            "reached": self.share_of(n),
            "final": curve.final,
            "chance": float(self.chances[n]),
        }
        middle, low, high = self.known.forecast.interval(n)
        if curve.final is None and np.isfinite(middle) and self.anchored:
            row |= {"predicted": middle, "interval": [low, high]}
        row["state"] = self.states[n] if self.states else ("done" if curve.final is not None else "stopped")
        return row

    @property
    def anchored(self) -> bool:
        """Whether a run has ended, so that forecasts are losses and not only differences of them."""
        return self.best is not None

    def share_of(self, n: int) -> float:
        """The share of its budget that a run was trained."""
        curve = self.curves[n]
        if curve.final is not None:
            return 1.0
        return float(curve.seen[-1] / curve.planned) if len(curve.seen) else 0.0

    def summary(self) -> list[str]:
        """What matters most: the best setting, what was saved, what may have been lost."""
        best, count = self.best, len(self.curves)
        out = [f"{self.left_out[0].upper()}{self.left_out[1:]}."] if self.left_out else []
        if best is None:
            return [*out, f"No run has ended yet: {count} settings ranked by {self.rule.by.title}."]
        done = int(np.sum(~np.isnan(self.finals)))
        how = f"all {done} settings were finished" if self.complete else self._stopped_at(done)
        out.append(
            f"Best setting: {self.curves[best].label}, final {self.finals[best]:.5g} ({self.unit}); {how}."
        )
        if not self.complete:
            out.append(f"Compute saved: {self.saved:.0%} of training every setting to its end.")
            out.append(self.missed())
        return out + [_outcome_text(outcome) for outcome in self.outcomes[:1]]

    def lines(self) -> list[str]:
        """The result as it is printed."""
        out = self.summary()
        for found in self.assessments:
            if found.name == self.rule.estimator or self.complete:
                out.append(assessment_text(found, self.share))
                if not self.complete:
                    out.append("  The finished runs were chosen by their score, which flatters ρ and R².")
        return out + [_outcome_text(outcome) for outcome in self.outcomes[1:]]

    def _stopped_at(self, done: int) -> str:
        shares = [self.share_of(n) for n, curve in enumerate(self.curves) if curve.final is None]
        ends = dict.fromkeys(f"{share:.0%}" for share in (min(shares), max(shares)))
        return (
            f"{done} of {len(self.curves)} settings were finished, the others stopped at {' to '.join(ends)}"
        )

    def missed(self) -> str:
        """What may have been lost, in a sentence."""
        likeliest = int(np.argmax(self.chances))
        better = f"more than {self.rule.tolerance:.1%}" if self.rule.tolerance else "anything"
        text = (
            f"Chance that a setting that was not finished would have ended below the best by {better}: "
            f"{self.known.lost:.1%} (asked for: {self.rule.risk:.0%})"
        )
        if self.chances[likeliest] > 0:
            text += f", most of all {self.curves[likeliest].label}, {self.chances[likeliest]:.1%}"
        return text + "."

    def to_dict(self) -> dict[str, Any]:
        """The content of ``estimate.json``."""
        return {
            "rule": asdict(self.rule),
            "unit": self.unit,
            "windows": WINDOWS,
            "level": LEVEL,
            "earlier_sweeps": self.population.sweeps,
            "left_out": self.left_out,
            "chance_lost": self.known.lost,
            "runs": self.rows(),
            "share": self.share,
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
        """Write the page, its figures and ``estimate.json`` into `out`; returns the page."""
        ends = ends_figure(self.rows(), self.unit)
        trained = training_figure(self.curves, self.known)
        with whole_folder(Path(out)) as folder:
            images = [
                ("Where settings end", saved_inline(ends, folder / "ends")),
                ("Training curves", saved_inline(trained, folder / "training_curves")),
            ]
            write_json(folder / "estimate.json", self.to_dict())
            write_text(folder / "report.html", render("early_stopping.html.j2", report=self, images=images))
        return Path(out) / "report.html"


def _outcome_text(outcome: Outcome) -> str:
    return (
        f"Replayed, {outcome.policy}: {len(outcome.finished)} finished, {outcome.saved:.0%} saved, "
        f"{outcome.relative_regret:.2%} above the best of all."
    )


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
