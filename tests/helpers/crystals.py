"""Crystals in strained cells with exact labels, for tests of stresses."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from chemscale.structures.blocks import Block


def strained(frames: int, seed: int = 0, strain: float = 0.02, rattle: float = 0.05) -> list[Atoms]:
    """Aluminium in strained cells, moved at random, with the results of ASE's EMT.

    Args:
        frames: how many.
        seed: of strains and moves.
        strain: standard deviation of the components of the strain.
        rattle: that of the moves in Å.
    """
    random, found = np.random.default_rng(seed), []
    for _ in range(frames):
        atoms = bulk("Al", cubic=True)
        shear = random.normal(0, strain, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (shear + shear.T) / 2), scale_atoms=True)
        atoms.positions += random.normal(0, rattle, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        found.append(atoms)
    return found


def block_of(frames: list[Atoms]) -> Block:
    """Labelled crystals of one composition as a block.

    Args:
        frames: with the results of a calculator.
    """
    return Block(
        name="Al4",
        numbers=frames[0].numbers,
        positions=np.stack([a.positions for a in frames]),
        energies=np.array([a.get_potential_energy() for a in frames]),
        forces=np.stack([a.get_forces() for a in frames]),
        rows=np.arange(len(frames)),
        cells=np.stack([a.cell.array for a in frames]),
        pbc=np.ones((len(frames), 3), bool),
        stresses=np.stack([a.get_stress(voigt=False) for a in frames]),
    )
