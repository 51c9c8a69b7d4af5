"""Training performance estimation (TPE, Frey et al. 2023): the end of a run from its first part.

Sums of training losses rank settings (training speed estimation, TSE; Ru et al., NeurIPS 2021). Frey et al.
2023 regress the final loss on them. Beside it stand the baselines that it has to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chemscale.laws.axis.broken import extrapolate_curve
from chemscale.laws.data.curves import TrainingCurve

WINDOWS = 50
"""Equal parts of a run that stand for the paper's 50 epochs."""
MIN_ROWS = 6
"""Rows of a log after its warm-up, below which a curve is extrapolated from all of them."""


def tse(means: np.ndarray) -> float:
    """Sum of the mean training losses of T epochs (Ru et al. 2021, Eq. 2)."""
    return float(np.sum(means))


def tse_e(means: np.ndarray, last: int = 1) -> float:
    """Sum over the last E of T epochs only: the burn-in is left out (Ru et al. 2021)."""
    if not 1 <= last <= len(means):
        raise ValueError(f"TSE-E: E={last} must lie between 1 and the {len(means)} epochs that are used.")
    return float(np.sum(means[-last:]))


def tse_ema(means: np.ndarray, gamma: float = 0.999) -> float:
    """Discounted sum Σ_t γ^(T−t) ℓ_t: the convention of litmatter and of Ru et al.'s paper."""
    return float(np.sum(gamma ** np.arange(len(means) - 1, -1, -1) * means))


def recursive_ema(means: np.ndarray, mu: float = 0.9) -> float:
    """Recursive mean e_t = μ e_(t−1) + (1 − μ) ℓ_t with e_1 = ℓ_1: as the code of Ru et al. has it."""
    average = float(means[0])
    for loss in means[1:]:
        average = mu * average + (1 - mu) * float(loss)
    return average


def epoch_means(loss: np.ndarray, epoch: np.ndarray) -> np.ndarray:
    """Means (T,) over the minibatches of each epoch, which may be unequal, in order of the epochs."""
    return np.array([np.mean(loss[epoch == e]) for e in np.unique(epoch)])


@dataclass(frozen=True)
class Estimator:
    """A number that predicts how a run will end, from the part of its curve up to a share.

    Args:
        score: lower is better.
        direct: whether it is an estimate of the final loss itself.
    """

    name: str
    title: str
    source: str
    score: Callable[[TrainingCurve, float], float]
    direct: bool = False

    def scores(self, curves: Sequence[TrainingCurve], share: float) -> np.ndarray:
        """Scores (n,); infinite where the loss is not finite, so that a diverged run comes last."""
        values = np.array([self.score(curve, share) for curve in curves])
        return np.where(np.isfinite(values), values, np.inf)


def _of_means(function: Callable[[np.ndarray], float]) -> Callable[[TrainingCurve, float], float]:
    return lambda curve, share: function(curve.means(share, WINDOWS))


def _extrapolated(form: str) -> Callable[[TrainingCurve, float], float]:
    def score(curve: TrainingCurve, share: float) -> float:
        seen, loss = curve.until(share)
        if not np.isfinite(loss).all():
            return float("inf")
        # The warm-up is no part of any law of the curve, nor is the fall from the first weights.
        after = seen > max(curve.warmup, 0.1 * seen[-1])
        if np.sum(after) < MIN_ROWS:
            after = np.ones(len(seen), bool)
        return extrapolate_curve(seen[after], loss[after], curve.planned, form)[0]

    return score


ESTIMATORS = {
    estimator.name: estimator
    for estimator in (
        Estimator("tse", "TSE", "Ru et al. 2021; Frey et al. 2023", _of_means(tse)),
        Estimator("tse-e", "TSE-E (last window)", "Ru et al. 2021; Frey et al. 2023", _of_means(tse_e)),
        Estimator("tse-ema", "TSE-EMA (discounted sum, γ = 0.999)", "Ru et al. 2021", _of_means(tse_ema)),
        Estimator("ema", "EMA (recursive mean, μ = 0.9)", "code of Ru et al. 2021", _of_means(recursive_ema)),
        Estimator("validation", "early validation loss", "baseline", TrainingCurve.early_validation, True),
        Estimator("power", "power law of the curve", "baseline", _extrapolated("power"), True),
        Estimator("offset", "power law above a floor", "baseline", _extrapolated("offset"), True),
        Estimator("bnsl", "broken law of the curve", "Caballero et al. 2022", _extrapolated("broken1"), True),
    )
}  # fmt: skip
"""By name; the first four are training performance estimation, the others the baselines."""
