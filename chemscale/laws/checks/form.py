"""Whether a joint form holds on the runs at hand, and how far off it may be beyond them where it does not.

An interval of a law takes its form as true. A bend that the form does not have cannot be seen in it, and what
is beyond the runs may be off by more than any interval says. Three things in the runs can show it: residuals
that follow a bend along an axis, configurations that scatter about the law by more than their seeds do, and
the largest runs, held out, that lie beside what the smaller ones predict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from chemscale.laws.checks.holdout import Extrapolation
from chemscale.laws.joint.fit import SurfaceFit

ALARM = 0.05
"""Chance below which each of the three signs is believed, all of a kind together."""
AXES = {"parameters": "N", "tokens": "D"}


@dataclass(frozen=True)
class RollOut:
    """The largest runs, predicted by a law of the smaller ones."""

    factor: float
    """Compute of the largest run over that of the largest fitted."""
    error: float
    """Mean of predicted over observed, less 1."""
    worst: float
    """The largest error of a configuration, its size."""
    chance: float
    """Of a mean error so large if the form holds."""


@dataclass(frozen=True)
class FormCheck:
    """What the runs say against a form; chances are of a sign so strong if the form holds."""

    bends: dict[str, float]
    """Axis, or two, along which residuals bend → chance."""
    seeds: float | None
    """Chance of configurations that scatter so far beside their seeds; None without seeds."""
    roll_outs: tuple[RollOut, ...]

    @property
    def signs(self) -> list[str]:
        """What speaks against the form, in words."""
        out = [
            f"residuals bend along {name} (chance {_chance(p)})"
            for name, p in self.bends.items()
            if p * len(self.bends) < ALARM
        ]
        if self.seeds is not None and self.seeds < ALARM:
            out.append(f"configurations scatter more than their seeds (chance {_chance(self.seeds)})")
        tried = len(self.roll_outs)
        out += [
            f"held-out runs at {each.factor:.3g} times the compute lie {-each.error:+.2%} off the prediction "
            f"(chance {_chance(each.chance)})"
            for each in self.roll_outs
            if each.chance * tried < ALARM
        ]
        return out

    @property
    def holds(self) -> bool:
        """Whether nothing in the runs speaks against the form."""
        return not self.signs

    def off(self, times: float) -> float | None:
        """By how much the loss may be off, as a share of it, at this many times the largest run's compute.

        The largest error of a roll-out, which grows with the square of the logarithm of the factor, as the
        error of an exponent that changes steadily does. None without a roll-out.
        """
        shares = [
            each.worst * max(1.0, np.log(times) / np.log(each.factor)) ** 2
            for each in self.roll_outs
            if each.factor > 1
        ]
        return float(max(shares)) if shares else None

    @property
    def words(self) -> str:
        """What it comes to, in a sentence or two; empty where the form holds."""
        if self.holds:
            return ""
        text = f"The form does not hold on these runs: {'; '.join(self.signs)}."
        off = self.off(10.0)
        if off is None:
            return f"{text} No interval holds beyond the runs, and none could be held out to say how far off."
        return (
            f"{text} No interval is given beyond the runs: by its errors at held-out runs the loss may be "
            f"off by ±{self.off(1.0):.1%} at the largest run, ±{self.off(2.0):.1%} at twice and ±{off:.1%} "
            "at ten times its compute."
        )

    def to_dict(self) -> dict[str, Any]:
        """For ``law.json``."""
        return {
            "holds": self.holds, "signs": self.signs, "bends": self.bends, "seeds": self.seeds,
            "roll_outs": [vars(each) for each in self.roll_outs],
            "may_be_off": {str(times): self.off(float(times)) for times in (1, 2, 10)},
        }  # fmt: skip


def check_form(fit: SurfaceFit, held_out: Sequence[Extrapolation] = ()) -> FormCheck:
    """Ask the runs whether a form holds.

    Args:
        fit: of the form, to all runs.
        held_out: the same form without the largest runs, and its errors there.
    """
    return FormCheck(_bends(fit), _against_seeds(fit), tuple(_roll_out(each) for each in held_out))


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def _bends(fit: SurfaceFit) -> dict[str, float]:
    """Chance of each bend: an F test of one more direction, an exponent that changes with log N or log D.

    Where runs share a trunk the test would take its deviation for a bend, and there is none.
    """
    if fit.trunks is not None:
        return {}
    surface, z = fit.surface, np.log(fit.inputs)
    z = z - z.mean(0)
    phi = surface.recentre(fit.phi[None], -np.log(fit.inputs).mean(0))
    jacobian = surface.log_loss(phi, z)[1][0][[name not in fit.fixed for name in surface.coordinates]]
    rows = {}
    places = [place for place, column in enumerate(surface.columns) if column in AXES]
    for place in places:
        step = np.zeros(z.shape[1])
        step[place] = 1e-4
        slope = (surface.log_loss(phi, z + step)[0][0] - surface.log_loss(phi, z - step)[0][0]) / 2e-4
        for other in places:
            if other >= place:
                name = AXES[surface.columns[place]]
                name = name if other == place else f"{name} and {AXES[surface.columns[other]]} together"
                rows[name] = slope * z[:, other]
    inside, sizes, _ = np.linalg.svd(jacobian.T, full_matrices=False)
    inside = inside[:, sizes > 1e-9 * sizes.max()]
    left = fit.residuals - inside @ (inside.T @ fit.residuals)
    freedom = len(left) - inside.shape[1] - 1
    out = {}
    for name, row in rows.items():
        rest = row - inside @ (inside.T @ row)
        size = float(rest @ rest)
        if freedom < 1 or size < 1e-12 * float(row @ row):
            continue
        explained = float(rest @ left) ** 2 / size
        ratio = explained / max((float(left @ left) - explained) / freedom, 1e-300)
        out[name] = float(stats.f.sf(ratio, 1, freedom))
    return out


def _against_seeds(fit: SurfaceFit) -> float | None:
    """Chance of the lack of fit against pure error, by the F test; None without seeds to spare."""
    if fit.groups is None:
        return None
    sizes = np.bincount(fit.groups)
    means = np.bincount(fit.groups, fit.residuals) / sizes
    inside = float(np.sum((fit.residuals - means[fit.groups]) ** 2))
    between, of_inside = len(sizes) - len(fit.free), len(fit.loss) - len(sizes)
    if between < 1 or of_inside < 1 or inside <= 0:
        return None
    ratio = float(np.sum(sizes * means**2)) / between / (inside / of_inside)
    return float(stats.f.sf(ratio, between, of_inside))


def _roll_out(held: Extrapolation) -> RollOut:
    """The mean error against the law's own uncertainty and the noise of the runs, to first order."""
    fit = held.fit
    inputs = np.array([run.inputs for run in held.runs])
    error = np.log([run.predicted / run.loss for run in held.runs])
    by_phi = fit.surface.log_loss(fit.phi[None], np.log(inputs))[1][0].mean(1)
    # Runs of one configuration, or trunk, may share their noise: it counts once for each.
    which = np.unique(inputs[:, : 1 if fit.trunks is not None else None], axis=0, return_inverse=True)[1]
    share = np.bincount(which.ravel()) / len(error)
    alone = fit.trunks is None and fit.groups is None
    variance = by_phi @ fit.covariance @ by_phi
    variance += fit.noise**2 * (1 / len(error) if alone else float(np.sum(share**2)))
    freedom = len(fit.loss) - len(fit.free)
    ratio = abs(float(error.mean())) / max(float(np.sqrt(variance)), 1e-300)
    _, places = np.unique(inputs, axis=0, return_inverse=True)
    each = np.bincount(places.ravel(), error) / np.bincount(places.ravel())
    return RollOut(
        held.factor, float(np.expm1(error.mean())), float(np.abs(np.expm1(each)).max()),
        float(2 * stats.t.sf(ratio, freedom)),
    )  # fmt: skip
