"""Errors of a potential on frames with labels, kept in bounded memory: sums a frame, and a sample to plot."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from ase.data import chemical_symbols
from torch_geometric.data import Data

from chemscale.models.potential import Potential, Prediction

PLOTTED = 20_000
"""Pairs of label and prediction that are kept of each quantity for its plot."""
QUANTITIES = ("energy", "per_atom", "forces", "stress")
UNITS = {"energy": "meV", "per_atom": "meV/atom", "forces": "meV/Å", "stress": "meV/Å³"}
"""Of errors; energies are those of whole structures, forces and stresses are components."""


@dataclass
class Sums:
    """Errors of one quantity, one row a frame; frames that have no label have a count of 0.

    Args:
        counts: (k,) labels.
        absolute: (k,) summed absolute errors.
        square: (k,) summed squares.
        largest: (k,) largest absolute error.
    """

    counts: np.ndarray
    absolute: np.ndarray
    square: np.ndarray
    largest: np.ndarray

    def select(self, chosen: np.ndarray) -> Sums:
        """Those of some frames.

        Args:
            chosen: (k,) mask or indices.
        """
        return Sums(*(getattr(self, name)[chosen] for name in ("counts", "absolute", "square", "largest")))


@dataclass
class Pairs:
    """A sample of labels and predictions that every pair was equally likely to enter."""

    labels: list[np.ndarray] = field(default_factory=list)
    predictions: list[np.ndarray] = field(default_factory=list)
    keys: list[np.ndarray] = field(default_factory=list)

    def add(self, labels: np.ndarray, predictions: np.ndarray, rng: np.random.Generator) -> None:
        """Offer pairs.

        Args:
            labels: (m,).
            predictions: (m,).
            rng: draws which of them stay.
        """
        for column, values in ((self.labels, labels), (self.predictions, predictions)):
            column.append(values)
        self.keys.append(rng.random(len(labels)))
        if sum(map(len, self.keys)) > 4 * PLOTTED:
            self._thin()

    def _thin(self) -> None:
        keys = np.concatenate(self.keys)
        kept = np.sort(np.argsort(keys, kind="stable")[:PLOTTED])
        for column in (self.labels, self.predictions, self.keys):
            column[:] = [np.concatenate(column)[kept]]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels and predictions, (m,) each, at most ``PLOTTED``."""
        if not self.keys:
            return np.zeros(0), np.zeros(0)
        self._thin()
        return self.labels[0], self.predictions[0]


