"""Intervals of Approach 2: the noise of its minima, what few budgets cost, and the parabola's own bias."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from chemscale.laws import stats
from chemscale.laws.allocation.budgets import budgets_of, minimum, parabola, pooled_noise
from chemscale.laws.allocation.compute import SIX_ND, PowerCompute, fit_compute
from chemscale.laws.allocation.loss_law import FORMULA, OptimalLoss
from chemscale.laws.allocation.optimum import Interval, optimum_target
from chemscale.laws.axis.fit import LEVEL, FitError
from chemscale.laws.joint.fit import fit_surface
from chemscale.laws.joint.surfaces import Additive

DRAWS = 600
MIN_DRAWS = 0.5
"""Share of the redraws in which three budgets must keep a minimum inside their sizes."""
STARTS_EVERY = 61
"""Of the additive form's grid, for the surface whose bias is computed."""
FLOOR_BUDGETS = 5
"""Budgets from which a floor of the loss can be told."""

Shift = Callable[[float], np.ndarray]
"""FLOPs → (3,) of Approach 2 on noise-free losses: log N*, log D* and log loss less the exact ones."""


@dataclass(frozen=True)
class IsoflopIntervals:
    """Intervals at LEVEL about what Approach 2 finds.

    Noise: every run is drawn anew about its budget's parabola, by a spread that is itself drawn from what its
    degrees of freedom leave open (which makes Student's t of a line), and minima and lines are taken again.
    Where the minima scatter about their line more than that noise explains (F test), the interval is wider
    by as much, with Student's t of K − 2. Bias: Approach 2 is run on the noise-free losses of an additive
    surface fitted to the same runs at the same N and D, and the interval is stretched towards where the
    exact optimum of that surface lies.
    """

    log_c: np.ndarray  # (K,)
    lines: np.ndarray
    """(2, S + 1, 2) level at `middle` and slope of log N* and log D*; first as fitted, then each draw."""
    middle: float
    wider: tuple[float, float]
    law: OptimalLoss
    bias: Shift | None
    slope_bias: tuple[float, float]
    lowered: float
    """Log loss by which noise itself lowers the least of a curve: it moves the minimum to where it is low."""
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        n: np.ndarray,
        d: np.ndarray,
        flops: np.ndarray,
        loss: np.ndarray,
        stds: tuple[np.ndarray, np.ndarray],
        *,
        method: str = "parabola",
        noise: float | None = None,
        seed: int = 0,
    ) -> IsoflopIntervals:
        """Redraw runs of which ``isoflop_minima`` found minima.

        Args:
            n: (m,) parameters of each run.
            d: (m,) its data.
            flops: (m,) what it cost.
            loss: (m,) where it ended.
            stds: (K,) of log N* and of log D* at each budget with a minimum.
            method: ``parabola`` or ``akima``.
            noise: spread of log loss; None for that of the residuals.
            seed: of the draws.

        Raises:
            FitError: the minima leave the sizes too often, or their losses do not fall.
        """
        parts, _ = budgets_of(n, flops)
        spread, freedom = (noise, np.inf) if noise is not None else pooled_noise(parts, n, loss)
        parts = [p for p in parts if np.isfinite(minimum(n[p], d[p], loss[None, p], method)).all()]
        log_c = np.array([np.log(flops[p]).mean() for p in parts])
        weights = [1 / std**2 * np.isfinite(std) for std in stds]
        scale, table = _redraws(n, d, loss, parts, spread, freedom, method, seed)
        middle = float(log_c.mean())
        lines = np.stack([_lines(log_c - middle, table[:, k], weights[k]) for k in (0, 1)])
        kept = np.isfinite(lines).all((0, 2))
        if kept[1:].mean() < MIN_DRAWS:
            raise FitError(
                f"N* has no interval: in {1 - kept[1:].mean():.0%} of the redraws of the runs' noise fewer "
                "than 3 budgets keep a minimum inside their sizes. Reach further to both sides, or lower "
                "the noise by more seeds."
            )
        with np.errstate(invalid="ignore"):
            away = np.log(np.where(table[:, 2] > 0, table[:, 2], np.nan))
        away = (away[1:] - away[0]) * (spread / np.maximum(scale, 1e-300))[:, None]
        # Of the noise as estimated: the law's own threshold has the degrees of freedom.
        low, high = np.nanpercentile(away, [15.87, 84.13], axis=0)
        std = (high - low) / 2
        law = OptimalLoss.of(np.exp(log_c), table[0, 2], std, freedom)
        wider = tuple(_wider(log_c - middle, table[0, k], weights[k], lines[k, 0], freedom) for k in (0, 1))
        bias, slopes, why = _bias(n, d, flops, loss, parts, weights, std, method)
        notes = _notes(len(parts), law, bias, wider, why, float(np.exp(log_c.max())))
        return cls(log_c, lines[:, kept], middle, (wider[0], wider[1]), law, bias, slopes,
                   float(np.nanmean(away)), notes)  # fmt: skip

    def at(self, flops: float, best: Sequence[float]) -> list[Interval]:
        """Intervals of N*, D* and the loss at a budget.

        Args:
            flops: the budget.
            best: N*, D* and loss that are reported there; without the loss its interval is left out.
        """
        x = np.array([1.0, np.log(flops) - self.middle])
        ends = []
        for k in (0, 1):
            reach = self.wider[k] * _spread(self.lines[k] @ x)
            ends.append((float(np.log(best[k]) - reach), float(np.log(best[k]) + reach)))
        if len(best) > 2:
            low, high = self.law.interval(flops)
            ends.append((float(np.log(low)), float(np.log(high))))
        shift = np.array([0.0, 0.0, self.lowered])
        shift = shift if self.bias is None else shift + self.bias(flops)
        return [
            (float(np.exp(min(low, low - by))), float(np.exp(max(high, high - by))))
            for (low, high), by in zip(ends, shift, strict=False)
        ]

    def slopes(self, best: tuple[float, float]) -> list[Interval]:
        """Intervals of the exponents of N* and D*, as reported."""
        out = []
        for k in (0, 1):
            reach, by = self.wider[k] * _spread(self.lines[k][:, 1]), self.slope_bias[k]
            out.append((best[k] - reach - max(by, 0.0), best[k] + reach + max(-by, 0.0)))
        return out


