"""A test of which points of a sweep are limited by the axis that is fitted.

Frey et al. 2023 fit a power law only where the axis fitted limits the loss: beyond that the other axis does,
the loss flattens out, and the points are left out. Here a straight line in log-log is tested against a
parabola on a window of consecutive sizes, from which the end that is too flat is taken away size by size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.forms import FitError
from chemscale.laws.axis.intervals import scatter, seed_spread
from chemscale.laws.data.points import LawPoint, LawPoints, PointsError

SIGNIFICANT = 0.05
MIN_WINDOW = 4
"""Distinct sizes that a window keeps."""
SAME = 1.02
"""Sizes of the other axis that differ by less than this factor belong to one slice."""
MIN_SEED_FREEDOM = 4
"""Degrees of freedom of pure error from which seeds measure the noise."""
TEST = (
    "On a window of consecutive sizes a straight line in log-log is tested against a parabola (F test, 5 %). "
    "While it is rejected, the end that is flatter than the rest leaves the window, a size at a time, "
    f"down to {MIN_WINDOW} sizes. The noise is {{noise}}."
)


@dataclass(frozen=True)
class Regime:
    """Result of the test of one sweep along one axis."""

    keep: np.ndarray
    """(n,) bool, in the order of the points given."""
    reasons: tuple[str, ...]
    """A reason a point; empty for those kept."""
    p_value: float | None
    """Of the last test, on the window kept; None where nothing could be tested."""
    test: str
    """The test as it is to be reported."""
    statement: str
    """What came out, in words."""
    straight: bool | None
    """Whether the window kept passes; None where nothing could be tested."""


@dataclass(frozen=True)
class Slice:
    """Points of one value of the other axis.

    Args:
        other: the value.
        members: places of the points in the table.
        regime: the test along the axis.
    """

    other: float
    members: tuple[int, ...]
    regime: Regime


@dataclass(frozen=True)
class Limited:
    """A table with the points that the other axis limits marked as not used, and the test of each slice."""

    points: LawPoints
    slices: tuple[Slice, ...]
    notes: tuple[str, ...]

    @property
    def excluded(self) -> int:
        """How many points the tests leave out."""
        return sum(int(np.sum(~s.regime.keep)) for s in self.slices)


@dataclass(frozen=True)
class _Noise:
    """Variance of log loss, its degrees of freedom, and where it comes from."""

    variance: float
    freedom: int
    words: str


def straight_regime(x: np.ndarray, y: np.ndarray, *, axis: str = "size", other: str = "") -> Regime:
    """Find the sizes on which one power law holds.

    Only the flat end is taken away: at the large sizes where the loss flattens with size (another axis, or a
    floor of the data, limits it), at the small ones where it steepens (they are in an earlier regime). A
    single sweep cannot tell a floor of the data from a limit by the other axis.

    Args:
        x: (n,) sizes.
        y: (n,) losses; several points may share a size (seeds).
        axis: its name, for the words of the reasons.
        other: name of what may limit instead.

    Raises:
        FitError: sizes and losses that are not two lists of one length, positive and finite.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise FitError(f"Sizes {x.shape} and losses {y.shape} must be two lists of one length.")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x > 0).all() and (y > 0).all()):
        raise FitError("Sizes and losses must be positive and finite.")
    sizes, size = np.unique(x, return_inverse=True)
    noise = _noise(x, y, len(sizes))
    if noise is None:
        return _untested(len(x), len(sizes))
    z, log_y = np.log(x), np.log(y)
    first, last = 0, len(sizes) - 1
    p, flattens = _curvature(z, log_y, noise)
    while p < SIGNIFICANT and last - first + 1 > MIN_WINDOW:
        first, last = (first, last - 1) if flattens else (first + 1, last)
        inside = (size >= first) & (size <= last)
        p, flattens = _curvature(z[inside], log_y[inside], noise)
    keep = (size >= first) & (size <= last)
    reasons = _reasons(z, log_y, size, first, last, sizes, axis, other)
    straight = p >= SIGNIFICANT
    words = _statement(sizes, first, last, p, straight, axis)
    return Regime(keep, reasons, p, TEST.format(noise=noise.words), words, straight)


def limited_by_other(points: LawPoints, axis: str, other: str, unit: str) -> Limited:
    """Mark, slice by slice of the other axis, the points at which it and not `axis` limits the loss.

    Points count as one slice where `other` agrees within 2 per cent. Points that are not used, or lack a size
    or the loss, stay as they are.

    Args:
        points: the table.
        axis: of the points' sizes, such as ``parameters``.
        other: another axis, such as ``tokens``.
        unit: of the loss.

    Raises:
        PointsError: no used point has both sizes and the loss.
    """
    usable = [
        number
        for number, p in enumerate(points.points)
        if p.used and axis in p.sizes and other in p.sizes and unit in p.losses
    ]
    if not usable:
        raise PointsError(f"No used point has sizes {axis} and {other} and a loss in {unit}.")
    table: list[LawPoint] = list(points.points)
    slices, notes = [], []
    for members in _slices(points, usable, other):
        chosen = [points.points[m] for m in members]
        value = float(np.median([p.sizes[other] for p in chosen]))
        x, y = np.array([p.sizes[axis] for p in chosen]), np.array([p.losses[unit] for p in chosen])
        regime = straight_regime(x, y, axis=axis, other=other)
        for member, kept, reason in zip(members, regime.keep, regime.reasons, strict=True):
            if not kept:
                table[member] = replace(table[member], used=False, reason=reason)
        slices.append(Slice(value, tuple(members), regime))
        notes.append(f"{other} = {value:.3g}: {regime.statement}")
    return Limited(replace(points, points=tuple(table)), tuple(slices), tuple(notes))