class FrameErrors:
    """Errors of a potential, frame by frame, in meV, meV/Å and meV/Å³.

    Args:
        elements: atomic numbers that the potential knows.
        seed: of the sample that is plotted.
    """

    def __init__(self, elements: tuple[int, ...], seed: int = 0):
        self.elements = np.array(elements)
        self._rng = np.random.default_rng(seed)
        self._rows: dict[str, list[np.ndarray]] = {name: [] for name in QUANTITIES}
        self._holds: list[np.ndarray] = []
        self._of_elements = np.zeros((len(elements), 3))
        self.pairs = {name: Pairs() for name in ("energy", "forces", "stress")}

    def __len__(self) -> int:
        return sum(map(len, self._holds))

    def add(self, potential: Potential, batch: Data, prediction: Prediction) -> None:
        """Compare a batch with its labels.

        Args:
            potential: that predicted; its reference energies are left out of what is plotted.
            batch: with its labels.
            prediction: of it; forces and stresses where they were asked for.
        """
        ptr = batch.ptr.cpu().numpy()
        sizes, numbers = np.diff(ptr), batch.z.cpu().numpy()
        frame = np.repeat(np.arange(len(sizes)), sizes)
        energy, label = _array(prediction.energy), _array(batch.energy)
        error, known = 1e3 * (energy - label), np.isfinite(label)[:, None]
        self._append("energy", error[:, None], known)
        self._append("per_atom", (error / sizes)[:, None], known)
        of_atoms = _array(potential.references)[_array(potential.type_of)[numbers].astype(int)]
        constants = np.bincount(frame, of_atoms, len(sizes))
        self._plot("energy", (label - constants) / sizes, (energy - constants) / sizes)
        kinds = np.searchsorted(self.elements, numbers)
        holds = np.zeros((len(sizes), len(self.elements)), bool)
        holds[frame, kinds] = True
        self._holds.append(holds)
        if prediction.forces is not None:
            forces, labels = _array(prediction.forces), _array(batch.forces)
            of_forces, known = 1e3 * (forces - labels), np.isfinite(labels)
            self._append("forces", of_forces, known, frame, len(sizes))
            self._count_elements(of_forces, known, kinds)
            self._plot("forces", labels.ravel(), forces.ravel())
        stress = batch.get("stress")
        if prediction.stress is not None and stress is not None:
            found, labels = (
                1e3 * _array(each).reshape(len(sizes), 9) for each in (prediction.stress, stress)
            )
            self._append("stress", found - labels, np.isfinite(labels))
            self._plot("stress", labels.ravel(), found.ravel())
        else:
            self._append("stress", np.zeros((len(sizes), 1)), np.zeros((len(sizes), 1), bool))

    def _append(
        self,
        name: str,
        errors: np.ndarray,
        known: np.ndarray,
        frame: np.ndarray | None = None,
        frames: int | None = None,
    ) -> None:
        """Add a row a frame from errors that have a label: (k, c) of frames, or (N, 3) of atoms in frames."""
        filled = np.where(known, np.abs(errors), 0.0)
        largest = filled.max(1)
        row = (known.sum(1), filled.sum(1), np.square(filled).sum(1))
        if frame is not None and frames is not None:
            of_atoms, largest = largest, np.zeros(frames)
            np.maximum.at(largest, frame, of_atoms)
            row = tuple(np.bincount(frame, values, frames) for values in row)  # type: ignore[assignment]
        self._rows[name].append(np.stack([*row, largest], axis=1).astype(np.float64))

    def _count_elements(self, errors: np.ndarray, known: np.ndarray, kinds: np.ndarray) -> None:
        filled = np.where(known, np.abs(errors), 0.0)
        for column, values in enumerate((known.sum(1), filled.sum(1), np.square(filled).sum(1))):
            self._of_elements[:, column] += np.bincount(kinds, values, len(self.elements))

    def _plot(self, name: str, labels: np.ndarray, predictions: np.ndarray) -> None:
        known = np.isfinite(labels) & np.isfinite(predictions)
        self.pairs[name].add(labels[known], predictions[known], self._rng)

    def of(self, name: str) -> Sums:
        """Errors of a quantity, one row a frame in the order in which they came.

        Args:
            name: one of ``QUANTITIES``.
        """
        rows = np.concatenate([np.zeros((0, 4)), *self._rows[name]])
        if not len(rows):
            rows = np.zeros((len(self), 4))  # forces that were not asked for
        return Sums(*rows.T)

    def holding(self, number: int) -> np.ndarray:
        """Whether each frame holds an element, (k,).

        Args:
            number: atomic number.
        """
        column = int(np.searchsorted(self.elements, number))
        return np.concatenate([np.zeros((0, len(self.elements)), bool), *self._holds])[:, column]

    def of_element(self, number: int) -> tuple[int, float, float]:
        """Force components on atoms of an element: how many, their MAE and RMSE in meV/Å; NaN without any.

        Args:
            number: atomic number.
        """
        count, absolute, square = self._of_elements[int(np.searchsorted(self.elements, number))]
        if not count:
            return 0, float("nan"), float("nan")
        return int(count), float(absolute / count), float(np.sqrt(square / count))

    def present(self) -> list[tuple[int, str]]:
        """Elements of the frames: atomic number and symbol."""
        return [(int(z), chemical_symbols[z]) for z in self.elements if self.holding(int(z)).any()]


def _array(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.float64)
