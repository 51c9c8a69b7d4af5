"""Pairs with ghosts, as LAMMPS' ML-IAP hands them over, become edges between the atoms of one process."""

import numpy as np
import pytest
from ase.build import molecule
from ase.neighborlist import neighbor_list

from chemscale.models.spookynet import SpookyNetConfig
from chemscale.structures.engines.evaluator import Evaluator
from chemscale.structures.engines.mliap import UnifiedPotential
from tests.helpers.engines import PAINN, ethanol, expected, largest, random_potential, salt

SYMBOLS = ["C", "Cl", "H", "Na", "O"]


class PairsOfLammps:
    """What ``MLIAPDataPy`` shows and does: own atoms first, then ghosts, one for each image in reach."""

    def __init__(self, atoms, cutoff=PAINN.cutoff, seed=0):
        own, other, shifts, vectors = neighbor_list("ijSD", atoms, cutoff)
        images, ghost_of = np.unique(
            np.column_stack([other, shifts])[shifts.any(1)], axis=0, return_inverse=True
        )
        self.nlocal = self.nlistatoms = len(atoms)
        self.ntotal = self.nlocal + len(images)
        neighbours = other.copy()
        neighbours[shifts.any(1)] = self.nlocal + ghost_of.reshape(-1)
        order = np.random.default_rng(seed).permutation(len(own))
        self.pair_i, self.pair_j, self.rij = (a[order] for a in (own.astype(np.int32), neighbours, vectors))
        self.npairs = len(own)
        members = np.concatenate([np.arange(self.nlocal), images[:, 0].astype(int)])
        self.elems = np.array([SYMBOLS.index(s) for s in atoms.symbols])[members].astype(np.int32)
        self.tags = np.random.default_rng(1).permutation(self.nlocal)[members] + 1
        self.members, self.f, self.virial = members, np.zeros((self.ntotal, 3)), np.zeros((3, 3))

    def update_pair_forces(self, forces):
        assert forces.flags.c_contiguous
        assert forces.dtype == np.float64
        np.add.at(self.f, self.pair_i, forces)
        np.add.at(self.f, self.pair_j, -forces)
        self.virial = -self.rij.T @ forces

    def forces_of_own(self):
        """After LAMMPS gave what ghosts got back to those that they are images of."""
        total = np.zeros((self.nlocal, 3))
        np.add.at(total, self.members, self.f)
        return total


def computed(data, config=PAINN, **electrons):
    potential = random_potential(config)
    UnifiedPotential(
        Evaluator(potential, device="cpu", **electrons), SYMBOLS, lambda count: data.tags[:count]
    ).compute_forces(data)
    return potential


@pytest.mark.parametrize("make", [ethanol, salt])
def test_energies_forces_and_virials_are_those_of_the_calculator(make):
    data = PairsOfLammps(make())
    potential = computed(data)
    energy, forces, stress = expected(potential, make())
    assert data.energy == pytest.approx(energy, abs=1e-10)
    assert data.eatoms.sum() == pytest.approx(energy, abs=1e-10)
    assert data.eatoms.shape == (data.nlocal,)
    assert largest(data.forces_of_own(), forces) < 1e-10
    if stress is not None:
        symmetric = 0.5 * (data.virial + data.virial.T)
        assert largest(-symmetric / make().get_volume(), stress) < 1e-10
        assert data.ntotal > data.nlocal


def test_charge_and_multiplicity_reach_the_network():
    config = SpookyNetConfig(width=8, layers=1, cutoff=4.0)
    first, second = (PairsOfLammps(ethanol()) for _ in range(2))
    computed(first, config)
    potential = computed(second, config, charge=1, spin=2)
    ion = ethanol()
    ion.info.update(charge=1, spin=2)
    assert second.energy == pytest.approx(expected(potential, ion)[0], abs=1e-10)
    assert abs(first.energy - second.energy) > 1e-6


def test_atoms_without_neighbours_have_the_energies_of_atoms():
    lone = molecule("H2O")
    lone.positions *= 100
    data = PairsOfLammps(lone)
    assert data.npairs == 0
    potential = computed(data)
    assert data.energy == pytest.approx(expected(potential, lone)[0], abs=1e-10)


def test_pairs_that_are_not_whole_are_refused():
    data = PairsOfLammps(salt())
    data.nlistatoms -= 1
    with pytest.raises(ValueError, match="9 of 10 atoms"):
        computed(data)
    elsewhere = PairsOfLammps(salt())
    elsewhere.tags[elsewhere.pair_j.max()] = 99
    with pytest.raises(ValueError, match="another process"):
        computed(elsewhere)
    charged = random_potential(SpookyNetConfig(width=8, layers=1, cutoff=4.0, electrostatics=True))
    with pytest.raises(ValueError, match="through='external'"):
        UnifiedPotential(Evaluator(charged, device="cpu"), SYMBOLS, lambda count: np.arange(count))
