"""What must hold for any interatomic potential, each as one function that raises AssertionError."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from chemscale.models.potential import Potential, Prediction
from chemscale.models.potentials import load_potential, save_potential
from chemscale.structures.graphs import Structure, collate

ENERGY_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}
FORCE_TOLERANCE = {torch.float64: 1e-8, torch.float32: 5e-4}
"""Of values of order one (eV, eV/Å); float32 loses about four digits through a network and its gradient."""


def molecule(seed: int = 0, *, atoms: int = 9, elements: Sequence[int] = (1, 6, 8)) -> Structure:
    """A random molecule whose atoms keep 0.9 Å apart.

    Args:
        seed: of the positions and elements.
        atoms: number of them.
        elements: atomic numbers, each of which occurs.
    """
    random = np.random.default_rng(seed)
    positions: list[np.ndarray] = [np.zeros(3)]
    while len(positions) < atoms:
        candidate = positions[random.integers(len(positions))] + random.normal(size=3)
        if min(np.linalg.norm(candidate - p) for p in positions) > 0.9:
            positions.append(candidate)
    numbers = random.choice(elements, size=atoms)
    numbers[: len(elements)] = elements
    return Structure(numbers.astype(np.uint8), np.array(positions))


def crystal(seed: int = 0, *, elements: Sequence[int] = (1, 6, 8)) -> Structure:
    """A skewed cell of four atoms, smaller than the cutoff: atoms see images of each other and themselves.

    Args:
        seed: of the positions.
        elements: atomic numbers, in turn.
    """
    random = np.random.default_rng(seed)
    cell = np.array([[3.2, 0.0, 0.0], [0.4, 3.4, 0.0], [-0.3, 0.5, 3.6]])
    fractional = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]) + random.normal(
        0, 0.02, (4, 3)
    )
    numbers = np.array([elements[i % len(elements)] for i in range(4)], dtype=np.uint8)
    return Structure(numbers, fractional @ cell, cell=cell, pbc=np.array([True, True, True]))


def predict(potential: Potential, structures: Sequence[Structure], **options: bool) -> Prediction:
    """Predict a batch, neighbours found anew.

    Args:
        potential: that predicts.
        structures: of the batch.
        options: of ``Potential.forward``.
    """
    fresh = [_copy(s).with_neighbours(potential.cutoff) for s in structures]
    return potential(collate(fresh), **options)


def _forces(prediction: Prediction) -> Tensor:
    assert prediction.forces is not None
    return prediction.forces


def _copy(structure: Structure, **changes: np.ndarray | None) -> Structure:
    """The structure without labels and neighbours, some of its arrays changed."""
    keep = {k: getattr(structure, k) for k in ("numbers", "positions", "charge", "spin", "cell", "pbc")}
    return Structure(**{**keep, **changes})


def _moved(structure: Structure, positions: np.ndarray, cell: np.ndarray | None = None) -> Structure:
    return _copy(structure, positions=positions, cell=structure.cell if cell is None else cell)


def rotation(seed: int = 0, *, reflect: bool = False) -> np.ndarray:
    """A random rotation, (3, 3).

    Args:
        seed: of the rotation.
        reflect: whether it reflects as well.
    """
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * (np.linalg.det(q) * (-1.0 if reflect else 1.0))


def assert_near(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Assert that values agree to a share of the largest expected value or of 1, whichever is larger.

    Args:
        found: values.
        expected: values of the same shape.
        tolerance: the share.
        what: they are, for the message.

    Raises:
        AssertionError: naming the largest difference and what is allowed.
    """
    assert found.shape == expected.shape, (
        f"{what}: shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
    )
    assert torch.isfinite(found).all(), f"{what}: not finite"
    if not found.numel():
        return
    difference = float((found - expected).detach().abs().max())
    allowed = tolerance * max(1.0, float(expected.detach().abs().max()))
    assert difference <= allowed, f"{what}: differ by {difference:.3g}, {allowed:.3g} allowed"


# --- forces are the gradient of the energy ---------------------------------------------------------------


