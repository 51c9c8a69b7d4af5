"""The building blocks of potentials against formulas, tables and their own symmetry."""

import itertools
import math

import numpy as np
import pytest
import torch
from e3nn import o3

from chemscale.models.atom_graph import AtomGraph, Connectivity, slots_of
from chemscale.models.geometry import edge_vectors, pair_vectors
from chemscale.models.layers.electrons import SHELLS, descriptors, occupation
from chemscale.models.layers.equivariant import (
    ChannelCoupling,
    ChannelMixing,
    ElementMixing,
    Gate,
    NeighbourCoupling,
    SphericalHarmonics,
    irreps_up_to,
)
from chemscale.models.layers.physics import COULOMB, ZBL, conserve_charge, electrostatics, smooth_step
from chemscale.models.layers.radial import (
    BernsteinBasis,
    BesselBasis,
    bump_cutoff,
    cosine_cutoff,
    polynomial_cutoff,
    radial_basis,
)
from chemscale.models.layers.segments import offsets_of
from chemscale.models.layers.symmetric import SymmetricContraction, equivariant_basis
from chemscale.models.layers.trilinear import trilinear
from chemscale.structures.graphs import Structure, collate

R = torch.linspace(0.5, 4.999, 50, dtype=torch.float64)


@pytest.mark.parametrize("cutoff", [cosine_cutoff, polynomial_cutoff, bump_cutoff])
def test_cutoffs_start_at_one_and_end_with_value_and_slope_zero(cutoff):
    r = torch.tensor([1e-9, 5 - 1e-7, 5.0, 6.0], dtype=torch.float64, requires_grad=True)
    value = cutoff(r, 5.0)
    (slope,) = torch.autograd.grad(value.sum(), r)
    value = value.detach()
    assert value[0] == pytest.approx(1.0)
    assert value[1:].abs().max() < 1e-12
    assert slope[1:].abs().max() < 1e-6


def test_bernstein_polynomials_are_a_partition_of_one_and_reach_high_orders():
    basis = BernsteinBasis(64).double()
    assert torch.allclose(basis(R).sum(1), torch.ones_like(R))
    x = torch.exp(-0.944863062918464 * R)
    expected = math.comb(63, 5) * x**5 * (1 - x) ** 58
    assert torch.allclose(basis(R)[:, 5], expected, rtol=1e-5)


def test_bessel_functions_are_orthonormal_over_the_sphere_of_the_cutoff():
    r = torch.linspace(1e-4, 5, 20001, dtype=torch.float64)
    values = BesselBasis(4, 5.0).double()(r)
    overlap = torch.einsum("ra,rb,r->ab", values, values, r**2) * (r[1] - r[0])
    assert torch.allclose(overlap, torch.eye(4, dtype=torch.float64), atol=2e-3)


def test_an_unknown_basis_is_refused():
    with pytest.raises(ValueError, match="choose gaussian, bessel or bernstein"):
        radial_basis("chebyshev", 8, 5.0)


@pytest.mark.parametrize(
    ("z", "expected"),
    [
        (6, {"1s": 2, "2s": 2, "2p": 2}),
        (24, {"3d": 5, "4s": 1}),
        (29, {"3d": 10, "4s": 1}),
        (79, {"4f": 14, "5d": 10, "6s": 1}),
        (86, {"6s": 2, "6p": 6, "5d": 10}),
    ],
)
def test_electron_configurations_are_those_of_the_table(z, expected):
    filled = occupation(z)
    assert sum(filled.values()) == z
    assert filled.items() >= expected.items()


def test_every_neutral_atom_has_as_many_electrons_as_its_number():
    assert all(sum(occupation(z).values()) == z for z in range(1, 87))
    assert descriptors((1, 8, 86)).shape == (3, 1 + len(SHELLS) + 4)
    with pytest.raises(ValueError, match="Z = 92"):
        occupation(92)


def test_trilinear_is_the_einsum_and_differentiates_twice():
    torch.manual_seed(0)
    coupling = torch.randn(4, 3, 5, dtype=torch.float64)
    left = torch.randn(700, 3, 2, dtype=torch.float64)
    right = torch.randn(700, 5, 2, dtype=torch.float64)
    expected = torch.einsum("kij,miu,mju->mku", coupling, left, right)
    assert torch.allclose(trilinear(coupling, left, right), expected)
    few = [t[:3].clone().requires_grad_() for t in (left, right)]
    assert torch.autograd.gradcheck(lambda a, b: trilinear(coupling, a, b), few)
    assert torch.autograd.gradgradcheck(lambda a, b: trilinear(coupling, a, b), few)


