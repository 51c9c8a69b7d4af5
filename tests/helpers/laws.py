"""Simulated sweeps of a joint law whose truth is known."""

import numpy as np

from chemscale.laws.joint.surfaces import Additive, Surface

TRUTH = {
    "additive": [1.69, 406.4, 410.7, 0.34, 0.28],
    "tied": [1.8, 166.0, 287.0, 0.27],
    "kaplan": [8.8e13, 5.4e13, 0.076, 0.095],
}


def sweep(
    surface: Surface | None = None, noise: float = 0.01, sizes: int = 5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, 2) and losses (n,) of a grid of runs with normal noise of log loss."""
    surface, inputs = surface or Additive(), grid(sizes)
    loss = surface.value(np.array(TRUTH[surface.name]), *inputs.T)
    return inputs, loss * np.exp(np.random.default_rng(seed).normal(0, noise, loss.shape))


def grid(sizes: int = 6) -> np.ndarray:
    """Inputs (sizes², 2): parameters times tokens."""
    n, d = np.meshgrid(np.geomspace(1e6, 1e9, sizes), np.geomspace(1e8, 3e10, sizes))
    return np.stack([n.ravel(), d.ravel()], 1)
