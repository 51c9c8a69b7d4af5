"""Fréchet ChemNet Distance (Preuer et al., J. Chem. Inf. Model. 58, 1736, 2018), where `fcd` is installed."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chemscale.common.progress import ProgressBar
from chemscale.molecules.metrics.intervals import MISSING, Value, around, bootstrap_error

BATCH = 128
DRAWS = 40
"""Resamples of the interval: each takes the eigenvalues of a 512 × 512 matrix."""
LEAST = 512
"""Activations of ChemNet: of fewer molecules the covariance is singular, the distance mostly bias."""


class FCDError(ValueError):
    """The distance was asked for and `fcd` is not installed."""


def is_installed() -> bool:
    """Whether the package `fcd` is there."""
    return importlib.util.find_spec("fcd") is not None


def wanted(asked: bool | None) -> bool:
    """Whether the distance is computed: as asked, else where its package is there.

    Args:
        asked: by the user; None if not.

    Raises:
        FCDError: it is asked for and `fcd` is not installed.
    """
    if asked and not is_installed():
        raise FCDError("FCD needs the package fcd: pip install 'chemscale[fcd]'; or leave it out (--no-fcd).")
    return is_installed() if asked is None else asked


def activations(smiles: Sequence[str], *, title: str = "ChemNet", silent: bool = False) -> np.ndarray:
    """Activations of ChemNet's last layer but one, (n, 512).

    Args:
        smiles: canonical.
        title: of the progress bar.
        silent: show no progress.

    Raises:
        FCDError: `fcd` is not installed.
    """
    wanted(True)
    fcd: Any = importlib.import_module("fcd")
    network = fcd.load_ref_model()
    found = [np.empty((0, 512), dtype=np.float32)]
    with ProgressBar(title, len(smiles), "molecules", silent=silent) as progress:
        for start in range(0, len(smiles), BATCH):
            part = list(smiles[start : start + BATCH])
            found.append(fcd.get_predictions(network, part, batch_size=BATCH, n_jobs=0, device="cpu"))
            progress.advance(len(part))
    return np.concatenate(found)


def frechet_distance(sampled: np.ndarray, reference: np.ndarray, draws: int = DRAWS, seed: int = 0) -> Value:
    """Fréchet distance of two lists of activations, with the bias that the package's own value has.

    The trace of the root of a product of covariances is the sum of the roots of the eigenvalues of
    √Σᵣ Σ √Σᵣ, which is symmetric.

    Args:
        sampled: (n, d).
        reference: (m, d).
        draws: resamples of the interval.
        seed: of random numbers.
    """
    if min(len(sampled), len(reference)) < 2:
        return MISSING
    x, y = sampled.astype(float), reference.astype(float)
    mean_y, cov_y = y.mean(0), np.cov(y.T)
    values, vectors = np.linalg.eigh(cov_y)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T

    def of(weights: np.ndarray) -> float:
        total = weights.sum()
        mean = weights @ x / total
        centred = x - mean
        cov = (centred * weights[:, None]).T @ centred / (total - 1)
        spectrum = np.linalg.eigvalsh(root @ cov @ root)
        shared = np.sqrt(np.clip(spectrum, 0, None)).sum()
        return float(np.sum((mean - mean_y) ** 2) + np.trace(cov) + np.trace(cov_y) - 2 * shared)

    value = of(np.ones(len(x)))
    error = bootstrap_error(of, len(x), draws, seed) if draws else math.nan
    return around(value, error, len(x), low=0.0)
