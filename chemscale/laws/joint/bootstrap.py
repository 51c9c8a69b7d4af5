"""Refits of a bootstrap: what is drawn, the covariance of a fit to first order, and how intervals follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chemscale.laws.axis.least_squares import Descents
from chemscale.laws.joint.huber import fit_huber
from chemscale.laws.joint.shared_noise import Components, components, indicators
from chemscale.laws.joint.surfaces import Surface

RUNS_ENOUGH = 100
"""Runs (or configurations) from which they are resampled as they are; fewer repeat themselves too often."""

Target = Callable[[np.ndarray], np.ndarray]
"""(S, p) coordinates → (S, m) quantities."""

KEPT = 400
"""Draws that a law.json keeps."""
STEPS = 500
"""Most steps of a draw's descent."""


@dataclass(frozen=True)
class Draws:
    """Refits of a bootstrap, and how an interval is read from them.

    ``runs``: runs drawn with replacement; an interval is the percentiles of the refits. ``noise``: the fitted
    law with normal noise of the residuals' size; an interval is as many standard errors to both sides as hold
    the studentised refits (the symmetric bootstrap-t, Hall 1988), whose distribution hardly depends on the
    law. In simulated sweeps of 25 runs the second covers as often as it should, the first does not.

    Where runs share a configuration and differ by seed, ``configurations, then seeds`` draws configurations
    and then runs within each of them, and ``noise of configurations and seeds`` adds one deviation for each
    configuration and one for each run, of the sizes that the residuals show: seeds of one configuration are
    not as many witnesses of the law as they are runs.

    Where runs share a trunk, ``noise of trunks`` (``and configurations``) adds one deviation for each trunk,
    of variances that are drawn from what the residuals leave open (``Components``) and not held at an
    estimate; ``trunks`` draws whole trunks with replacement.
    """

    method: str
    phi: np.ndarray  # (B, p)
    covariance: np.ndarray | None  # (B, p, p), of noise only
    converged: np.ndarray  # (B,)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the first draws, which give the intervals of anything that follows from the law."""
        rows, columns = np.tril_indices(self.phi.shape[1])
        covariance = None
        if self.covariance is not None:
            covariance = _short(self.covariance[:KEPT, rows, columns])
        return {"method": self.method, "phi": _short(self.phi[:KEPT]), "covariance": covariance}

    @classmethod
    def of_dict(cls, kept: Mapping[str, Any]) -> Draws:
        """Draws as ``to_dict`` wrote them."""
        phi = np.array(kept["phi"], dtype=float)
        covariance = None
        if kept["covariance"] is not None:
            rows, columns = np.tril_indices(phi.shape[1])
            covariance = np.empty((*phi.shape, phi.shape[1]))
            covariance[:, rows, columns] = covariance[:, columns, rows] = np.array(kept["covariance"])
        return cls(kept["method"], phi, covariance, np.ones(len(phi), bool))


