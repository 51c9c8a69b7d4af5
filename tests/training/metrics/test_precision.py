"""Reduced precision is measured on forces, not assumed."""

import torch

from chemscale.models.painn import PaiNNConfig
from chemscale.models.potentials import build
from chemscale.structures.graphs import collate
from chemscale.testing.checks import molecule
from chemscale.training.metrics.precision import force_error


def test_bfloat16_changes_forces_by_tenths_of_per_cents_or_more():
    torch.manual_seed(0)
    potential = build(PaiNNConfig(width=16, layers=2, cutoff=4.0), (1, 6, 8))
    batch = collate([molecule(seed).with_neighbours(4.0) for seed in range(3)])
    assert 2e-3 < force_error(potential, batch, "bf16-mixed") < 0.5
    assert potential.dtype == torch.float32
