"""The checks themselves: each must fail for a potential that is wrong in just that way."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from chemscale.models.potential import Potential
from chemscale.models.potentials import build
from chemscale.models.schnet import SchNet, SchNetConfig
from chemscale.testing import checks

ELEMENTS = (1, 6, 8)
CONFIG = SchNetConfig(width=8, layers=2, cutoff=4.0)


class Wrong(SchNet):
    """A SchNet with one fault added to its atomic energies."""

    fault = staticmethod(lambda energies, graph: energies)

    def forward(self, graph):
        return self.fault(super().forward(graph), graph)


class Pinned(Potential):
    """A potential that holds atoms to a place, which a network that is given vectors alone cannot do."""

    def forward(self, data, **options):
        result = super().forward(data, **options)
        extra = 0.01 * torch.sin(data.pos[:, 1])
        result.energy = result.energy + extra.new_zeros(len(data.ptr) - 1).index_add(0, data.batch, extra)
        if result.forces is not None:
            result.forces = result.forces - 0.01 * torch.cos(data.pos) * torch.tensor([0.0, 1.0, 0.0])
        return result


def potential(fault, kind=Potential) -> Potential:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        network = Wrong(CONFIG, len(ELEMENTS))
    finally:
        torch.set_default_dtype(torch.float32)
    network.fault = fault
    return kind(network, ELEMENTS, (0.0,) * 3).train()


FAULTS = {
    "looks along x": (
        lambda e, g: e + 0.1 * g.sum_over_neighbours(g.vectors[:, 0] ** 2 * torch.exp(-g.distances)),
        lambda p, s: checks.check_rotation_and_reflection(p, s[0]),
        "under rotation",
    ),
    "counts atoms in their order": (
        lambda e, g: e * (1 + 0.01 * torch.arange(len(e), dtype=e.dtype)),
        lambda p, s: checks.check_permutation(p, s[0]),
        "under permutation",
    ),
    "averages over the batch": (
        lambda e, g: e - e.mean(),
        lambda p, s: checks.check_batch_equals_members(p, s),
        "energies",
    ),
    "leaks gradients": (
        lambda e, g: e + 1e-9 * g.distances.sum(),
        lambda p, s: checks.check_no_leakage(p, s),
        "leaks into another structure",
    ),
    "divides by the number of atoms": (
        lambda e, g: e / (g.ptr[1:] - g.ptr[:-1])[g.batch],
        lambda p, s: checks.check_additivity(p, s[0], s[1]),
        "energy of both",
    ),
    "steps at the cutoff": (
        lambda e, g: e + g.sum_over_neighbours(torch.ones_like(g.distances)),
        lambda p, s: checks.check_smooth_at_cutoff(p, ELEMENTS),
        "energy steps",
    ),
    "has a kink at the cutoff": (
        lambda e, g: e + 5 * g.sum_over_neighbours(4.0 - g.distances),
        lambda p, s: checks.check_smooth_at_cutoff(p, ELEMENTS),
        "at 0.01 Å inside the cutoff",
    ),
    "detaches its forces": (
        lambda e, g: e + g.sum_over_neighbours(torch.exp(-g.distances).detach()),
        lambda p, s: checks.check_forces_are_minus_the_numerical_gradient(p, s[0]),
        "energy slope",
    ),
    "takes the root of nothing": (
        lambda e, g: e * (1 + torch.sqrt(_sum_of_vectors(g).square().sum(1)).mul(1e-3)),
        lambda p, s: checks.check_second_derivatives(p, ELEMENTS),
        "is not finite",
    ),
}


def _sum_of_vectors(graph):
    """0 where the neighbours balance, as in the middle of a line of atoms that all see each other alike."""
    return graph.sum_over_neighbours(graph.vectors * 0.0)


@pytest.mark.parametrize("name", FAULTS)
def test_a_potential_fails_the_check_of_its_fault(name):
    fault, check, message = FAULTS[name]
    structures = [checks.molecule(0), checks.molecule(1, atoms=5)]
    check(potential(Wrong.fault), structures)
    with pytest.raises(AssertionError, match=message):
        check(potential(fault), structures)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda p: checks.check_translation(p, checks.molecule(0)), "under translation"),
        (lambda p: checks.check_isolated_atoms(p, ELEMENTS), "feels a force"),
        (lambda p: checks.check_periodic_images(p, checks.crystal()), "energy of images"),
    ],
)
def test_a_potential_that_knows_where_the_origin_is_fails(check, message):
    check(potential(Wrong.fault))
    with pytest.raises(AssertionError, match=message):
        check(potential(Wrong.fault, Pinned))


def test_the_stress_of_a_potential_that_detaches_its_forces_is_wrong():
    with pytest.raises(AssertionError, match="stress"):
        checks.check_stress_is_the_strain_derivative(
            potential(lambda e, g: e + g.sum_over_neighbours(torch.exp(-g.distances).detach())),
            checks.crystal(),
        )


def test_a_weight_that_never_learns_is_named():
    model = potential(Wrong.fault)
    model.network.idle = nn.Parameter(torch.zeros(1))
    with pytest.raises(AssertionError, match="idle"):
        checks.check_every_weight_learns(model, [checks.molecule()])


def test_a_constant_that_is_not_saved_is_noticed(tmp_path):
    @dataclass(frozen=True)
    class Config(SchNetConfig):
        family: ClassVar[str] = "schnet"

    model = build(Config(width=8, layers=1, cutoff=4.0), ELEMENTS, dtype=torch.float64)
    model.network.basis.coefficient *= 1.1  # a plain number: not in the state
    with pytest.raises(AssertionError, match="energy differs after loading"):
        checks.check_save_and_load(model, checks.molecule(), tmp_path)