@dataclass(frozen=True)
class Sample:
    """What is fitted, in the coordinates of the descent."""

    surface: Surface
    z: np.ndarray
    """(n, k) log inputs."""
    y: np.ndarray
    """(n,) log losses."""
    delta: float
    held: np.ndarray
    """(p,) coordinates that are not fitted."""
    groups: np.ndarray | None
    """(n,) number of the configuration of each run; None where every run is one."""
    trunks: np.ndarray | None = None
    """(n,) number of the trunk of each run; None where no two runs share one."""
    noise: Components | None = None
    """Of the residuals, where runs share a trunk."""

    @property
    def kinds(self) -> list[np.ndarray]:
        """Groups whose runs share noise, where trunks are known: those, then configurations."""
        return [groups for groups in (self.trunks, self.groups) if groups is not None]

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the residuals."""
        return len(self.y) - int((~self.held).sum())


def _short(values: np.ndarray) -> list[list[float]]:
    """Numbers of 10 digits: more than a covariance of correlated parameters needs."""
    return [[float(f"{value:.10g}") for value in row] for row in values]


def draw(sample: Sample, optima: np.ndarray, method: str | None, count: int, seed: int) -> Draws:
    """Refit draws of a bootstrap.

    Args:
        sample: what is fitted.
        optima: (m, p) least objective first. Draws are drawn about the first; each descends from all of them,
            since a draw may turn the order of optima that are nearly as good.
        method: ``runs`` or ``noise``; None for what suits the number of runs.
        count: of the draws.
        seed: of the draws.

    Raises:
        ValueError: an unknown method.
    """
    random = np.random.default_rng(seed)
    units = len(sample.y)
    if sample.trunks is not None or sample.groups is not None:
        units = min(int(groups.max()) + 1 for groups in sample.kinds)
    method = method or ("runs" if units >= RUNS_ENOUGH else "noise")
    if method == "runs":
        found = _refit(sample, optima, count, sample.y, _times(sample, count, random))
        name = "runs" if sample.groups is None else "configurations, then seeds"
        name = name if sample.trunks is None else "trunks"
        return Draws(name, found.phi, None, found.converged)
    if method != "noise":
        raise ValueError(f"resample={method!r}: choose runs or noise.")
    fitted = sample.surface.log_loss(optima[:1], sample.z)[0][0]
    if sample.noise is not None:
        noisy = fitted + _shared(sample, sample.noise, count, random)
        found = _refit(sample, optima, count, noisy, None)
        name = f"noise of trunks{'' if sample.groups is None else ' and configurations'}"
        return Draws(name, found.phi, covariance(sample, found.phi, noisy), found.converged)
    of_runs, of_groups = (np.sqrt(v[0]) for v in run_variances(sample, (sample.y - fitted)[None]))
    noisy = fitted + of_runs * random.standard_normal((count, len(fitted)))
    if sample.groups is not None:
        noisy = noisy + (of_groups * random.standard_normal((count, units)))[:, sample.groups]
    found = _refit(sample, optima, count, noisy, None)
    name = "noise" if sample.groups is None else "noise of configurations and seeds"
    return Draws(name, found.phi, covariance(sample, found.phi, noisy), found.converged)


def with_noise(sample: Sample, best: np.ndarray, count: int, seed: int) -> Sample:
    """The sample with the variances of its shared noise; as it is where no two runs share a trunk.

    Args:
        sample: what was fitted.
        best: (1, p) the fit.
        count: draws of the variances.
        seed: of the draws.
    """
    if sample.trunks is None:
        return sample
    log, jacobian = sample.surface.log_loss(best, sample.z)
    random = np.random.default_rng([seed, 1])
    noise = components(jacobian[0][~sample.held], sample.y - log[0], sample.kinds, count, random)
    return replace(sample, noise=noise)


def _shared(sample: Sample, noise: Components, count: int, random: np.random.Generator) -> np.ndarray:
    """(count, n) noise of runs and of what they share, each row of other variances."""
    out = np.sqrt(noise.own_draws)[:, None] * random.standard_normal((count, len(sample.y)))
    for groups, variance in zip(sample.kinds, noise.shared_draws.T, strict=True):
        each = np.sqrt(variance)[:, None] * random.standard_normal((count, int(groups.max()) + 1))
        out += each[:, groups]
    return out


def _refit(
    sample: Sample, optima: np.ndarray, count: int, y: np.ndarray, weights: np.ndarray | None
) -> Descents:
    """Every draw from every optimum; the best of each."""
    tries = [
        fit_huber(
            sample.surface, np.repeat(start[None], count, 0), sample.z, y,
            weights=weights, delta=sample.delta, fixed=sample.held, steps=STEPS,
        )
        for start in optima
    ]  # fmt: skip
    chosen, draws = np.argmin([one.objective for one in tries], axis=0), np.arange(count)
    return Descents(
        np.stack([one.phi for one in tries])[chosen, draws],
        np.stack([one.objective for one in tries])[chosen, draws],
        np.stack([one.converged for one in tries])[chosen, draws],
    )


def _times(sample: Sample, count: int, random: np.random.Generator) -> np.ndarray:
    """(count, n) how often each run is drawn."""
    n = len(sample.y)
    if sample.trunks is not None:
        whole = int(sample.trunks.max()) + 1
        drawn = random.integers(0, whole, (count, whole))
        return np.stack([np.bincount(row, minlength=whole)[sample.trunks] for row in drawn]) * 1.0
    if sample.groups is None:
        return np.stack([np.bincount(random.integers(0, n, n), minlength=n) for _ in range(count)]) * 1.0
    members = [np.flatnonzero(sample.groups == g) for g in range(int(sample.groups.max()) + 1)]
    times = np.zeros((count, n))
    for row in times:
        for g in random.integers(0, len(members), len(members)):
            np.add.at(row, random.choice(members[g], len(members[g])), 1.0)
    return times


def run_variances(sample: Sample, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,) variance of a run about its configuration and (S,) of a configuration about the law.

    Without configurations the second is 0. With them they are the moment estimates of a one-way layout.
    """
    total = np.sum(residual**2, axis=1) / sample.freedom
    if sample.groups is None:
        return total, np.zeros_like(total)
    sizes = np.bincount(sample.groups)
    within_freedom = len(sample.y) - len(sizes)
    between_freedom = len(sizes) - int((~sample.held).sum())
    if within_freedom < 1 or between_freedom < 1:
        return total, np.zeros_like(total)
    means = residual @ (np.eye(len(sizes))[sample.groups] / sizes)
    within = np.sum((residual - means[:, sample.groups]) ** 2, axis=1) / within_freedom
    between = np.sum(sizes * means**2, axis=1) / between_freedom
    return within, np.maximum(0.0, (between - within) * len(sizes) / len(sample.y))


