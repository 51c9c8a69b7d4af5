"""Sweeps over settings whose truth is known."""

import numpy as np
import pytest

from chemscale.laws.data.curves import TrainingCurve


def curve(label: str, floor: float, rows: int = 100, *, noise: float = 0.0, seed: int = 0) -> TrainingCurve:
    """A loss that falls to its floor as a power of 1,000 units of data."""
    seen = np.linspace(1000 / rows, 1000, rows)
    loss = floor + 9 * seen**-0.5 + noise * np.random.default_rng(seed).standard_normal(rows)
    return TrainingCurve(
        label, seen, loss, 1000.0, seen[4::5], loss[4::5] + 0.1, final=floor + 0.05, flops=1e9
    )


@pytest.fixture
def sweep() -> list[TrainingCurve]:
    floors = [2.0, 1.2, 1.9, 1.0, 1.5, 1.7, 1.3, 1.1, 1.6, 1.4]
    return [curve(f"s{k}", floor, noise=0.01, seed=k) for k, floor in enumerate(floors)]
