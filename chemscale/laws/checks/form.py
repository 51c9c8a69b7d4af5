"""Whether a joint form holds on the runs at hand, and how far off it may be beyond them where it does not.

Bands of a law allow for exponents that drift too weakly to show (``joint.drift``), intervals of parameters
take the form as true. Three things in the runs can show that it is not: residuals that follow a bend along an
axis, configurations that scatter about the law by more than their seeds do, and the largest runs, held out,
that lie beside what the smaller ones predict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.fit import FitError
from chemscale.laws.checks.holdout import Extrapolation
from chemscale.laws.joint.drift import AXES, LossAt
from chemscale.laws.joint.fit import SurfaceFit, fit_surface

ALARM = 0.05
"""Chance of any sign at all if the form holds: each is believed below this over how many are looked for."""
TIMES = (1, 2, 10)
MAX_HALF = np.log(10.0)
"""Of log loss: a wider band says nothing that is worth a sentence."""


@dataclass(frozen=True)
class RollOut:
    """The largest runs, predicted by a law of the smaller ones."""

    factor: float
    """Compute of the largest run over that of the largest fitted."""
    error: float
    """Mean of predicted over observed, less 1."""
    worst: float
    """The largest error of a configuration, its size."""
    chance: float | None
    """Of a mean error so large if the form holds; None where that is not asked."""
    axis: str = "C"
    """What `factor` counts."""


@dataclass(frozen=True)
class FormCheck:
    """What the runs say against a form; chances are of a sign so strong if the form holds."""

    bends: dict[str, float]
    """Axis, or two, along which residuals bend → chance."""
    seeds: float | None
    """Chance of configurations that scatter so far beside their seeds; None without seeds."""
    roll_outs: tuple[RollOut, ...]
    along: tuple[RollOut, ...]
    """The largest one and two values of N, and of D, predicted from the others."""
    bands: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Times the largest run's compute → half width of the band of the loss there, as a share of it: of the
    form alone, and with exponents that drift."""

    @property
    def looked_for(self) -> int:
        """How many signs there could be."""
        asked = sum(each.chance is not None for each in self.roll_outs)
        return len(self.bends) + asked + (self.seeds is not None)

    @property
    def signs(self) -> list[str]:
        """What speaks against the form, in words."""
        out = [
            f"residuals bend along {name} (chance {_chance(p)})"
            for name, p in self.bends.items()
            if p * self.looked_for < ALARM
        ]
        if self.seeds is not None and self.seeds * self.looked_for < ALARM:
            out.append(f"configurations scatter more than their seeds (chance {_chance(self.seeds)})")
        out += [
            f"held-out runs at {each.factor:.3g} times the compute lie {-each.error:+.2%} off the prediction "
            f"(chance {_chance(each.chance or 0.0)})"
            for each in self.roll_outs
            if each.chance is not None and each.chance * self.looked_for < ALARM
        ]
        return out

    @property
    def holds(self) -> bool:
        """Whether nothing in the runs speaks against the form."""
        return not self.signs

    def off(self, times: float) -> float | None:
        """By how much the loss may be off, as a share of it, at this many times the largest run's compute.

        The largest errors of the roll-outs along N and along D together, or of the largest runs if that is
        more, or half the band; beyond its own factor an error grows with the square of the logarithm, as
        that of an exponent which changes steadily. None without a roll-out.
        """

        def most(found: Sequence[RollOut], reach: float) -> float:
            return max(
                (each.worst * max(1.0, np.log(reach) / np.log(each.factor)) ** 2 for each in found),
                default=0.0,
            )

        if not (self.roll_outs or self.along):
            return None
        largest = [each for each in self.roll_outs if each.factor > 1]
        apart = sum(most([e for e in self.along if e.axis == name], np.sqrt(times)) for name in AXES.values())
        band = 0.0
        if self.bands:
            band = float(np.interp(np.log(times), np.log(TIMES), [self.bands[k][1] for k in TIMES]))
            band *= max(1.0, np.log(times) / np.log(TIMES[-1])) ** 2
        return float(max(most(largest, times), apart, band))

    @property
    def words(self) -> str:
        """What it comes to, in a sentence or two."""
        if self.holds and not self.bands:
            return ""
        if self.holds:
            alone, wide = self.bands[TIMES[-1]]
            return (
                "Nothing in the runs speaks against the form. Bands also allow for exponents that drift too "
                f"weakly to show in them: the loss at ten times the largest run is known to ±{wide:.1%}, to "
                f"±{alone:.1%} if the form is true."
            )
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
            "roll_outs": [vars(each) for each in (*self.roll_outs, *self.along)],
            "bands": {
                str(times): {"form": ends[0], "with_drift": ends[1]} for times, ends in self.bands.items()
            },
            "may_be_off": {str(times): self.off(float(times)) for times in TIMES},
        }  # fmt: skip