def turned(irreps, x, rotation):
    """(M, I, U) features under a rotation or reflection of space."""
    matrix = torch.block_diag(*[ir.D_from_matrix(rotation) for ir in irreps])
    return torch.einsum("ij,mju->miu", matrix, x)


@pytest.fixture(params=[1.0, -1.0], ids=["rotation", "reflection"])
def rotation(request):
    torch.manual_seed(3)
    return request.param * o3.rand_matrix(dtype=torch.float64)


def features(irreps, rows=6, channels=3, seed=0):
    torch.manual_seed(seed)
    return torch.randn(rows, sum(ir.dim for ir in irreps), channels, dtype=torch.float64)


def test_couplings_are_equivariant(rotation):
    irreps, harmonics = irreps_up_to(2, parity=True), irreps_up_to(2, parity=False)
    x = features(irreps)
    vectors = torch.randn(6, 3, dtype=torch.float64)
    y = SphericalHarmonics(2)
    neighbour = NeighbourCoupling(irreps, harmonics, irreps).double()
    weights = torch.randn(6, neighbour.paths, 3, dtype=torch.float64)
    before = neighbour(x, y(vectors), weights)
    after = neighbour(turned(irreps, x, rotation), y(vectors @ rotation.T), weights)
    assert torch.allclose(after, turned(neighbour.irreps_out, before, rotation), atol=1e-6)
    channel = ChannelCoupling(irreps, harmonics, irreps).double()
    other = features(harmonics, seed=1)
    before = channel(x, other)
    after = channel(turned(irreps, x, rotation), turned(harmonics, other, rotation))
    assert torch.allclose(after, turned(channel.irreps_out, before, rotation), atol=1e-6)


def test_mixing_and_gates_are_equivariant(rotation):
    irreps = irreps_up_to(2, parity=True)
    x, types = features(irreps), torch.tensor([0, 1, 1, 0, 1, 0])
    gate = Gate(irreps)
    torch.manual_seed(0)
    mixing = ChannelMixing(irreps, 3, gate.irreps_in, 4).double()
    element = ElementMixing(irreps, 3, gate.irreps_in, 4, 2).double()
    run = lambda value: gate(mixing(value) + element(value, types))  # noqa: E731
    assert torch.allclose(run(turned(irreps, x, rotation)), turned(irreps, run(x), rotation), atol=1e-6)


def test_element_mixing_uses_the_weights_of_each_atom_s_own_element():
    irreps = irreps_up_to(0, parity=False)
    mixing = ElementMixing(irreps, 3, irreps, 2, 2)
    x, types = torch.randn(4, 1, 3), torch.tensor([1, 0, 0, 1])
    expected = torch.stack([x[i] @ mixing.weights[0][types[i]] / math.sqrt(3) for i in range(4)])
    assert torch.allclose(mixing(x, types), expected, atol=1e-6)


@pytest.mark.parametrize("degree", [2, 3])
def test_the_symmetric_basis_is_equivariant_orthonormal_and_complete(degree, rotation):
    irreps = irreps_up_to(2, parity=False)
    size = sum(ir.dim for ir in irreps)
    monomials = list(itertools.combinations_with_replacement(range(size), degree))
    x = features(irreps, rows=40, channels=1)[..., 0]
    powers = lambda v: torch.stack([v[:, list(m)].prod(1) for m in monomials], 1)  # noqa: E731
    matrix = torch.block_diag(*[ir.D_from_matrix(rotation) for ir in irreps])
    for target in (o3.Irrep(0, 1), o3.Irrep(1, -1)):
        basis = equivariant_basis(irreps, target, degree)
        before = torch.einsum("pkm,nm->npk", basis, powers(x))
        after = torch.einsum("pkm,nm->npk", basis, powers(x @ matrix.T))
        assert torch.allclose(after, before @ target.D_from_matrix(rotation).T, atol=1e-6)
        assert len(basis) == count_equivariants(irreps, target, degree)


