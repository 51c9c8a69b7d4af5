"""FLOPs of potentials: the linear formula is what PyTorch counts, on any batch."""

import pytest
import torch

from chemscale.models.potentials import CONFIGS, build
from chemscale.structures.graphs import collate
from chemscale.testing.checks import molecule
from chemscale.training.metrics.flops import PHASES, count_potential_flops, phase_flops, saved_bytes

SMALL = {
    "schnet": {"width": 8, "layers": 2},
    "painn": {"width": 8, "layers": 2},
    "spookynet": {"width": 8, "layers": 2},
    "nequip": {"width": 4, "layers": 2, "radial_width": 8},
    "allegro": {"width": 8, "layers": 2, "tensors": 4},
    "mace": {"width": 4, "layers": 2, "l_max": 2, "radial_width": 8},
}


def batch_of(sizes):
    return collate([molecule(n, atoms=n).with_neighbours(4.0) for n in sizes])


@pytest.mark.parametrize("family", SMALL)
def test_the_count_predicts_other_batches_exactly(family):
    potential = build(CONFIGS[family](**SMALL[family], cutoff=4.0), (1, 6, 8))
    counted = count_potential_flops(potential, batch_of([5, 6]))
    other = batch_of([4, 9, 12])
    for phase, flops in zip(PHASES, phase_flops(potential, other), strict=True):
        predicted = counted.of(25, other.edge_index.shape[1], 3 * 12**2, 3, (phase,))
        assert predicted == pytest.approx(flops, rel=1e-8)


def test_force_training_costs_several_times_the_forward_pass():
    potential = build(CONFIGS["painn"](width=32, layers=3), (1, 6, 8))
    forward, force, double = phase_flops(potential, batch_of([9, 12]))
    assert 0.7 < force / forward < 1.3
    assert 2.5 < double / forward < 4.5


def test_saved_bytes_counts_each_storage_once():
    x = torch.randn(1000, requires_grad=True)
    assert saved_bytes(lambda: (x * x).sum()) == 4000
