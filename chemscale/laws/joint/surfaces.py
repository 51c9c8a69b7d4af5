"""Forms of a joint law of model size and data: log loss and its gradient for many parameter vectors at once.

S parameter vectors (starts, or draws of a bootstrap), n runs, p parameters, k inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

import numpy as np


class Surface:
    """A law L(N, D; φ) in coordinates φ without bounds, in which a descent behaves well.

    `columns` are the inputs, of which ``log_loss`` takes the logarithms; `parameters` what is reported.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    parameters: ClassVar[tuple[str, ...]]
    exponents: ClassVar[tuple[str, ...]]
    """Parameters of either sign; the others are coefficients above 0."""
    reciprocals: ClassVar[tuple[str, ...]] = ()
    """Parameters whose coordinate is 1/θ ≥ 0, so that an infinite one can be reached and reported."""
    coordinates: ClassVar[tuple[str, ...]]
    """What stands in each place of φ, by the name of the parameter: the logarithm of a coefficient, an
    exponent as it is, or a reciprocal."""
    informs: ClassVar[tuple[tuple[str, ...], ...]]
    """For each column, the parameters that only it determines: it must vary unless all of them are held."""
    source: ClassVar[str]
    assumes: ClassVar[str]

    def log_loss(self, phi: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log loss and its derivatives.

        Args:
            phi: (S, p) coordinates.
            z: (n, k) log inputs.

        Returns:
            (S, n) log loss, and (S, p, n) its derivatives by φ.
        """
        raise NotImplementedError

    def reported(self, phi: np.ndarray) -> np.ndarray:
        """Parameters (S, p) as people quote them, of coordinates (S, p); infinite where they overflow."""
        raise NotImplementedError

    def internal(self, theta: np.ndarray) -> np.ndarray:
        """Coordinates (S, p) of parameters (S, p) as people quote them."""
        raise NotImplementedError

    def recentre(self, phi: np.ndarray, by: np.ndarray) -> np.ndarray:
        """Coordinates (S, p) of the same law when every log input is larger by `by` (k,)."""
        raise NotImplementedError

    def centre(self, z: np.ndarray, held: Collection[str] = ()) -> np.ndarray:
        """Shift (k,) of log inputs (n, k): their middle; 0 where a held parameter would move."""
        moves = [any(name in held and name not in self.exponents for name in names) for names in self.informs]
        return np.where(moves, 0.0, z.mean(0))

    def lowest(self) -> np.ndarray:
        """Lower bounds (p,) of φ: 0 for reciprocals, none for the others."""
        return np.array([0.0 if name in self.reciprocals else -np.inf for name in self.coordinates])

    def places(self, names: Collection[str]) -> np.ndarray:
        """Mask (p,) of the coordinates that hold these parameters.

        Raises:
            KeyError: a name that is no parameter of this form.
        """
        for name in names:
            if name not in self.parameters:
                raise KeyError(
                    f"{self.formula} has no parameter {name!r}: it has {', '.join(self.parameters)}."
                )
        return np.array([name in names for name in self.coordinates])

    def scaled(self, name: str, value: float) -> float:
        """A reported value as its coordinate."""
        if name in self.reciprocals:
            return 1.0 / value if value else np.inf
        return value if name in self.exponents else float(np.log(value))

    def unscaled(self, name: str, coordinate: np.ndarray) -> np.ndarray:
        """The inverse of ``scaled``, of an array."""
        coordinate = np.asarray(coordinate, dtype=float)
        with np.errstate(over="ignore", divide="ignore"):
            if name in self.reciprocals:
                return 1.0 / np.maximum(coordinate, 0.0)
            return coordinate.copy() if name in self.exponents else np.exp(coordinate)

    def refusal(self, inputs: np.ndarray, held: Collection[str]) -> str:
        """Why these inputs cannot determine the parameters that are not held; empty if they may."""
        return ""

    def starts(self) -> np.ndarray:
        """Starts (S, p) of descents, for log inputs as they are."""
        raise NotImplementedError

    def value(self, theta: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        """Loss of reported parameters (p,) at inputs of one shape."""
        arrays = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in inputs))
        z = np.log(np.stack([x.ravel() for x in arrays], axis=1))
        phi = self.internal(np.asarray(theta, dtype=float)[None])
        return np.exp(self.log_loss(phi, z)[0][0]).reshape(arrays[0].shape)


def _log_sum_exp(terms: Sequence[np.ndarray], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """log Σ exp of terms that broadcast to (S, n), the first of that shape, and their shares.

    Returns:
        (S, n), and (S, rows, n) whose first rows hold the share of each term; the rest is not set.
    """
    highest = np.maximum(terms[0], terms[1])
    for term in terms[2:]:
        np.maximum(highest, term, out=highest)
    count, n = highest.shape
    out = np.empty((count, rows, n))
    shares = out[:, : len(terms)]
    for k, term in enumerate(terms):
        np.subtract(term, highest, out=shares[:, k])
    np.exp(shares, out=shares)
    total = shares[:, 0] + shares[:, 1]
    for k in range(2, len(terms)):
        total += shares[:, k]
    shares /= total[:, None]
    highest += np.log(total, out=total)
    return highest, out


class Additive(Surface):
    """The law L = E + A·N^−α + B·D^−β, with φ = (log A, log B, log E, α, β)."""

    name = "additive"
    formula = "L(N, D) = E + A·N^(−α) + B·D^(−β)"
    columns = ("parameters", "tokens")
    parameters = ("E", "A", "B", "alpha", "beta")
    exponents = ("alpha", "beta")
    coordinates = ("A", "B", "E", "alpha", "beta")
    informs = (("A", "alpha"), ("B", "beta"))
    source = "Hoffmann et al. 2022, Approach 3; Besiroglu et al. 2024"
    assumes = (
        "Model size and data limit the loss each on its own, every token is seen once (or repeats count "
        "as new), and each run was trained well for its horizon."
    )

    def log_loss(self, phi: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, e, alpha, beta = (phi[:, i, None] for i in range(5))
        n, d = z[:, 0], z[:, 1]
        log, out = _log_sum_exp((a - alpha * n, b - beta * d, e), 5)
        np.multiply(out[:, 0], -n, out=out[:, 3])
        np.multiply(out[:, 1], -d, out=out[:, 4])
        return log, out

    def reported(self, phi: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            a, b, e = np.exp(phi[:, :3]).T
        return np.stack([e, a, b, phi[:, 3], phi[:, 4]], 1)

    def internal(self, theta: np.ndarray) -> np.ndarray:
        e, a, b, alpha, beta = theta.T
        return np.stack([np.log(a), np.log(b), np.log(e), alpha, beta], 1)

    def recentre(self, phi: np.ndarray, by: np.ndarray) -> np.ndarray:
        moved = phi.copy()
        moved[:, 0] += phi[:, 3] * by[0]
        moved[:, 1] += phi[:, 4] * by[1]
        return moved

    def starts(self) -> np.ndarray:
        """The grid of Hoffmann et al. 2022: 4,500 starts."""
        grids = (
            np.arange(0, 26, 5),
            np.arange(0, 26, 5),
            np.arange(-1, 1.1, 0.5),
            *[np.arange(0, 2.1, 0.5)] * 2,
        )
        return np.stack([g.ravel() for g in np.meshgrid(*grids, indexing="ij")], 1)


class Tied(Surface):
    """The law L = E + A·N^−η + B·D^−η, with φ = (log A, log B, log E, η).

    With D = M·N this is E + (a·M^η + b·M^−η)·C^−η of Gadre et al., whose models of one M lie on lines of one
    slope whatever M is.
    """

    name = "tied"
    formula = "L(N, D) = E + A·N^(−η) + B·D^(−η)"
    columns = ("parameters", "tokens")
    parameters = ("E", "A", "B", "eta")
    exponents = ("eta",)
    coordinates = ("A", "B", "E", "eta")
    informs = (("A", "eta"), ("B", "eta"))
    source = "Gadre et al. 2024 (over-training)"
    assumes = (
        "Model size and data limit the loss each on its own and with one exponent, so that over-training "
        "moves a law of compute up without turning it."
    )

    def log_loss(self, phi: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, e, eta = (phi[:, i, None] for i in range(4))
        n, d = z[:, 0], z[:, 1]
        log, out = _log_sum_exp((a - eta * n, b - eta * d, e), 4)
        np.multiply(out[:, 0], -n, out=out[:, 3])
        out[:, 3] -= out[:, 1] * d
        return log, out

    def reported(self, phi: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            a, b, e = np.exp(phi[:, :3]).T
        return np.stack([e, a, b, phi[:, 3]], 1)

    def internal(self, theta: np.ndarray) -> np.ndarray:
        e, a, b, eta = theta.T
        return np.stack([np.log(a), np.log(b), np.log(e), eta], 1)

    def recentre(self, phi: np.ndarray, by: np.ndarray) -> np.ndarray:
        moved = phi.copy()
        moved[:, 0] += phi[:, 3] * by[0]
        moved[:, 1] += phi[:, 3] * by[1]
        return moved

    def starts(self) -> np.ndarray:
        """The grid of ``Additive`` where both exponents are equal: 900 starts."""
        grid = Additive().starts()
        return grid[grid[:, 3] == grid[:, 4]][:, :4]


class Kaplan(Surface):
    """The law L = ((N_c/N)^(α_N/α_D) + D_c/D)^α_D, with φ = (log N_c, log D_c, α_N, α_D)."""

    name = "kaplan"
    formula = "L(N, D) = [(N_c/N)^(α_N/α_D) + D_c/D]^α_D"
    columns = ("parameters", "tokens")
    parameters = ("N_c", "D_c", "alpha_N", "alpha_D")
    exponents = ("alpha_N", "alpha_D")
    coordinates = parameters
    informs = (("N_c", "alpha_N"), ("D_c", "alpha_D"))
    source = "Kaplan et al. 2020, Eq. 1.5"
    assumes = "The loss falls to zero with both; the two limits combine inside one power."

    def log_loss(self, phi: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n_c, d_c, alpha_n, alpha_d = (phi[:, i, None] for i in range(4))
        n, d = n_c - z[:, 0], d_c - z[:, 1]
        log, out = _log_sum_exp((alpha_n / alpha_d * n, d), 4)
        np.multiply(out[:, 0], n, out=out[:, 2])
        by_ratio = out[:, 2] * alpha_n
        by_ratio /= alpha_d
        np.subtract(log, by_ratio, out=out[:, 3])
        out[:, 0] *= alpha_n
        out[:, 1] *= alpha_d
        log *= alpha_d
        return log, out

    def reported(self, phi: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.concatenate([np.exp(phi[:, :2]), phi[:, 2:]], 1)

    def internal(self, theta: np.ndarray) -> np.ndarray:
        return np.concatenate([np.log(theta[:, :2]), theta[:, 2:]], 1)

    def recentre(self, phi: np.ndarray, by: np.ndarray) -> np.ndarray:
        moved = phi.copy()
        moved[:, :2] += by
        return moved

    def starts(self) -> np.ndarray:
        """900 starts: the two limits at a loss of 1 from e⁰ to e⁴⁰, whatever the exponents."""
        exponents = [0.02, 0.05, 0.1, 0.3, 0.6]
        limits = np.arange(0, 41, 8)
        grid = np.stack(
            [g.ravel() for g in np.meshgrid(limits, limits, exponents, exponents, indexing="ij")], 1
        )
        grid = grid.astype(float)
        grid[:, 0] *= grid[:, 3] / grid[:, 2]
        return grid
