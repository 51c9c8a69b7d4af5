"""Every potential of the family passes the one suite."""

import pytest
import torch

from chemscale.models.allegro import AllegroConfig
from chemscale.models.mace import MACEConfig
from chemscale.models.nequip import NequIPConfig
from chemscale.models.painn import PaiNNConfig
from chemscale.models.potentials import build
from chemscale.models.schnet import SchNetConfig
from chemscale.models.spookynet import SpookyNetConfig
from chemscale.structures.graphs import collate
from chemscale.testing.checks import molecule
from chemscale.testing.potential_suite import PotentialSuite


class TestSchNet(PotentialSuite):
    config = SchNetConfig(width=12, layers=2, cutoff=4.0)


class TestPaiNN(PotentialSuite):
    config = PaiNNConfig(width=12, layers=3, cutoff=4.0)


class TestAllegro(PotentialSuite):
    config = AllegroConfig(width=12, layers=2, tensors=4, l_max=2, cutoff=4.0)


class TestAllegroWithParity(PotentialSuite):
    config = AllegroConfig(width=12, layers=3, tensors=4, l_max=1, parity=True, cutoff=4.0)


class TestNequIP(PotentialSuite):
    config = NequIPConfig(width=6, layers=3, l_max=2, parity=True, cutoff=4.0, radial_width=8)


class TestMACE(PotentialSuite):
    config = MACEConfig(width=6, layers=2, l_max=2, cutoff=4.0, radial_width=8)


class TestSpookyNet(PotentialSuite):
    config = SpookyNetConfig(width=12, layers=2, cutoff=4.0)
    separable = SpookyNetConfig(width=12, layers=2, cutoff=4.0, nonlocal_attention=False)


class TestSpookyNetWithPhysics(PotentialSuite):
    config = SpookyNetConfig(width=12, layers=2, cutoff=4.0, zbl=True, electrostatics=True)
    separable = SpookyNetConfig(width=12, layers=2, cutoff=4.0, nonlocal_attention=False, zbl=True)
    periodic = False


@pytest.mark.parametrize(
    "config",
    [SchNetConfig(), PaiNNConfig(), SpookyNetConfig(), NequIPConfig(layers=3)],
    ids=lambda config: config.family,
)
def test_forces_of_an_untrained_network_are_far_below_the_scale_of_the_labels(config):
    batch = collate([molecule(seed).with_neighbours(config.cutoff) for seed in range(8)])
    neighbours = batch.edge_index.shape[1] / batch.z.shape[0]
    found = []
    for seed in range(4):
        torch.manual_seed(seed)
        potential = build(config, (1, 6, 8), scale=2.0, neighbours=neighbours)
        found.append(float(potential(batch).forces.square().mean().sqrt()) / 2.0)
    assert 0 < sum(found) / len(found) < 0.25