def check_form(fit: SurfaceFit, held_out: Sequence[Extrapolation] = ()) -> FormCheck:
    """Ask the runs whether a form holds.

    Args:
        fit: of the form, to all runs.
        held_out: the same form without the largest runs, and its errors there.
    """
    along = tuple(each for axis in AXES for count in (1, 2) if (each := _along(fit, axis, count)) is not None)
    return FormCheck(
        _bends(fit), _against_seeds(fit), tuple(map(_roll_out, held_out)), along, _half_bands(fit)
    )


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def _half_bands(fit: SurfaceFit) -> dict[int, tuple[float, float]]:
    """Half widths of the band of the loss beyond the largest run, N and D each by the root."""
    if fit.drift is None:
        return {}
    largest = fit.inputs[int(np.argmax(fit.inputs[:, 0] * fit.inputs[:, 1]))]
    ahead = largest * np.sqrt(np.array(TIMES))[:, None] ** np.isin(fit.surface.columns, list(AXES))
    target = LossAt(fit.surface, np.log(ahead))
    ends = [one.interval(target) for one in (replace(fit, drift=None), fit)]
    half = np.array([(high - low) / 2 for low, high in ends])
    if not (half < MAX_HALF).all():
        return {}
    half = np.expm1(half)
    return {times: (float(a), float(b)) for times, a, b in zip(TIMES, *half, strict=True)}


def _bends(fit: SurfaceFit) -> dict[str, float]:
    """Chance of each bend.

    A bend is an exponent that changes with log N or log D, and its change that changes again: two more
    directions of log loss an axis, of which the law's own parameters follow the first in part. Its chance is
    that of an F test, to first order. Where runs share a trunk it would take the trunk's deviation for a
    bend, and there is none.
    """
    if fit.trunks is not None:
        return {}
    inside, rows = _directions(fit)
    n = len(fit.loss)
    back = np.linalg.pinv(inside, rcond=1e-9)  # (n, p): what the law makes of a residual
    left = fit.residuals - fit.residuals @ back @ inside
    freedom = n - int(np.linalg.matrix_rank(inside, rtol=1e-9))
    chances = {}
    for name, each in rows.items():
        unseen = each - each @ back @ inside
        sizes = np.linalg.norm(unseen, axis=1) > 1e-6 * np.linalg.norm(each, axis=1)
        _, lengths, axes = np.linalg.svd(unseen, full_matrices=False)
        axes = axes[lengths > 1e-3 * max(lengths.max(), 1e-300)]
        spare = freedom - len(axes)
        if not sizes[0] or spare < 1:
            continue
        explained = float(np.sum((axes @ left) ** 2))
        ratio = explained / len(axes) / max((float(left @ left) - explained) / spare, 1e-300)
        chances[name] = float(stats.f.sf(ratio, len(axes), spare))
    return chances


