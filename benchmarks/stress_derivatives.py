"""Stress of every family against finite differences of a strain, in float64.

    python -m benchmarks.stress_derivatives [--step 1e-4] [--crystals 3]

For crystals of different atoms and cells the six components of the stress stand beside central differences
of the energy; of each family the largest difference is printed as a share of the largest component.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from chemscale.models.potential import Potential
from chemscale.models.potentials import build, read_config
from chemscale.structures.graphs import Structure, collate
from chemscale.testing.checks import crystal

FAMILIES = ("schnet", "painn", "spookynet", "nequip", "allegro", "mace")
COMPONENTS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def _energy(potential: Potential, structure: Structure, strain: np.ndarray) -> float:
    assert structure.cell is not None
    moved = Structure(
        structure.numbers,
        structure.positions @ strain,
        cell=structure.cell @ strain,
        pbc=structure.pbc,
    ).with_neighbours(potential.cutoff)
    return float(potential(collate([moved]), forces=False).energy[0].detach())


def difference(potential: Potential, structure: Structure, step: float) -> float:
    """Largest difference of the stress from its finite differences, as a share of its largest component.

    Args:
        potential: in float64.
        structure: a crystal.
        step: of the strain.
    """
    assert structure.cell is not None
    batch = collate([structure.with_neighbours(potential.cutoff)])
    stress = potential(batch, stress=True).stress
    assert stress is not None
    exact, volume = stress[0].detach().numpy(), abs(float(np.linalg.det(structure.cell)))
    gaps = []
    for a, b in COMPONENTS:
        shear = np.zeros((3, 3))
        shear[a, b] += step / 2
        shear[b, a] += step / 2
        energies = [_energy(potential, structure, np.eye(3) + sign * shear) for sign in (1, -1)]
        gaps.append((energies[0] - energies[1]) / (2 * step * volume) - exact[a, b])
    return float(np.abs(gaps).max() / np.abs(exact).max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--step", type=float, default=1e-4)
    parser.add_argument("--crystals", type=int, default=3)
    arguments = parser.parse_args()
    print("| family | largest relative difference |\n|---|---|")
    for family in FAMILIES:
        found = []
        for seed in range(arguments.crystals):
            torch.manual_seed(seed)
            structure = crystal(seed)
            elements = tuple(sorted(set(structure.numbers.tolist())))
            config = read_config({"family": family, "width": 16, "layers": 2, "cutoff": 4.0})
            potential = build(config, elements, dtype=torch.float64).eval()
            found.append(difference(potential, structure, arguments.step))
        print(f"| {family} | {max(found):.1e} |", flush=True)


if __name__ == "__main__":
    main()
