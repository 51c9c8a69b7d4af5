"""Calculators of known physics for dynamics: springs, and one that behaves badly after some calls."""

from __future__ import annotations

import os
import signal

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from tests.helpers.structures import METHANOL


class Springs(Calculator):
    """Springs between all pairs of atoms, at rest where they are when it is made."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 (ASE's own convention)

    def __init__(self, rest: np.ndarray, stiffness: float = 15.0):
        super().__init__()
        self.first, self.second = np.triu_indices(len(rest), 1)
        self.length = np.linalg.norm(rest[self.first] - rest[self.second], axis=1)
        self.k = stiffness / self.length**2

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        vectors = self.atoms.positions[self.first] - self.atoms.positions[self.second]
        distances = np.linalg.norm(vectors, axis=1)
        stretch = distances - self.length
        pull = -(self.k * stretch / distances)[:, None] * vectors
        forces = np.zeros_like(self.atoms.positions)
        np.add.at(forces, self.first, pull)
        np.add.at(forces, self.second, -pull)
        self.results = {"energy": float(0.5 * (self.k * stretch**2).sum()), "forces": forces}


class Spoiled(Calculator):
    """Another calculator whose results something happens to from a certain call on.

    Args:
        inner: that computes.
        after: calls that are well.
        what: changes results; None sends SIGTERM to this process, once.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, inner, after, what=None):
        super().__init__()
        self.inner, self.after, self.what, self.calls = inner, after, what, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.inner.calculate(self.atoms, list(properties), system_changes)
        self.results = dict(self.inner.results)
        self.calls += 1
        if self.calls > self.after and self.what is not None:
            self.what(self.results)
        elif self.calls == self.after + 1:
            os.kill(os.getpid(), signal.SIGTERM)


def methanol() -> Atoms:
    """Methanol at rest."""
    return Atoms(METHANOL[0], METHANOL[1])


def copper(size: int = 2) -> Atoms:
    """A cubic crystal for EMT."""
    return bulk("Cu", cubic=True).repeat(size)


def springs() -> Springs:
    """Springs of methanol."""
    return Springs(METHANOL[1])


def emt() -> EMT:
    """ASE's EMT."""
    return EMT()