def _redraws(
    n: np.ndarray,
    d: np.ndarray,
    loss: np.ndarray,
    parts: Sequence[np.ndarray],
    spread: float,
    freedom: float,
    method: str,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(S,) spreads, drawn from what `freedom` leaves open, and (S + 1, 3, K) minima under noise of each.

    The first minima are those of the runs as they are.
    """
    random = np.random.default_rng(seed)
    scale = np.full(DRAWS, spread)
    if np.isfinite(freedom):
        scale = spread * np.sqrt(freedom / random.chisquare(freedom, DRAWS))
    tables = []
    for part in parts:
        base = parabola(n[part], loss[part]) if method == "parabola" else loss[part]
        noisy = base * np.exp(scale[:, None] * random.standard_normal((DRAWS, len(part))))
        tables.append(minimum(n[part], d[part], np.concatenate([loss[None, part], noisy]), method))
    return scale, np.stack(tables, 2)


def _lines(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(S, 2) level at x = 0 and slope of weighted lines through (S, K) values; NaN where fewer than 3 are."""
    weight = np.where(np.isfinite(y), weights, 0.0)
    y = np.where(np.isfinite(y), y, 0.0)
    total = weight.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        x_mean, y_mean = weight @ x / total, (weight * y).sum(1) / total
        away = x - x_mean[:, None]
        slope = (weight * away * y).sum(1) / (weight * away**2).sum(1)
        lines = np.stack([y_mean - slope * x_mean, slope], 1)
    return np.where(((weight > 0).sum(1) >= 3)[:, None], lines, np.nan)


def _spread(values: np.ndarray) -> float:
    """How far LEVEL of the draws lie from the first value."""
    return float(np.percentile(np.abs(values[1:] - values[0]), 100 * LEVEL))


def _wider(x: np.ndarray, y: np.ndarray, weights: np.ndarray, line: np.ndarray, freedom: float) -> float:
    """Factor of the reach where minima scatter about their line more than their noise explains; else 1."""
    used = weights > 0
    spare = int(used.sum()) - 2
    scatter = float(np.sum(weights[used] * (y - line[0] - line[1] * x)[used] ** 2)) / spare
    if scatter <= stats.f.ppf(LEVEL, spare, freedom):
        return 1.0
    tail = 0.5 + LEVEL / 2
    return float(np.sqrt(scatter) * stats.t.ppf(tail, spare) / stats.t.ppf(tail, freedom))


def _bias(
    n: np.ndarray,
    d: np.ndarray,
    flops: np.ndarray,
    loss: np.ndarray,
    parts: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    std: np.ndarray,
    method: str,
) -> tuple[Shift | None, tuple[float, float], str]:
    """The bias on a surface that is fitted to the runs, of the exponents, and why there is none."""
    surface = Additive()
    used = np.concatenate(parts)
    inputs = np.stack([n, d], 1)[used]
    try:
        fit = fit_surface(
            surface, inputs, loss[used], delta=np.inf, starts=surface.starts()[::STARTS_EVERY], bootstrap=1
        )
        relation = _relation(n[used], d[used], flops[used])
    except FitError as error:
        return None, (0.0, 0.0), str(error)
    log_c = np.array([np.log(flops[p]).mean() for p in parts])
    middle = float(log_c.mean())
    table = np.stack([minimum(n[p], d[p], fit.predict(n[p], d[p])[None], method)[0] for p in parts], 1)
    if min(fit.values["alpha"], fit.values["beta"]) <= 0 or not np.isfinite(table).all():
        return None, (0.0, 0.0), "the surface through these runs has no minimum inside the sizes."
    lines = np.stack([_lines(log_c - middle, table[k : k + 1], weights[k])[0] for k in (0, 1)])
    law = OptimalLoss.of(np.exp(log_c), table[2], std, np.inf)

    def shift(budget: float) -> np.ndarray:
        exact = optimum_target(surface, relation, budget)(fit.phi[None])[0]
        there = lines @ np.array([1.0, np.log(budget) - middle])
        return np.array([*there, np.log(law.predict(budget))]) - exact

    exact = [optimum_target(surface, relation, np.exp(middle + s))(fit.phi[None])[0, :2] for s in (-1, 1)]
    slopes = lines[:, 1] - (exact[1] - exact[0]) / 2
    return shift, (float(slopes[0]), float(slopes[1])), ""


def _relation(n: np.ndarray, d: np.ndarray, flops: np.ndarray) -> PowerCompute:
    return SIX_ND if np.allclose(flops, SIX_ND(n, d), rtol=1e-6) else fit_compute(n, d, flops)


def _notes(
    budgets: int, law: OptimalLoss, bias: Shift | None, wider: Sequence[float], why: str, largest: float
) -> list[str]:
    text = f"Loss at the optimum: {FORMULA}"
    if budgets < FLOOR_BUDGETS:
        text += f"; {budgets} budgets hardly tell E, and the interval takes all that they allow"
    notes = [f"{text}."]
    if law.widened > 1:
        notes.append("The losses at the optima scatter more about that law than their noise explains.")
    if max(wider) > 1:
        notes.append("The minima scatter more about a line than their noise explains: intervals are wider.")
    if bias is None:
        notes.append(f"The bias of the minima where α ≠ β is not known and not in the intervals: {why}")
    else:
        of_n, _, of_loss = np.expm1(bias(largest))
        notes.append(
            f"The minima are biased where α ≠ β: on a surface fitted to these runs N* by {of_n:+.1%}, its "
            f"loss by {of_loss:+.2%} at the largest budget. Intervals are stretched to hold that."
        )
    return notes
