"""Linear heads of scikit-learn on fixed features; the validation part chooses their strength."""

from __future__ import annotations

from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from scipy import sparse

from chemscale.probing.data import ProbeError
from chemscale.probing.measures import rmse, roc_auc

try:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler
except ImportError:
    raise ProbeError(
        "A probe needs scikit-learn, which is not installed: pip install 'chemscale[probe]'."
    ) from None

ALPHAS = tuple(10.0**k for k in range(-3, 6))
"""Strengths of ridge regression, weakest first."""
COSTS = tuple(10.0**k for k in range(-5, 3))
"""Inverse strengths of logistic regression."""
USUAL = 1.0
"""Strength, or its inverse, of a task that the validation part has no label of: scikit-learn's own."""
RADIUS, BITS = 2, 2048

Features = Any
"""(n, D) array, or a sparse matrix."""


def morgan(smiles: list[str]) -> sparse.csr_matrix:
    """(n, 2048) Morgan fingerprints of radius 2 (ECFP4), bits.

    Args:
        smiles: canonical.
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    columns: list[int] = []
    ends = [0]
    for text in smiles:
        columns += generator.GetFingerprint(Chem.MolFromSmiles(text)).GetOnBits()
        ends.append(len(columns))
    return sparse.csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(smiles), BITS))


def fit_heads(
    features: Features, labels: np.ndarray, parts: np.ndarray, kind: str
) -> tuple[np.ndarray, list[float | None]]:
    """Predictions of all molecules by one linear head a task, fitted to the training part alone.

    Dense features are standardised by the training part. The strength is the one with the best RMSE or
    ROC-AUC on the validation part (log loss where it has one class only, the usual strength where it has no
    label); a task that the training part cannot teach (no label, or one class) is predicted by nothing.

    Args:
        features: (n, D)
        labels: (n, T), NaN where there is none.
        parts: (n,) 0 train, 1 validation, 2 test.
        kind: classification | regression.

    Returns:
        (n, T) predictions (numbers, or chances of class 1), NaN for tasks without a head; and the strength of
        each task, None for these.
    """
    if not sparse.issparse(features):
        features = np.asarray(features, dtype=float)  # ridge of single precision is ill-conditioned
        features = StandardScaler().fit(features[parts == 0]).transform(features)
    predictions = np.full(labels.shape, np.nan)
    strengths: list[float | None] = []
    for task in range(labels.shape[1]):
        there = ~np.isnan(labels[:, task])
        train, check = there & (parts == 0), there & (parts == 1)
        classes = np.unique(labels[train, task])
        if not len(classes) or (kind == "classification" and len(classes) < 2):
            strengths.append(None)
            continue
        best = (np.inf, 0.0)
        tried = (ALPHAS if kind == "regression" else COSTS) if check.any() else (USUAL,)
        for strength in tried:
            guess = _predict(kind, strength, features, labels[:, task], train)
            loss = _loss(kind, labels[check, task], guess[check])
            if loss < best[0]:
                best, predictions[:, task] = (loss, strength), guess
        strengths.append(best[1])
    return predictions, strengths


def _predict(
    kind: str, strength: float, features: Features, labels: np.ndarray, train: np.ndarray
) -> np.ndarray:
    head: Any
    if kind == "regression":
        head = Ridge(strength).fit(features[train], labels[train])
        return np.asarray(head.predict(features))
    head = LogisticRegression(C=strength, max_iter=1000).fit(features[train], labels[train].astype(int))
    return np.asarray(head.predict_proba(features)[:, 1])


def _loss(kind: str, labels: np.ndarray, guess: np.ndarray) -> float:
    """Of the validation part; 0 where it has no label."""
    if not len(labels):
        return 0.0
    one = np.ones((1, len(labels)))
    if kind == "regression":
        return float(rmse(labels, guess, one)[0])
    area = float(roc_auc(labels, guess, one)[0])
    if not np.isnan(area):
        return -area
    chance = np.clip(np.where(labels == 1, guess, 1 - guess), 1e-12, None)
    return float(-np.log(chance).mean())
