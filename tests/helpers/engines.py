"""A small potential, a molecule and a crystal that simulation programs are tried with."""

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule

from chemscale.models.painn import PaiNNConfig
from chemscale.models.potentials import build
from chemscale.structures.calculator import ChemscaleCalculator

PAINN = PaiNNConfig(width=8, layers=2, cutoff=4.0)


def random_potential(config=PAINN, elements=(1, 6, 8, 11, 17), size=0.2):
    """Random weights in float64, large enough that atoms two cutoffs away are felt."""
    torch.manual_seed(0)
    made = build(config, elements, references=(-1.5,) * len(elements), dtype=torch.float64)
    for weights in made.network.parameters():
        weights.data += size * torch.randn_like(weights)
    return made


def ethanol(seed=0):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.02, seed=seed)
    return atoms


def salt(seed=0):
    """Ten ions in a skewed cell that is smaller than the cutoff in one direction."""
    atoms = bulk("NaCl", "rocksalt", 5.64) * (1, 1, 5)
    atoms.rattle(0.05, seed=seed)
    return atoms


def expected(potential, atoms: Atoms):
    """Energy, forces and stress (3, 3) or None, by the ASE calculator."""
    atoms = atoms.copy()
    atoms.calc = ChemscaleCalculator(potential, device="cpu")
    stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
    return atoms.get_potential_energy(), atoms.get_forces(), stress


def largest(a, b):
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())