def count_equivariants(irreps, target, degree):
    """Multiplicity of an irrep in a symmetric power, from characters integrated over O(3) (Molien, Weyl)."""
    angles = (np.arange(4000) + 0.5) / 4000 * np.pi
    weight = (1 - np.cos(angles)) / np.pi * (np.pi / 4000)
    total = 0.0
    for inversion in (False, True):

        def chi(ir, power, inversion=inversion):
            k = np.arange(-ir.l, ir.l + 1)
            sign = ir.p**power if inversion else 1
            return sign * np.cos(k[:, None] * power * angles).sum(0)

        p = [sum(chi(ir, n) for ir in irreps) for n in range(1, degree + 1)]
        power = {
            2: lambda p: (p[0] ** 2 + p[1]) / 2,
            3: lambda p: (p[0] ** 3 + 3 * p[0] * p[1] + 2 * p[2]) / 6,
        }
        total += 0.5 * (weight * power[degree](p) * chi(target, 1)).sum()
    return round(float(total))


def test_the_symmetric_contraction_sums_weighted_products():
    irreps = irreps_up_to(1, parity=False)
    torch.manual_seed(0)
    layer = SymmetricContraction(irreps, (o3.Irrep(0, 1),), 2, 2, 1).double()
    x = features(irreps, rows=3, channels=2)
    scalar, vector = x[:, 0], x[:, 1:]
    for weights in layer.weights:
        weights.data.zero_()
    layer.weights[1].data[0, 0] = 1.0
    layer.weights[1].data[0, 1] = 0.5
    out = layer(x, torch.zeros(3, dtype=torch.int64))[:, 0]
    products = torch.stack([scalar**2, (vector**2).sum(1)], -1)
    solved = torch.linalg.lstsq(products.reshape(-1, 2), out.reshape(-1, 1))
    assert torch.allclose(products.reshape(-1, 2) @ solved.solution, out.reshape(-1, 1), atol=1e-10)


def graph_of(numbers, positions, charge=0.0):
    """A molecule in which all atoms are neighbours."""
    structure = Structure(np.array(numbers, np.uint8), np.array(positions, float))
    data = collate([structure.with_neighbours(1e3)])
    senders, receivers = data.edge_index
    connectivity = Connectivity(
        numbers=data.z,
        types=torch.zeros_like(data.z),
        senders=senders,
        receivers=receivers,
        batch=data.batch,
        ptr=data.ptr,
        charge=torch.tensor([charge], dtype=torch.float64),
        spin=torch.zeros(1, dtype=torch.float64),
        receiver_offsets=offsets_of(receivers, len(numbers)),
        sender_order=data.sender_order,
        sender_offsets=offsets_of(senders, len(numbers), data.sender_order),
        slots=slots_of(data.ptr, len(numbers), data.largest),
    )
    return AtomGraph.of(connectivity, edge_vectors(data), pair_vectors(data, data.largest))


@pytest.mark.slow
def test_zbl_is_the_bare_repulsion_of_nuclei_at_short_range():
    close = graph_of([6, 8], [[0, 0, 0], [0.001, 0, 0]])
    assert float(ZBL(5.0)(close).sum()) == pytest.approx(COULOMB * 48 / 0.001, rel=0.02)
    far = graph_of([6, 8], [[0, 0, 0], [5.0, 0, 0]])
    assert float(ZBL(5.0)(far).sum()) == 0.0


def test_partial_charges_add_up_and_far_apart_obey_coulomb():
    graph = graph_of([1, 1, 1], [[0, 0, 0], [20.0, 0, 0], [0, 30.0, 0]], charge=1.0)
    charges = conserve_charge(torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64), graph)
    assert float(charges.sum()) == pytest.approx(1.0)
    energy = float(electrostatics(charges, graph, 5.0).sum())
    q, d = charges.tolist(), [(0, 1, 20.0), (0, 2, 30.0), (1, 2, math.hypot(20, 30))]
    assert energy == pytest.approx(sum(COULOMB * q[i] * q[j] / r for i, j, r in d))
    step = smooth_step(torch.tensor([0.5, 1.0, 2.0, 3.0, 3.5], dtype=torch.float64), 1.0, 3.0)
    assert step.tolist() == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0])


def test_the_trilinear_product_keeps_its_precision_under_autocast():
    coupling, left, right = torch.randn(3, 4, 5), torch.randn(7, 4, 2), torch.randn(7, 5, 2)
    exact = trilinear(coupling, left, right)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(trilinear(coupling, left, right), exact)
        rounded = trilinear(coupling, left.bfloat16(), right)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=5e-2, atol=5e-2)
