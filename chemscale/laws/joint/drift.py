"""What exponents that drift along N and D, too weakly to show in the runs, may be worth where a law is read.

An interval of a form takes the form as true. Here the runs follow the form with a discrepancy beside it
(Kennedy and O'Hagan 2001): each axis is warped, L(log N + g(log N), log D + h(log D)), where g and h are
integrated random walks. A term A·N^−α then has the local exponent α·(1 + g′), which wanders as a smoothing
spline's slope does (Wahba 1978) and goes on wandering beyond the runs. How far it wanders is drawn from what
the residuals leave open, for each axis on its own; where they leave everything open, from ``WANDER``. The
result is an allowance by which an interval is widened, never a choice between forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import linalg, special

from chemscale.laws.axis.fit import LEVEL
from chemscale.laws.joint.bootstrap import Sample, run_variances, slopes_of
from chemscale.laws.joint.shared_noise import indicators
from chemscale.laws.joint.surfaces import Surface

AXES = {"parameters": "N", "tokens": "D"}
"""Columns along which a law may bend, and their symbols."""
WANDER = 0.12
"""Scale of the Rayleigh prior of each axis's walk: an exponent changes by about a quarter of itself over a
decade. Being 0 at 0, the prior does not take a bend that is not seen for none (Chung et al. 2013). At 0.1
bands are a tenth narrower and hold 79 % of strong bends that 5 × 4 runs hide, at 0.12 85 to 95 %, at 0.15
94 % and are a fifth wider (docs/coverage.md)."""
SPACING = 0.75
"""Of the walk's steps, in log size."""
MAX_STEPS = 24
AHEAD = np.log(100.0)
"""How far beyond the largest size exponents go on drifting."""
GRID = 12
"""Variances of the walk along each axis that are weighed against each other."""
ROUNDS = 9
"""Most of the search for the end of an interval."""
CLOSE = 2e-4
"""Share by which what it holds may differ from LEVEL."""
KEPT = 0.998
"""Of the weight of all variances: the least likely are left out."""
EXACT = 1e-5
"""Least noise of log loss that is believed: losses are written with few digits."""


