"""Distances are counted as crystals and gases have them."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from chemscale.structures.simulation.observables import Counts
from tests.helpers.dynamics import copper


def counted(*frames):
    counts = Counts(frames[0])
    for atoms in frames:
        counts.add(atoms)
    return {each.name: each for each in counts.distributions()}


def test_the_first_shell_of_copper_holds_twelve_atoms():
    atoms = copper(2)
    found = counted(atoms)["Cu-Cu"]
    shell = (found.r > 2.3) & (found.r < 2.8)
    density = len(atoms) / atoms.get_volume()
    shells = 4 / 3 * np.pi * ((found.r + 0.025) ** 3 - (found.r - 0.025) ** 3)
    assert (found.values * shells)[shell].sum() * density == pytest.approx(12)
    assert found.normalised


def test_a_gas_of_two_elements_has_no_order():
    rng = np.random.default_rng(0)
    frames = [Atoms("He30Ne10", rng.uniform(0, 12, (40, 3)), cell=[12] * 3, pbc=True) for _ in range(60)]
    expected = {"He-He": 29 / 30, "He-Ne": 1, "Ne-Ne": 9 / 10}  # an atom is no neighbour of itself
    for name, found in counted(*frames).items():
        far = found.r > 3
        assert found.values[far].mean() == pytest.approx(expected[name], abs=0.05), name


def test_distances_of_a_molecule_are_densities():
    found = counted(molecule("CH3CH2OH"))
    assert set(found) == {"C-C", "H-C", "C-O", "H-H", "H-O"}
    for each in found.values():
        assert each.values.sum() * 0.05 == pytest.approx(1)
    assert found["C-C"].r[np.argmax(found["C-C"].values)] == pytest.approx(1.51, abs=0.03)
