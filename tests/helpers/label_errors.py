"""Predictions beside labels, made by hand."""

import numpy as np
import torch

from chemscale.models.potential import Prediction
from chemscale.models.potentials import build
from chemscale.models.schnet import SchNetConfig
from chemscale.structures.evaluation.errors import FrameErrors
from chemscale.structures.graphs import Structure, collate

POTENTIAL = build(SchNetConfig(width=4, layers=1), (1, 6, 8, 11, 17), references=(1.0, 2.0, 3.0, 4.0, 5.0))


def frame(numbers, energy=0.0):
    numbers = np.array(numbers, np.uint8)
    positions = np.arange(3.0 * len(numbers)).reshape(-1, 3)
    forces = np.zeros((len(numbers), 3))
    return Structure(numbers, positions, energy, forces).with_neighbours(1.0)


def compared(frames, energies, forces, stress=None):
    errors, batch = FrameErrors(POTENTIAL.elements), collate(frames)
    batch.to("cpu")
    of_energy = torch.tensor(energies, dtype=torch.float64)
    errors.add(POTENTIAL, batch, Prediction(of_energy, of_energy, torch.as_tensor(forces), stress))
    return errors