class Reading:
    """A quantity read off a law, as a function of (S, p) coordinates, that moves where exponents drift."""

    def __call__(self, phi: np.ndarray) -> np.ndarray:
        """(S, p) coordinates → (S, m) quantities."""
        raise NotImplementedError

    def by_drift(self, phi: np.ndarray, drift: Drift) -> np.ndarray:
        """(m, q) derivatives by the steps of a drift, at coordinates (p,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class LossAt(Reading):
    """Log loss at (m, k) log inputs."""

    surface: Surface
    z: np.ndarray

    def __call__(self, phi: np.ndarray) -> np.ndarray:
        return self.surface.log_loss(phi, self.z)[0]

    def by_drift(self, phi: np.ndarray, drift: Drift) -> np.ndarray:
        return drift.rows(self.surface, phi, self.z)


@dataclass(frozen=True)
class _Mixture:
    """What the residuals leave open, a component for each pair of variances."""

    weight: np.ndarray  # (G,)
    variance: np.ndarray  # (G,) of a run
    middle: np.ndarray  # (G, q) of the steps
    spread: np.ndarray  # (G, q, q), over the variance of a run
    first: float
    """Variance of a run if nothing drifts."""


@dataclass(frozen=True)
class Drift:
    """The runs of a fit as far as a drift needs them; for inputs as given.

    Args:
        centre: (k,) of log inputs, about which coordinates are taken.
        knots: for each column of the surface in ``AXES`` log sizes at which a step of the walk begins.
        free: (p,) coordinates that were fitted.
        freedom: of the residuals if nothing drifts.
        root: upper triangle R with RᵀR = XᵀX, where X has a row a run: derivatives of log loss by the fitted
            coordinates and by the steps, and the residual, all weighed by the noise that runs share.
    """

    centre: np.ndarray
    knots: tuple[np.ndarray, ...]
    free: np.ndarray
    freedom: int
    root: np.ndarray

    @classmethod
    def of(cls, sample: Sample, best: np.ndarray, centre: np.ndarray) -> Drift:
        """The drift that the runs of a fit allow.

        Args:
            sample: what was fitted, about `centre`.
            best: (p,) the fit.
            centre: (k,) of its log inputs.
        """
        knots = []
        for place in _places(sample.surface):
            low, high = sample.z[:, place].min() + centre[place], sample.z[:, place].max() + centre[place]
            steps = min(MAX_STEPS, int(np.ceil((high - low + AHEAD) / SPACING)))
            knots.append(low + (high - low + AHEAD) / steps * np.arange(steps))
        empty = np.zeros((0, 0))
        bare = cls(centre, tuple(knots), ~sample.held, sample.freedom, empty)
        log, jacobian = sample.surface.log_loss(best[None], sample.z)
        moved = sample.surface.recentre(best[None], centre)[0]
        rows = [
            jacobian[0][~sample.held].T,
            bare.rows(sample.surface, moved, sample.z + centre),
            (sample.y - log[0])[:, None],
        ]
        return replace(bare, root=_root(_weighed(sample, np.concatenate(rows, 1), rows[2][:, 0])))

    @property
    def steps(self) -> int:
        """Steps of all walks together."""
        return sum(map(len, self.knots))

    def rows(self, surface: Surface, phi: np.ndarray, z: np.ndarray) -> np.ndarray:
        """(m, q) derivatives of log loss by the steps, at coordinates (p,) and (m, k) log inputs."""
        middle = self.centre
        inner, out = surface.recentre(phi[None], -middle), []
        for place, knots in zip(_places(surface), self.knots, strict=True):
            step = 1e-4 * np.eye(z.shape[1])[place]
            ends = [surface.log_loss(inner, z - middle + side * step)[0][0] for side in (1, -1)]
            slope = (ends[0] - ends[1]) / 2e-4
            out.append(slope[:, None] * _walk(knots, z[:, place]))
        return np.concatenate(out, 1)

    def allowance(self, target: Reading, surface: Surface, phi: np.ndarray) -> np.ndarray:
        """(m,) by how much more than its form says a quantity may lie from the law, in quadrature.

        Args:
            target: the quantity.
            surface: of the law.
            phi: (p,) coordinates of the law.
        """
        inner = surface.recentre(phi[None], -self.centre)
        by_phi = slopes_of(lambda there: target(surface.recentre(there, self.centre)), inner)[0]
        return self._allowed(by_phi[:, self.free], target.by_drift(phi, self))

    def _allowed(self, by_phi: np.ndarray, by_step: np.ndarray) -> np.ndarray:
        law, mixture = self._law, self._mixture
        good = np.isfinite(by_phi).all(1) & np.isfinite(by_step).all(1)
        out = np.full(len(good), np.nan)
        by_phi, by_step = by_phi[good], by_step[good]
        moved = by_step - by_phi @ law["by_steps"]
        own = np.einsum("mp,pq,mq->m", by_phi, law["inverse"], by_phi)
        middle = by_phi @ law["shift"] + mixture.middle @ moved.T
        variance = own + np.einsum("mq,gqr,mr->gm", moved, mixture.spread, moved, optimize=True).clip(0)
        spread = np.sqrt(mixture.variance[:, None] * variance) + 1e-300
        half = _half_width(mixture.weight, middle, spread, self.freedom)
        alone = special.stdtrit(self.freedom, 0.5 + LEVEL / 2) ** 2 * mixture.first * own
        out[good] = np.sqrt(np.maximum(half**2 - alone, 0.0))
        return out

    @property
    def _fitted(self) -> int:
        return int(self.free.sum())

    @cached_property
    def _law(self) -> dict[str, np.ndarray]:
        """What the fitted coordinates make of the steps and of the residual, and their (p, p) covariance
        over the variance of a run."""
        p = self._fitted
        own = self.root[:p, :p]
        size = np.linalg.norm(own, axis=0)
        size = np.where(size > 1e-12 * size.max(initial=0.0), size, np.inf)  # no run depends on it
        back = np.linalg.pinv(own / size, rcond=1e-9) / size[:, None]
        return {
            "by_steps": back @ self.root[:p, p:-1],
            "shift": back @ self.root[:p, -1],
            "inverse": back @ back.T,
        }

    @cached_property
    def _mixture(self) -> _Mixture:
        """The posterior of the walks: both variances on a grid, steps and noise given them in closed form."""
        p, freedom = self._fitted, self.freedom
        seen, left = self.root[p:-1, p:-1], self.root[p:-1, -1]
        rest = max(float(self.root[-1, -1]) ** 2, freedom * EXACT**2)
        first = (float(left @ left) + rest) / freedom
        least = max(rest / max(freedom - len(left), 1), 1e-3 * first)
        logs = np.linspace(np.log((0.03 * WANDER) ** 2 / first), np.log((4 * WANDER) ** 2 / least), GRID)
        pairs = np.stack([g.ravel() for g in np.meshgrid(*[logs] * len(self.knots))], 1)
        ratio = np.exp(pairs)[:, np.repeat(np.arange(len(self.knots)), [len(k) for k in self.knots])]
        size = np.sqrt(ratio)
        tilted = seen * size[:, None, :]
        # Of steps over their sizes; in this order nothing large is taken from anything large.
        inverse = np.linalg.inv(np.eye(ratio.shape[1]) + tilted.transpose(0, 2, 1) @ tilted)
        found = np.einsum("gqr,gr->gq", inverse, left @ tilted)
        missed = left - np.einsum("grq,gq->gr", tilted, found)
        squares = np.sum(missed**2, axis=1) + np.sum(found**2, axis=1) + rest
        # A density of τ, on a grid of log τ²: τ²·exp(−τ²/2τ₀²).
        relative = np.exp(pairs) * (squares / freedom)[:, None] / WANDER**2
        height = np.sum(np.log(relative) - relative / 2, axis=1)
        height += 0.5 * np.linalg.slogdet(inverse)[1] - 0.5 * freedom * np.log(squares)
        weight = np.exp(height - height.max())
        order = np.argsort(-weight)
        kept = order[: int(np.searchsorted(np.cumsum(weight[order]), KEPT * weight.sum())) + 1]
        middle = size[kept] * found[kept]
        spread = size[kept][:, :, None] * inverse[kept] * size[kept][:, None, :]
        return _Mixture(weight[kept] / weight[kept].sum(), squares[kept] / freedom, middle, spread, first)

    def after(self, surface: Surface, phi: np.ndarray, inputs: np.ndarray) -> Drift:
        """The drift that is left open when runs at (m, k) inputs are fitted too and lie on the law."""
        z = np.log(inputs)
        inner = surface.recentre(phi[None], -self.centre)
        by_phi = surface.log_loss(inner, z - self.centre)[1][0][self.free].T
        rows = np.concatenate([by_phi, self.rows(surface, phi, z), np.zeros((len(z), 1))], 1)
        return replace(self, root=_root(np.concatenate([self.root, rows])), freedom=self.freedom + len(z))

    def of_first(self, coordinates: int, columns: int) -> Drift:
        """The drift of a law that is this one with only its first coordinates and columns."""
        last = np.arange(len(self.free)) >= coordinates
        dropped = np.flatnonzero(last[self.free])
        order = np.concatenate([dropped, np.setdiff1d(np.arange(len(self.root)), dropped)])
        root = _root(self.root[:, order])[len(dropped) :, len(dropped) :]
        return replace(self, centre=self.centre[:columns], free=self.free[:coordinates], root=root)

    def to_dict(self) -> dict[str, Any]:
        """For ``law.json``."""
        rows = [row[place:].tolist() for place, row in enumerate(self.root)]
        return {
            "centre": self.centre.tolist(), "knots": [each.tolist() for each in self.knots],
            "free": self.free.tolist(), "freedom": self.freedom, "root": rows,
        }  # fmt: skip

    @classmethod
    def of_dict(cls, kept: Mapping[str, Any]) -> Drift:
        """A drift as ``to_dict`` wrote it."""
        root = np.zeros([len(kept["root"])] * 2)
        for place, row in enumerate(kept["root"]):
            root[place, place:] = row
        knots = tuple(np.array(each, dtype=float) for each in kept["knots"])
        return cls(
            np.array(kept["centre"], dtype=float), knots, np.array(kept["free"], dtype=bool),
            int(kept["freedom"]), root,
        )  # fmt: skip


def _places(surface: Surface) -> list[int]:
    return [place for place, column in enumerate(surface.columns) if column in AXES]


def _walk(knots: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(m, q) an integrated random walk at log sizes (m,), by its steps of unit variance a unit of log size.

    The slope changes evenly from each knot to the next: with kinks at knots the allowance of a strong bend
    depends on where they lie.
    """
    width = knots[1] - knots[0]
    past = np.maximum(z[:, None] - knots, 0.0)
    return np.sqrt(width) * np.where(past < width, past**2 / (2 * width), past - width / 2)


