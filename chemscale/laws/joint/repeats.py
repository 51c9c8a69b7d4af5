"""The joint law of size and data that are seen several times: each repeat is worth less than the last."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from chemscale.laws.joint.surfaces import Additive, Surface

MAX_EXCESS = 1e12
"""Repeats are cut here, so that a wild start cannot turn into infinity times zero."""


class Repeats(Surface):
    """The law L = E + A·N′^−α + B·D′^−β with effective parameters N′ and effective tokens D′.

    Of D tokens seen, U are distinct (at most D). With R_D = D/U − 1 repeats,
    D′ = U + U·R_D*·(1 − exp(−R_D/R_D*)): the first repeats are worth nearly as much as new tokens, all of
    them together R_D*·U. Parameters beyond U_N, the compute-optimal number for U tokens under the same law,
    saturate likewise: R_N = max(N/U_N − 1, 0), N′ = U_N + U_N·R_N*·(1 − exp(−R_N/R_N*)).

    φ = (log A, log B, log E, α, β, 1/R_D*, 1/R_N*). At 1/R* = 0 repeats count as new, and where runs do not
    distinguish R* from infinity its interval has no upper end.
    """

    name = "repeats"
    formula = "L(N, D, U) = E + A·N′^(−α) + B·D′^(−β)"
    columns = ("parameters", "tokens", "unique_tokens")
    parameters = ("E", "A", "B", "alpha", "beta", "R_D_star", "R_N_star")
    exponents = ("alpha", "beta")
    reciprocals = ("R_D_star", "R_N_star")
    coordinates = ("A", "B", "E", "alpha", "beta", "R_D_star", "R_N_star")
    informs = (("A", "alpha"), ("B", "beta"), ())
    source = "Muennighoff et al. 2023, Eqs. 5 and 6"
    assumes = (
        "Model size and data limit the loss each on its own; the worth of a repeated token, and of a "
        "parameter beyond the compute-optimal number for the distinct tokens, decays exponentially."
    )

    def log_loss(self, phi: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, alpha, beta, rho_d, rho_n = (phi[:, i, None] for i in (0, 1, 3, 4, 5, 6))
        n, d = z[:, 0], z[:, 1]
        u = np.minimum(z[:, 2], d)
        worth, _, by_rho_d = _saturating(np.expm1(d - u), rho_d)
        tokens = u + worth
        with np.errstate(invalid="ignore", divide="ignore"):
            optimal = self._log_optimal(phi, u)
        beyond = optimal < n
        enough = np.where(beyond, optimal, n)
        excess = np.exp((n - enough).clip(max=30)) - 1
        worth, by_excess, by_rho_n = _saturating(excess, rho_n)
        parameters = enough + worth
        by_optimal = np.where(beyond, 1 - (excess + 1) * by_excess, 0.0)
        of_n, of_d = a - alpha * parameters, b - beta * tokens
        of_e = phi[:, 2, None] + 0 * n
        highest = np.maximum(np.maximum(of_n, of_d), of_e)
        shares = [np.exp(term - highest) for term in (of_n, of_d, of_e)]
        total = shares[0] + shares[1] + shares[2]
        s_n, s_d, s_e = (share / total for share in shares)
        turn = -s_n * alpha * by_optimal  # by the logarithm of U_N
        by_log_optimal = (1 / alpha, -1 / alpha, (1 / alpha - optimal) / alpha, (u - 1 / beta) / alpha)
        by = [np.where(beyond, turn * slope, 0.0) for slope in by_log_optimal]
        derivatives = [
            s_n + by[0], s_d + by[1], s_e, by[2] - s_n * parameters, by[3] - s_d * tokens,
            -s_d * beta * by_rho_d, -s_n * alpha * by_rho_n,
        ]  # fmt: skip
        return highest + np.log(total), np.stack(derivatives, 1)

    @staticmethod
    def _log_optimal(phi: np.ndarray, u: np.ndarray) -> np.ndarray:
        """(S, n) log U_N: the N at which the base law spends compute 6·N·U best."""
        a, b, alpha, beta = (phi[:, i, None] for i in (0, 1, 3, 4))
        return (np.log(alpha / beta) + a - b + beta * u) / alpha

    def reported(self, phi: np.ndarray) -> np.ndarray:
        stars = [self.unscaled(name, phi[:, 5 + i]) for i, name in enumerate(self.reciprocals)]
        return np.concatenate([Additive().reported(phi[:, :5]), np.stack(stars, 1)], 1)

    def internal(self, theta: np.ndarray) -> np.ndarray:
        return np.concatenate([Additive().internal(theta[:, :5]), 1 / theta[:, 5:]], 1)

    def recentre(self, phi: np.ndarray, by: np.ndarray) -> np.ndarray:
        """Tokens and distinct tokens move together: their ratio is a part of the law."""
        return np.concatenate([Additive().recentre(phi[:, :5], by), phi[:, 5:]], 1)

    def centre(self, z: np.ndarray, held: Collection[str] = ()) -> np.ndarray:
        parameters, tokens, _ = super().centre(z, held)
        return np.array([parameters, tokens, tokens])

    def refusal(self, inputs: np.ndarray, held: Collection[str]) -> str:
        if "R_D_star" not in held and (inputs[:, 1] <= 1.01 * inputs[:, 2]).all():
            return "no run sees its data more than once. Fit the additive law, or add runs of several epochs."
        return ""

    def starts(self) -> np.ndarray:
        """A coarser grid of ``Additive`` times two worths of a repeat and of a parameter, and one base law
        times a finer grid of worths: 2,169 starts, of which 445 differ where the base law is held."""
        rough = _product(*[[2, 7, 12, 20]] * 2, [-1, 0, 1], *[[0.2, 0.5, 1.0]] * 2, *[[0.3, 0.03]] * 2)
        worths = np.geomspace(1e-3, 10, 21)
        return np.concatenate([rough, _product([7], [7], [0], [0.35], [0.35], worths, worths)])


def _product(*axes: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], 1).astype(float)


def _saturating(excess: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log(1 + (1 − exp(−ρR))/ρ) for R ≥ 0 and ρ ≥ 0, and its derivatives by R and by ρ; smooth at ρ = 0."""
    excess = np.minimum(excess, MAX_EXCESS)
    x = excess * rate
    small = x < 1e-3
    safe = np.where(small, 1.0, x)
    mean = np.where(small, 1 - x / 2 + x**2 / 6, -np.expm1(-safe) / safe)
    slope = np.where(small, -0.5 + x / 3 - x**2 / 8, (np.exp(-safe) * (1 + safe) - 1) / safe**2)
    total = 1 + excess * mean
    return np.log(total), np.exp(-x) / total, excess**2 * slope / total