def check_edge_vectors_give_the_derivatives_by_positions(
    potential: Potential, structures: Sequence[Structure], *, stress: bool = False
) -> None:
    """Forces, stress, and a force loss's gradient by every weight equal those of an energy of positions.

    Args:
        potential: under test.
        structures: of a batch.
        stress: whether they are crystals, whose stress is compared too.
    """
    data = collate([_copy(s).with_neighbours(potential.cutoff) for s in structures])
    found = potential(data, stress=stress, create_graph=True)
    pos = data.pos.clone().requires_grad_()
    strain = torch.zeros(len(structures), 3, 3, dtype=torch.float64).requires_grad_() if stress else None
    energies = potential.energies_of(potential.connectivity(data), *potential.vectors(data, pos, strain))
    wanted = [pos] if strain is None else [pos, strain]
    expected = torch.autograd.grad(energies.sum(), wanted, create_graph=True)
    tolerance = FORCE_TOLERANCE[potential.dtype]
    assert_near(_forces(found), -expected[0], tolerance, "forces")
    if not potential.molecules_only:  # else those of all pairs are forces too
        assert_near(_sum_of_edge_forces(found, data), -expected[0], tolerance, "sums of edge forces")
    losses = [_forces(found).square().sum(), expected[0].square().sum()]
    if stress:
        assert found.stress is not None
        by_strain = expected[1] / torch.linalg.det(data.cell).abs()[:, None, None]
        assert_near(found.stress, by_strain, tolerance, "stress")
        losses = [losses[0] + found.stress.square().sum(), losses[1] + by_strain.square().sum()]
    weights = list(potential.network.parameters())
    gradients = [torch.autograd.grad(loss, weights, allow_unused=True) for loss in losses]
    for a, b in zip(*gradients, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            scale = max(1.0, float(b.abs().max()))
            assert_near(a / scale, b / scale, 10 * tolerance, "gradient of a weight")


def _sum_of_edge_forces(prediction: Prediction, data: Data) -> Tensor:
    """Forces on atoms from those that edges exert on their senders and receivers."""
    assert prediction.edge_forces is not None
    of_edges, total = prediction.edge_forces.double(), torch.zeros_like(data.pos)
    return total.index_add(0, data.edge_index[0], of_edges).index_add(0, data.edge_index[1], -of_edges)


def check_forces_are_minus_the_numerical_gradient(potential: Potential, structure: Structure) -> None:
    """Central differences of 10⁻⁴ Å in float64; in float32 the step is 10⁻² Å and the tolerance follows."""
    forces = _forces(predict(potential, [structure]))
    double = potential.dtype == torch.float64
    step, tolerance = (1e-4, 1e-6) if double else (1e-2, 2e-2)
    random = np.random.default_rng(1)
    for _ in range(4):
        direction = random.normal(size=structure.positions.shape)
        direction /= np.linalg.norm(direction)
        ahead, back = (
            predict(
                potential, [_moved(structure, structure.positions + sign * step * direction)], forces=False
            ).energy
            for sign in (1, -1)
        )
        slope = (ahead - back) / (2 * step)
        expected = -(forces * torch.from_numpy(direction)).sum()[None]
        assert_near(slope, expected, tolerance, "energy slope against -F·d")


def check_stress_is_the_strain_derivative(potential: Potential, structure: Structure) -> None:
    """σ_ab = (1/V) ∂E/∂ε_ab, by central differences of a strain of 10⁻⁴."""
    stress = predict(potential, [structure], stress=True).stress
    assert stress is not None
    assert structure.cell is not None
    volume = abs(np.linalg.det(structure.cell))
    for a, b in ((0, 0), (1, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * 0.5e-4
            strain[b, a] += sign * 0.5e-4
            moved = _moved(structure, structure.positions @ strain, structure.cell @ strain)
            energies.append(predict(potential, [moved], forces=False).energy)
        slope = (energies[0] - energies[1]) / (2e-4 * volume)
        assert_near(slope, stress[0, a, b][None], 1e-6, f"stress {a}{b}")


# --- symmetry ---------------------------------------------------------------------------------------------


def check_rotation_and_reflection(potential: Potential, structure: Structure) -> None:
    """Energies do not change, forces turn along: for rotations and for a reflection."""
    before = predict(potential, [structure])
    for seed, reflect in ((2, False), (3, True)):
        q = rotation(seed, reflect=reflect)
        cell = None if structure.cell is None else structure.cell @ q.T
        after = predict(potential, [_moved(structure, structure.positions @ q.T, cell)])
        what = "reflection" if reflect else "rotation"
        assert_near(after.energy, before.energy, ENERGY_TOLERANCE[potential.dtype], f"energy under {what}")
        expected = _forces(before) @ torch.from_numpy(q.T)
        assert_near(_forces(after), expected, FORCE_TOLERANCE[potential.dtype], f"forces under {what}")


def check_translation(potential: Potential, structure: Structure) -> None:
    """Far from the origin (201 Å, as rMD17's benzene) nothing changes."""
    before = predict(potential, [structure])
    after = predict(potential, [_moved(structure, structure.positions + np.array([201.0, -117.0, 53.0]))])
    assert_near(after.energy, before.energy, ENERGY_TOLERANCE[potential.dtype], "energy under translation")
    assert_near(_forces(after), _forces(before), FORCE_TOLERANCE[potential.dtype], "forces under translation")


def check_permutation(potential: Potential, structure: Structure) -> None:
    """The order of atoms is only an order."""
    before = predict(potential, [structure])
    order = np.random.default_rng(4).permutation(len(structure.numbers))
    shuffled = _copy(structure, numbers=structure.numbers[order], positions=structure.positions[order])
    after = predict(potential, [shuffled])
    assert_near(after.energy, before.energy, ENERGY_TOLERANCE[potential.dtype], "energy under permutation")
    expected = _forces(before)[torch.from_numpy(order)]
    assert_near(_forces(after), expected, FORCE_TOLERANCE[potential.dtype], "forces under permutation")


# --- batches ------------------------------------------------------------------------------------------------


def check_batch_equals_members(potential: Potential, structures: Sequence[Structure]) -> None:
    """Each member of a batch gets what it gets alone."""
    together = predict(potential, structures)
    apart = [predict(potential, [s]) for s in structures]
    assert_near(
        together.energy, torch.cat([p.energy for p in apart]), ENERGY_TOLERANCE[potential.dtype], "energies"
    )
    forces = torch.cat([_forces(p) for p in apart])
    assert_near(_forces(together), forces, FORCE_TOLERANCE[potential.dtype], "forces")


def check_no_leakage(potential: Potential, structures: Sequence[Structure]) -> None:
    """The energy of one member has no gradient at the atoms of another, to the bit."""
    data = collate([_copy(s).with_neighbours(potential.cutoff) for s in structures])
    pos = data.pos.clone().requires_grad_()
    energies = potential.energies_of(potential.connectivity(data), *potential.vectors(data, pos))
    (gradient,) = torch.autograd.grad(energies[data.batch == 0].sum(), pos)
    assert gradient[data.batch == 0].abs().sum() > 0, "a member's own atoms feel nothing"
    assert not gradient[data.batch != 0].any(), "a gradient leaks into another structure"


def check_additivity(potential: Potential, first: Structure, second: Structure) -> None:
    """Two molecules 60 Å apart as one structure: energies add, forces are their own."""
    apart = predict(potential, [first, second])
    numbers = np.concatenate([first.numbers, second.numbers])
    positions = np.concatenate([first.positions, second.positions + np.array([60.0, 0, 0])])
    joined = predict(potential, [Structure(numbers, positions)])
    assert_near(joined.energy, apart.energy.sum()[None], ENERGY_TOLERANCE[potential.dtype], "energy of both")
    assert_near(_forces(joined), _forces(apart), FORCE_TOLERANCE[potential.dtype], "forces of both")


# --- edges of the domain -----------------------------------------------------------------------------------


def check_smooth_at_cutoff(potential: Potential, elements: Sequence[int]) -> None:
    """A pair's energy and force reach those of two atoms alone at the cutoff: no step in value or slope."""
    cutoff = potential.cutoff
    numbers = np.array([elements[0], elements[-1]], dtype=np.uint8)

    def pair(distance: float) -> Prediction:
        return predict(potential, [Structure(numbers, np.array([[0, 0, 0], [distance, 0, 0]], dtype=float))])

    alone = pair(cutoff + 1.0)
    assert_near(_forces(alone), torch.zeros_like(_forces(alone)), 0.0, "force beyond the cutoff")
    inside = pair(cutoff - 1.0)
    depth = float((inside.energy - alone.energy).abs())
    assert depth > 0, "the pair does not interact inside the cutoff either"
    for gap, share in ((1e-2, 2e-2), (1e-3, 2e-3)):
        close = pair(cutoff - gap)
        step = float((close.energy - alone.energy).abs())
        limit = share * depth + ENERGY_TOLERANCE[potential.dtype]
        assert step <= limit, (
            f"energy steps by {step:.3g} eV at {gap} Å inside the cutoff, {limit:.3g} allowed"
        )
        slope = float(_forces(close).abs().max())
        largest = float(_forces(inside).abs().max())
        allowed = 10 * share * max(largest, depth) + FORCE_TOLERANCE[potential.dtype]
        assert slope <= allowed, (
            f"force is {slope:.3g} eV/Å at {gap} Å inside the cutoff, {allowed:.3g} allowed"
        )


def check_isolated_atoms(potential: Potential, elements: Sequence[int]) -> None:
    """One atom, and atoms out of reach of each other: finite energies, zero forces, also when trained on."""
    for numbers in ([elements[0]], list(elements)):
        positions = np.arange(len(numbers))[:, None] * np.array([[100.0, 0, 0]])
        result = predict(potential, [Structure(np.array(numbers, np.uint8), positions)], create_graph=True)
        assert torch.isfinite(result.energy).all()
        assert result.forces is not None
        assert not _forces(result).any(), "an isolated atom feels a force"
        (result.energy.sum() + _forces(result).sum()).backward()


def check_periodic_images(potential: Potential, structure: Structure) -> None:
    """Atoms moved by whole cells, and a doubled cell, give the same energy per cell and the same forces."""
    before = predict(potential, [structure])
    assert structure.cell is not None
    hops = np.array([[1, 0, -2], [0, 3, 0], [-1, 1, 0], [0, 0, 0]])[: len(structure.numbers)]
    wrapped = predict(potential, [_moved(structure, structure.positions + hops @ structure.cell)])
    assert_near(wrapped.energy, before.energy, ENERGY_TOLERANCE[potential.dtype], "energy of images")
    assert_near(_forces(wrapped), _forces(before), FORCE_TOLERANCE[potential.dtype], "forces of images")
    doubled = _copy(
        structure,
        numbers=np.concatenate([structure.numbers] * 2),
        positions=np.concatenate([structure.positions, structure.positions + structure.cell[0]]),
        cell=structure.cell * np.array([[2.0], [1.0], [1.0]]),
    )
    twice = predict(potential, [doubled])
    assert_near(twice.energy, 2 * before.energy, ENERGY_TOLERANCE[potential.dtype], "energy of two cells")
    expected = torch.cat([_forces(before), _forces(before)])
    assert_near(_forces(twice), expected, FORCE_TOLERANCE[potential.dtype], "forces of two cells")


def check_second_derivatives(potential: Potential, elements: Sequence[int]) -> None:
    """A force loss has finite weight gradients where directions coincide, oppose and lie along the axes."""
    line = np.array([[0, 0, 0], [0, 0, 1.1], [0, 0, 2.2], [0, 0, 3.3]], dtype=float)
    square = np.array([[0, 0, 0], [1.2, 0, 0], [0, 1.2, 0], [1.2, 1.2, 0]], dtype=float)
    numbers = np.array([elements[i % len(elements)] for i in range(4)], dtype=np.uint8)
    for positions in (line, square):
        potential.zero_grad()
        forces = predict(potential, [Structure(numbers, positions)], create_graph=True).forces
        assert forces is not None
        (forces - 1.0).square().sum().backward()
        for name, parameter in potential.network.named_parameters():
            if parameter.grad is not None:
                assert torch.isfinite(parameter.grad).all(), f"gradient of {name} is not finite"
    potential.zero_grad()


def check_every_weight_learns(potential: Potential, structures: Sequence[Structure]) -> None:
    """An energy and force loss reaches every trainable number: data parallel training needs that."""
    potential.zero_grad()
    result = predict(potential, structures, create_graph=True)
    (result.energy.square().sum() + _forces(result).square().sum()).backward()
    unused = [n for n, p in potential.network.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused, f"no gradient reaches {unused}"
    potential.zero_grad()


def check_save_and_load(potential: Potential, structure: Structure, directory: Path) -> None:
    """What is saved and loaded predicts the same to the bit."""
    save_potential(potential, directory)
    loaded = load_potential(directory)
    before, after = predict(potential.eval(), [structure]), predict(loaded, [structure])
    assert torch.equal(before.energy, after.energy), "energy differs after loading"
    assert torch.equal(_forces(before), _forces(after)), "forces differ after loading"