def _root(rows: np.ndarray) -> np.ndarray:
    """(k, k) upper triangle of a QR of (n, k) rows."""
    root, width = linalg.qr(rows, mode="r", check_finite=False)[0], rows.shape[1]
    root = root[:width]
    return np.concatenate([root, np.zeros((width - len(root), width))]) if len(root) < width else root


def _weighed(sample: Sample, rows: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """(n, k) rows of runs whose noise is independent and of one size, of rows (n, k) that share some."""
    if sample.noise is not None:
        whole = np.eye(len(rows)) * sample.noise.own
        for groups, variance in zip(sample.kinds, sample.noise.shared, strict=True):
            whole += variance * indicators(groups) @ indicators(groups).T
        lower = np.linalg.cholesky(whole / sample.noise.own)
        return np.linalg.solve(lower, rows)
    if sample.groups is None:
        return rows
    of_runs, of_groups = (float(each[0]) for each in run_variances(sample, residual[None]))
    if of_groups <= 0 or of_runs <= 0:
        return rows
    sizes = np.bincount(sample.groups)
    mean = np.stack([np.bincount(sample.groups, column) for column in rows.T], 1) / sizes[:, None]
    less = 1 - 1 / np.sqrt(1 + sizes * of_groups / of_runs)
    return rows - (mean * less[:, None])[sample.groups]


def _half_width(weight: np.ndarray, middle: np.ndarray, spread: np.ndarray, freedom: int) -> np.ndarray:
    """(m,) distance from 0 within which a mixture of Student's t (G,), (G, m) lies at LEVEL."""
    reach = float(special.stdtrit(freedom, 0.5 + LEVEL / 2))
    low, high = np.zeros(middle.shape[1]), (np.abs(middle) + 1.5 * reach * spread).max(0)
    half = np.minimum(weight @ (np.abs(middle) + 0.85 * reach * spread), high)
    scale = np.exp(special.gammaln((freedom + 1) / 2) - special.gammaln(freedom / 2)) / np.sqrt(
        freedom * np.pi
    )
    for _ in range(ROUNDS):  # Newton's, kept between ends that hold too little and too much
        ends = [(side * half - middle) / spread for side in (1, -1)]
        missing = LEVEL - weight @ (special.stdtr(freedom, ends[0]) - special.stdtr(freedom, ends[1]))
        if (np.abs(missing) < CLOSE).all():
            break
        low, high = np.where(missing > 0, half, low), np.where(missing > 0, high, half)
        density = sum((1 + end**2 / freedom) ** (-(freedom + 1) / 2) for end in ends) * scale / spread
        trial = half + missing / np.maximum(weight @ density, 1e-300)
        half = np.where((trial > low) & (trial < high), trial, (low + high) / 2)
    return half