def covariance(sample: Sample, phi: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Covariance of fits to first order: least squares with the residuals' size.

    Args:
        sample: what was fitted.
        phi: (S, p) fits.
        y: (n,) or (S, n) log losses.

    Returns:
        (S, p, p), zero for coordinates that are held.
    """
    log, jacobian = sample.surface.log_loss(phi, sample.z)
    jacobian = jacobian * ~sample.held[:, None]
    if sample.noise is not None:
        return _of_shared(sample, sample.noise, jacobian)
    of_runs, of_groups = run_variances(sample, y - log)
    inverse = np.linalg.pinv(np.matmul(jacobian, jacobian.transpose(0, 2, 1)), hermitian=True)
    out = inverse * of_runs[:, None, None]
    if sample.groups is not None:
        shared = np.matmul(jacobian, np.eye(int(sample.groups.max()) + 1)[sample.groups])
        middle = np.matmul(shared, shared.transpose(0, 2, 1))
        out = out + of_groups[:, None, None] * np.matmul(np.matmul(inverse, middle), inverse)
    return out


def _of_shared(sample: Sample, noise: Components, jacobian: np.ndarray) -> np.ndarray:
    """(S, p, p) covariance under the variances of the best fit, whatever the draw."""
    inverse = np.linalg.pinv(np.matmul(jacobian, jacobian.transpose(0, 2, 1)), hermitian=True)
    out = inverse * noise.own
    for groups, variance in zip(sample.kinds, noise.shared, strict=True):
        shared = np.matmul(jacobian, indicators(groups))
        middle = np.matmul(shared, shared.transpose(0, 2, 1))
        out = out + variance * np.matmul(np.matmul(inverse, middle), inverse)
    return out


def moved(surface: Surface, covariance: np.ndarray, phi: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The covariance of ``surface.recentre(phi, by)``."""
    slope = slopes_of(lambda there: surface.recentre(there, by), phi)
    return np.einsum("smp,spq,snq->smn", slope, covariance, slope)


def standard_errors(target: Target, phi: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Standard errors (S, m) of a target, to first order."""
    slope = slopes_of(target, phi)
    return np.sqrt(np.einsum("smp,spq,smq->sm", slope, covariance, slope).clip(0)) + 1e-300


def slopes_of(target: Target, phi: np.ndarray) -> np.ndarray:
    """(S, m, p) derivatives of a target, by central differences."""
    columns = []
    for k in range(phi.shape[1]):
        step = np.zeros_like(phi)
        step[:, k] = 1e-5 * (1.0 + np.abs(phi[:, k]))
        columns.append((target(phi + step) - target(phi - step)) / (2 * step[:, k, None]))
    return np.stack(columns, axis=2)
