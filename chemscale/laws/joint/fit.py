"""A joint law of model size and data fitted to runs: the optimum, how it was found, and its intervals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chemscale.laws import stats
from chemscale.laws.axis.fit import LEVEL, FitError
from chemscale.laws.axis.intervals import refuse_absurd, refuse_equal
from chemscale.laws.axis.least_squares import Descents
from chemscale.laws.joint.bootstrap import (
    RUNS_ENOUGH,
    Draws,
    Sample,
    Target,
    covariance,
    draw,
    moved,
    standard_errors,
    with_noise,
)
from chemscale.laws.joint.drift import Drift, LossAt, Reading
from chemscale.laws.joint.huber import DELTA
from chemscale.laws.joint.search import NEAR, apart, descend, descend_warm, optima_of, starts_of
from chemscale.laws.joint.surfaces import Surface

__all__ = ["LEVEL", "RUNS_ENOUGH", "Draws", "SurfaceFit", "Target", "fit_surface"]


@dataclass(frozen=True)
class SurfaceFit:
    """A surface fitted to n runs."""

    surface: Surface
    phi: np.ndarray
    """(p,) coordinates of the surface, for inputs as given."""
    covariance: np.ndarray
    """(p, p) of φ to first order, for residuals of one size."""
    draws: Draws
    objective: float
    """Σ Huber_δ of the residuals of log loss."""
    delta: float
    starts: int
    reached: float
    """Share of the starts whose descent ended at the optimum."""
    status: str
    """Status of the last optimizer, in words."""
    inputs: np.ndarray
    """(n, k)"""
    loss: np.ndarray
    fixed: dict[str, float] = field(default_factory=dict)
    """Parameters that were held, by name."""
    groups: np.ndarray | None = None
    """(n,) number of the configuration of each run."""
    trunks: np.ndarray | None = None
    """(n,) number of the trunk of each run, where runs share one."""
    converged: bool = True
    """Whether the last descent to this optimum ended because nothing changed any more (see ``status``)."""
    notes: list[str] = field(default_factory=list)
    drift: Drift | None = None
    """What the runs leave open of exponents that drift; None counts none."""

    @property
    def theta(self) -> np.ndarray:
        """(p,) as reported."""
        return self.surface.reported(self.phi[None])[0]

    @property
    def values(self) -> dict[str, float]:
        """Reported parameters by name."""
        return dict(zip(self.surface.parameters, map(float, self.theta), strict=True))

    @property
    def free(self) -> tuple[str, ...]:
        """Parameters that were fitted."""
        return tuple(name for name in self.surface.parameters if name not in self.fixed)

    @property
    def unidentified(self) -> tuple[str, ...]:
        """Fitted parameters on which the law does not depend at any of the runs."""
        jacobian = np.abs(self.surface.log_loss(self.phi[None], np.log(self.inputs))[1][0]).max(1)
        names = [n for n, size in zip(self.surface.coordinates, jacobian, strict=True) if size < 1e-12]
        return tuple(name for name in names if name not in self.fixed)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """At LEVEL, of each parameter, by its coordinate (see ``Surface.coordinates``).

        An upper end of a reciprocal is infinite where the runs do not bound it; a held one has no width.
        """
        surface, unidentified = self.surface, self.unidentified
        low, high = self.interval(lambda phi: phi)
        out = {}
        for name in surface.parameters:
            place = surface.coordinates.index(name)
            ends = np.sort(surface.unscaled(name, np.array([low[place], high[place]])))
            if name in self.fixed:
                ends = np.full(2, self.fixed[name])
            elif name in unidentified:
                ends = np.array([-np.inf if name in surface.exponents else 0.0, np.inf])
            out[name] = (float(ends[0]), float(ends[1]))
        return out

    @property
    def residuals(self) -> np.ndarray:
        """(n,) log loss less log law."""
        return np.log(self.loss) - np.log(self.predict(*self.inputs.T))

    @property
    def noise(self) -> float:
        """Standard deviation of the residuals, by their degrees of freedom."""
        return float(np.sqrt(np.sum(self.residuals**2) / (len(self.loss) - len(self.free))))

    def predict(self, *inputs: np.ndarray) -> np.ndarray:
        """Loss at inputs of one shape, in the order of ``surface.columns``."""
        arrays = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in inputs))
        z = np.log(np.stack([x.ravel() for x in arrays], axis=1))
        return np.exp(self.surface.log_loss(self.phi[None], z)[0][0]).reshape(arrays[0].shape)

    def band(self, *inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval of the law (not of a new run) at inputs of one shape (m,), with what may drift."""
        z = np.log(np.stack([np.asarray(x, dtype=float) for x in inputs], axis=1))
        low, high = self.interval(LossAt(self.surface, z))
        return np.exp(low), np.exp(high)

    def run_band(self, *inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval of a new run at inputs of one shape (m,): the law's uncertainty and a run's noise."""
        low, high = (np.log(end) for end in self.band(*inputs))
        best = np.log(self.predict(*inputs))
        freedom = len(self.loss) - len(self.free)
        reach = stats.t.ppf(0.5 + LEVEL / 2, freedom) * self.noise
        return np.exp(best - np.hypot(best - low, reach)), np.exp(best + np.hypot(high - best, reach))

    def interval(self, target: Target, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
        """Interval of anything that follows from φ.

        A quantity whose noise grows with itself is better asked for as its logarithm. A ``Reading`` is also
        allowed what drifting exponents may be worth (at LEVEL); parameters are those of the form.

        Args:
            target: (S, p) coordinates → (S, m) quantities.
            level: of confidence.

        Returns:
            (m,) lower and (m,) upper ends.
        """
        low, high = self._of_form(target, level)
        if self.drift is None or not isinstance(target, Reading):
            return low, high
        best, more = target(self.phi[None])[0], self.drift.allowance(target, self.surface, self.phi)
        return best - np.hypot(best - low, more), best + np.hypot(high - best, more)

    def _of_form(self, target: Target, level: float) -> tuple[np.ndarray, np.ndarray]:
        """The interval if the form is true."""
        values, best = target(self.draws.phi), target(self.phi[None])[0]
        with np.errstate(invalid="ignore"):
            if self.draws.covariance is None:
                tail = 50 * (1 - level)
                low, high = np.nanpercentile(values, [tail, 100 - tail], axis=0)
                return low, high
            errors = standard_errors(target, self.draws.phi, self.draws.covariance)
            # The k-th of B draws is above a further one with a chance of k/(B + 1).
            away = np.abs(values - best) / errors
            widths = np.nanpercentile(away, 100 * level, axis=0, method="weibull")
        reach = widths * standard_errors(target, self.phi[None], self.covariance[None])[0]
        return best - reach, best + reach

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is infinite is None."""
        return {
            "form": self.surface.name,
            "formula": self.surface.formula,
            "parameters": {key: _finite(value) for key, value in self.values.items()},
            "intervals": {key: [_finite(end) for end in pair] for key, pair in self.intervals.items()},
            "level": LEVEL,
            "bootstrap": self.draws.method,
            "objective": self.objective,
            "delta": _finite(self.delta),
            "starts": self.starts,
            "reached": self.reached,
            "status": self.status,
            "converged": self.converged,
            "fixed": self.fixed,
            "points": len(self.loss),
            "residuals": self.residuals.tolist(),
            "notes": self.notes,
            "source": self.surface.source,
            "assumes": self.surface.assumes,
        }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def fit_surface(
    surface: Surface,
    inputs: np.ndarray,
    loss: np.ndarray,
    *,
    delta: float = DELTA,
    starts: np.ndarray | None = None,
    warm: np.ndarray | None = None,
    fixed: Mapping[str, float] | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    trunks: Sequence[Any] | np.ndarray | None = None,
    bootstrap: int = 1000,
    resample: str | None = None,
    seed: int = 0,
) -> SurfaceFit:
    """Minimise Σ Huber_δ(log L − log L̂) from every start, then refit the draws of a bootstrap.

    Inputs are centred in log space before the descent, which takes most of the correlation out of the
    coefficients and exponents; parameters are reported for the inputs as given.

    Args:
        surface: the form.
        inputs: (n, k) in the order of ``surface.columns``.
        loss: (n,).
        delta: of Huber's loss, on log loss; infinity is least squares.
        starts: (S, p) in the surface's own coordinates; None for its grid.
        warm: (m, p) optima of nearly the same runs, likewise: a few of the starts are then enough, where
            they end at the same optimum (see ``search.descend_warm``).
        fixed: parameters that are held at a value, by their reported names; the others are fitted.
        groups: (n,) the configuration of each run, where runs differ by seed; they are drawn together.
        trunks: (n,) what each run shares its noise with, such as one stable phase; equal names share it.
        bootstrap: draws.
        resample: ``runs`` or ``noise`` (see ``Draws``); None for runs where there are enough.
        seed: of the draws.

    Raises:
        FitError: too few runs, equal losses, inputs that do not vary apart from each other, a parameter that
            cannot be held, or no start that descends.
    """
    inputs, loss = np.asarray(inputs, dtype=float), np.asarray(loss, dtype=float)
    fixed = dict(fixed or {})
    sample, centre = _sample(surface, inputs, loss, delta, fixed, groups, trunks)
    found, count = _descents(sample, centre, starts, warm, fixed)
    optima, objective, status = optima_of(sample, found)
    best = optima[:1]
    sample = with_noise(sample, best, bootstrap, seed)
    draws = draw(sample, apart(optima)[:3], resample, bootstrap, seed)
    fit = SurfaceFit(
        surface=surface,
        phi=surface.recentre(best, centre)[0],
        covariance=moved(surface, covariance(sample, best, sample.y), best, centre)[0],
        draws=_recentred(surface, draws, centre),
        objective=objective,
        delta=delta,
        starts=count,
        reached=float(np.mean(found.objective <= NEAR * objective + 1e-20)),
        status=status,
        inputs=inputs,
        loss=loss,
        fixed=fixed,
        groups=sample.groups,
        trunks=sample.trunks,
        converged=not status.startswith("NOT CONVERGED"),
        drift=Drift.of(sample, best[0], centre),
    )
    fit.notes.extend(_notes(fit))
    return fit


def _sample(
    surface: Surface,
    inputs: np.ndarray,
    loss: np.ndarray,
    delta: float,
    fixed: Mapping[str, float],
    groups: Sequence[Any] | np.ndarray | None,
    trunks: Sequence[Any] | np.ndarray | None,
) -> tuple[Sample, np.ndarray]:
    """What is fitted, about its centre, and the centre (k,); refused where it tells nothing of the form."""
    held = _held(surface, fixed)
    _check(surface, inputs, loss, fixed)
    z = np.log(inputs)
    centre = surface.centre(z, fixed)
    numbers = [_numbered(names, len(loss)) for names in (groups, trunks)]
    return Sample(surface, z - centre, np.log(loss), delta, held, numbers[0], numbers[1]), centre


def _descents(
    sample: Sample,
    centre: np.ndarray,
    starts: np.ndarray | None,
    warm: np.ndarray | None,
    fixed: Mapping[str, float],
) -> tuple[Descents, int]:
    """Descents from every start, or from near an optimum that is known; and how many starts they had."""
    surface = sample.surface
    grid = surface.recentre(starts_of(surface, starts, fixed), -centre)
    if warm is None:
        return descend(sample, grid), len(grid)
    return descend_warm(sample, surface.recentre(starts_of(surface, warm, fixed), -centre), grid)


def warm_starts(fit: SurfaceFit, draws: int = 4) -> np.ndarray:
    """(m, p) where refits of nearly the same runs begin: the optimum and some draws of the bootstrap."""
    some = np.linspace(0, len(fit.draws.phi) - 1, draws if len(fit.draws.phi) else 0).astype(int)
    return np.concatenate([fit.phi[None], fit.draws.phi[some]])


def _recentred(surface: Surface, draws: Draws, centre: np.ndarray) -> Draws:
    """Draws for inputs as given."""
    return Draws(
        draws.method,
        surface.recentre(draws.phi, centre),
        None if draws.covariance is None else moved(surface, draws.covariance, draws.phi, centre),
        draws.converged,
    )


def _held(surface: Surface, fixed: Mapping[str, float]) -> np.ndarray:
    """(p,) coordinates that `fixed` holds."""
    try:
        held = surface.places(fixed)
    except KeyError as error:
        raise FitError(str(error.args[0])) from None
    for name, value in fixed.items():
        if (name not in surface.exponents and value <= 0) or not np.isfinite(surface.scaled(name, value)):
            raise FitError(f"{surface.formula}: {name} cannot be held at {value}.")
    return held


def _numbered(groups: Sequence[Any] | np.ndarray | None, runs: int) -> np.ndarray | None:
    """Configurations as numbers from 0; None where no two runs share one."""
    if groups is None:
        return None
    if len(groups) != runs:
        raise FitError(f"groups names {len(groups)} configurations for {runs} runs: give one for each run.")
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    return None if len(names) == runs else np.array([names[name] for name in groups])


def _check(surface: Surface, inputs: np.ndarray, loss: np.ndarray, held: Collection[str]) -> None:
    parameters, columns = len(surface.parameters) - len(held), len(surface.columns)
    if inputs.ndim != 2 or inputs.shape != (len(loss), columns):
        raise FitError(
            f"{surface.formula} needs a row of {', '.join(surface.columns)} for each of {len(loss)} losses: "
            f"got {inputs.shape}."
        )
    good = np.isfinite(inputs).all() and np.isfinite(loss).all() and (inputs > 0).all() and (loss > 0).all()
    if not good:
        raise FitError("Inputs and losses must be positive and finite.")
    refuse_absurd(inputs.ravel(), loss)
    if len(loss) < parameters + 2:
        raise FitError(
            f"{surface.formula} is not fitted: {len(loss)} runs for {parameters} parameters, at least "
            f"{parameters + 2} needed (its curves would follow the noise)."
        )
    refuse_equal(loss)
    informed = [column for column, names in enumerate(surface.informs) if set(names) - set(held)]
    for column in informed:
        distinct = len(np.unique(inputs[:, column]))
        if distinct < 3:
            name = surface.columns[column]
            raise FitError(f"{surface.formula} is not fitted: {name} takes {distinct} values, 3 are needed.")
    z = np.log(inputs[:, informed]) - np.log(inputs[:, informed]).mean(0)
    if len(informed) > 1 and np.linalg.svd(z / z.std(0), compute_uv=False)[-1] < 1e-6:
        names = " and ".join(surface.columns[column] for column in informed)
        raise FitError(
            f"{surface.formula} is not fitted: {names} grow together in these runs, so that their effects "
            "cannot be told apart. Add runs that vary one of them."
        )
    if why := surface.refusal(inputs, held):
        raise FitError(f"{surface.formula} is not fitted: {why}")


def _notes(fit: SurfaceFit) -> list[str]:
    notes = []
    if not fit.converged:
        notes.append(
            f"The last descent to this optimum did not converge ({fit.status}): do not use these numbers."
        )
    if fit.reached < 0.02:
        notes.append(
            f"Only {fit.reached:.1%} of the starts found this optimum: there may be a better one between."
        )
    if not fit.draws.converged.all():
        notes.append(f"{np.mean(~fit.draws.converged):.1%} of the bootstrap draws did not converge.")
    notes += [
        f"{name} = {value:.6g} was held, not fitted: the intervals take it as certain."
        for name, value in fit.fixed.items()
    ]
    notes += [f"No run depends on {name}: its value is where the descent began." for name in fit.unidentified]
    intervals = fit.intervals if fit.surface.reciprocals else {}
    for name in fit.surface.reciprocals:
        if name in fit.free and name not in fit.unidentified and np.isinf(intervals[name][1]):
            notes.append(
                f"{name} is not bounded from above: these runs do not show that repeats lose their worth at "
                f"that rate. Read it as more than {intervals[name][0]:.3g}."
            )
    return notes