def _slices(points: LawPoints, usable: list[int], other: str) -> list[list[int]]:
    groups: list[list[int]] = []
    for number in sorted(usable, key=lambda n: points.points[n].sizes[other]):
        value = points.points[number].sizes[other]
        if groups and value <= SAME * points.points[groups[-1][0]].sizes[other]:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def _noise(x: np.ndarray, y: np.ndarray, count: int) -> _Noise | None:
    """The noise of log loss; None where neither seeds nor sizes suffice to measure it.

    Seeds measure it whatever the law, unless sizes scatter by more than seeds explain (F test, 25 %). Else
    the scatter around a smooth curve does: a cubic through all sizes bends with the law, not with the noise,
    and leaves more degrees of freedom than a window of few sizes.
    """
    log_y = np.log(y)
    if count <= MIN_WINDOW:
        return None
    degree = 3 if count >= 6 else 2
    z = np.log(x) - np.log(x).mean()
    z = z / np.abs(z).max()
    missed = log_y - np.polyval(np.polyfit(z, log_y, degree), z)
    around, seeds = scatter(x, missed, degree + 1), seed_spread(x, y)
    smooth = f"the scatter around a {'cubic' if degree == 3 else 'parabola'} through all sizes"
    if seeds and seeds.freedom >= MIN_SEED_FREEDOM and around.resampling == "seeds":
        words = f"that of seeds of one size ({seeds.freedom} degrees of freedom)"
        return _Noise(seeds.deviation**2, seeds.freedom, words)
    extra = ", more than seeds explain" if around.resampling == "sizes" else ""
    return _Noise(around.variance, around.freedom, f"{smooth}{extra} ({around.freedom} degrees of freedom)")


def _curvature(z: np.ndarray, log_y: np.ndarray, noise: _Noise) -> tuple[float, bool]:
    """p of the F test of a parabola against a line, and whether the parabola flattens with size."""
    z = z - z.mean()
    linear = np.stack([np.ones_like(z), z], 1)
    basis, _ = np.linalg.qr(np.column_stack([linear, z**2]))
    gain = float(basis[:, 2] @ log_y)
    flattens = gain * float(basis[:, 2] @ z**2) > 0
    # Free of noise, the rounding of the losses is all the scatter there is.
    variance = max(noise.variance, (1e-12) ** 2)
    return float(stats.f.sf(gain**2 / variance, 1, noise.freedom)), flattens


def _slope(z: np.ndarray, log_y: np.ndarray) -> float:
    return float(np.polyfit(z, log_y, 1)[0])


def _reasons(
    z: np.ndarray,
    log_y: np.ndarray,
    size: np.ndarray,
    first: int,
    last: int,
    sizes: np.ndarray,
    axis: str,
    other: str,
) -> tuple[str, ...]:
    keep = (size >= first) & (size <= last)
    window = _slope(z[keep], log_y[keep])
    words = {}
    for side, members, edge in (("above", size > last, last), ("below", size < first, first)):
        if members.any():
            slope = _slope(*(a[members | (size == edge)] for a in (z, log_y)))
            limit = (
                f"limited by {other} or a floor of the data"
                if other and side == "above"
                else "flatter than the window"
            )
            words[side] = (
                f"{limit}: {side} {axis} = {sizes[edge]:.3g} the loss goes as x^{slope:+.3f}, "
                f"between {sizes[first]:.3g} and {sizes[last]:.3g} as x^{window:+.3f}"
            )
    return tuple(
        "" if k else words["above" if s > last else "below"] for k, s in zip(keep, size, strict=True)
    )


def _statement(sizes: np.ndarray, first: int, last: int, p: float, straight: bool, axis: str) -> str:
    kept, total = last - first + 1, len(sizes)
    where = f"{axis} from {sizes[first]:.3g} to {sizes[last]:.3g}"
    if not straight:
        return (
            f"Even {kept} of {total} sizes ({where}) bend (p = {p:.2g}): no window of them follows a power "
            "law; the least limited ones are kept."
        )
    if kept == total:
        return f"All {total} sizes lie on one straight line in log-log (p = {p:.2g}): nothing is left out."
    return f"{kept} of {total} sizes ({where}) lie on one straight line in log-log (p = {p:.2g})."


def _untested(points: int, sizes: int) -> Regime:
    words = (
        f"{sizes} distinct size{'s' if sizes != 1 else ''}: too few to tell which axis limits the loss "
        f"(at least {MIN_WINDOW + 1} are needed). Nothing is left out."
    )
    keep = np.ones(points, dtype=bool)
    return Regime(keep, ("",) * points, None, TEST.format(noise="not measured"), words, None)