def _directions(fit: SurfaceFit) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(p, n) derivatives of log loss by the fitted coordinates, and (b, n) by each bend, at the runs."""
    surface, middle = fit.surface, np.log(fit.inputs).mean(0)
    phi, z = surface.recentre(fit.phi[None], -middle), np.log(fit.inputs) - middle
    by_phi = surface.log_loss(phi, z)[1][0][[name not in fit.fixed for name in surface.coordinates]]
    places = [place for place, column in enumerate(surface.columns) if column in AXES]
    rows = {}
    for place in places:
        step = 1e-4 * np.eye(z.shape[1])[place]
        slope = (surface.log_loss(phi, z + step)[0][0] - surface.log_loss(phi, z - step)[0][0]) / 2e-4
        for other in (one for one in places if one >= place):
            name = AXES[surface.columns[place]]
            name = name if other == place else f"{name} and {AXES[surface.columns[other]]} together"
            powers = (2, 3) if other == place else (1,)
            rows[name] = np.array([slope * z[:, other] ** power for power in powers])
    return by_phi, rows


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
    """The mean error against the law's own uncertainty and the noise of the runs, to first order.

    The chance is of the error that a fit by least squares would make, whose spread is known; that of Huber's
    loss spreads more.
    """
    fit = held.fit
    inputs = np.array([run.inputs for run in held.runs])
    error = np.log([run.predicted / run.loss for run in held.runs])
    middle = np.log(fit.inputs).mean(0)
    inner = fit.surface.recentre(fit.phi[None], -middle)
    of_runs, of_held = (fit.surface.log_loss(inner, np.log(x) - middle)[1][0] for x in (fit.inputs, inputs))
    free = np.array([name not in fit.fixed for name in fit.surface.coordinates])
    move = fit.residuals @ np.linalg.pinv(of_runs[free], rcond=1e-9) @ of_held[free].mean(1)
    by_phi = fit.surface.log_loss(fit.phi[None], np.log(inputs))[1][0].mean(1)
    # Runs of one configuration, or trunk, may share their noise: it counts once for each.
    which = np.unique(inputs[:, : 1 if fit.trunks is not None else None], axis=0, return_inverse=True)[1]
    share = np.bincount(which.ravel()) / len(error)
    alone = fit.trunks is None and fit.groups is None
    variance = by_phi @ fit.covariance @ by_phi
    variance += fit.noise**2 * (1 / len(error) if alone else float(np.sum(share**2)))
    freedom = len(fit.loss) - len(fit.free)
    ratio = abs(float(error.mean()) + move) / max(float(np.sqrt(variance)), 1e-300)
    _, places = np.unique(inputs, axis=0, return_inverse=True)
    each = np.bincount(places.ravel(), error) / np.bincount(places.ravel())
    return RollOut(
        held.factor, float(np.expm1(error.mean())), float(np.abs(np.expm1(each)).max()),
        float(2 * stats.t.sf(ratio, freedom)),
    )  # fmt: skip


def _along(fit: SurfaceFit, axis: str, count: int) -> RollOut | None:
    """The `count` largest values of one axis from the smaller ones; None where too few remain."""
    if axis not in fit.surface.columns:
        return None
    x = fit.inputs[:, fit.surface.columns.index(axis)]
    values = np.unique(x)
    if len(values) - count < 3:
        return None
    # Amounts of data that were counted differ a little from run to run.
    steps = values[1:][np.diff(np.log(values)) > np.log(1.05)]
    if len(steps) < count + 2:
        return None
    held = x >= steps[-count]
    some = fit.draws.phi[:: max(1, len(fit.draws.phi) // 4)][:4]
    try:
        smaller = fit_surface(
            fit.surface, fit.inputs[~held], fit.loss[~held], delta=fit.delta, fixed=fit.fixed, bootstrap=1,
            starts=np.concatenate([fit.phi[None], some]),
        )  # fmt: skip
    except FitError:
        return None
    error = np.log(smaller.predict(*fit.inputs[held].T) / fit.loss[held])
    _, places = np.unique(fit.inputs[held], axis=0, return_inverse=True)
    each = np.bincount(places.ravel(), error) / np.bincount(places.ravel())
    factor = float(x.max() / x[~held].max())
    worst = float(np.abs(np.expm1(each)).max())
    return RollOut(factor, float(np.expm1(error.mean())), worst, None, AXES[axis])
