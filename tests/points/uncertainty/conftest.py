"""Three seeds of a small potential, trained once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from chemscale.points.run import train_point
from tests.helpers.points import potential_in


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``frames.extxyz`` and ``runs/seeds``; tests must leave both as they are, or copy them."""
    folder = tmp_path_factory.mktemp("committee")
    for seed in range(3):
        point = potential_in(
            folder, f"seed={seed}", "sweep_name=seeds", "data.validation_fraction=0.4", "optimizer.lr=0.01",
            "ema=0.9",
        )  # fmt: skip
        train_point(point, [])
    return folder
