"""Blocks of labelled frames of one composition, in eV and Å, and the protocol of sources that give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class SourceError(ValueError):
    """A file that cannot be read as asked; the message names the file, the row or key, and the way out."""


@dataclass
class Block:
    """k frames of the same n atoms in the same order.

    A label that a frame does not have is NaN, never 0; one that is infinite becomes NaN. Cells are rows, in
    Å; a cell of zeros with `pbc` False is a molecule in vacuum.

    Args:
        name: which molecule or file entry these frames are of: frames of one name are conformers.
        numbers: (n,) atomic numbers.
        positions: (k, n, 3) Å.
        energies: (k,) eV.
        forces: (k, n, 3) eV/Å, minus the gradient of the energy.
        rows: (k,) where each frame stood in its source, for error messages and published split indices.
        charges: (k,) total charge in e; 0 if None.
        spins: (k,) multiplicity 2S+1, 0 where it is not stated; all 0 if None.
        cells: (k, 3, 3) Å, or None for molecules.
        pbc: (k, 3) periodic directions, or None for molecules.
        stresses: (k, 3, 3) eV/Å³, positive under tension as ASE has them; None where no frame has one.
        weights: (k,) by which a frame's errors are multiplied in training; None for 1.

    Raises:
        SourceError: shapes do not agree, atomic numbers lie outside 1 … 118, or a weight is below 0.
    """

    name: str
    numbers: np.ndarray
    positions: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    rows: np.ndarray
    charges: np.ndarray = None  # type: ignore[assignment]
    spins: np.ndarray = None  # type: ignore[assignment]
    cells: np.ndarray | None = None
    pbc: np.ndarray | None = None
    stresses: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        numbers = np.asarray(self.numbers)
        if numbers.size and not (numbers.min() >= 1 and numbers.max() <= 118):
            raise SourceError(f"{self.name}: atomic numbers must lie in 1 … 118, got {numbers.tolist()}.")
        self.numbers = numbers.astype(np.uint8)
        self.positions = np.asarray(self.positions, dtype=np.float64)
        k, n = self.positions.shape[:2]
        if k and not n:
            raise SourceError(f"{self.name}, row {int(np.min(self.rows))}: no atoms. Remove the frame.")
        self.energies = finite_or_nan(self.energies)
        self.forces = finite_or_nan(self.forces)
        self.rows = np.asarray(self.rows, dtype=np.int64)
        self.charges = np.zeros(k, np.int8) if self.charges is None else np.asarray(self.charges, np.int8)
        self.spins = np.zeros(k, np.uint8) if self.spins is None else np.asarray(self.spins, np.uint8)
        if self.stresses is not None:
            self.stresses = finite_or_nan(self.stresses)
        if self.weights is not None:
            self.weights = np.asarray(self.weights, np.float64)
        expected: dict[str, tuple[int, ...]] = {
            "numbers": (n,),
            "positions": (k, n, 3),
            "energies": (k,),
            "forces": (k, n, 3),
            "rows": (k,),
            "charges": (k,),
            "spins": (k,),
            "stresses": (k, 3, 3),
            "weights": (k,),
        }
        for key, shape in expected.items():
            if getattr(self, key) is not None and getattr(self, key).shape != shape:
                raise SourceError(
                    f"{self.name}: {key} has shape {getattr(self, key).shape}, expected {shape} "
                    f"({k} frames of {n} atoms)."
                )
        if self.weights is not None and not (np.isfinite(self.weights) & (self.weights >= 0)).all():
            row = int(self.rows[~(np.isfinite(self.weights) & (self.weights >= 0))][0])
            raise SourceError(f"{self.name}, row {row}: its weight must be a number of at least 0.")
        if not np.isfinite(self.positions).all():
            row = int(self.rows[~np.isfinite(self.positions).all(axis=(1, 2))][0])
            raise SourceError(f"{self.name}, row {row}: a coordinate is not finite. Remove the frame.")

    def __len__(self) -> int:
        return len(self.energies)

    def select(self, chosen: np.ndarray) -> Block:
        """A block of some of the frames.

        Args:
            chosen: (k,) mask, or indices.
        """
        return Block(
            self.name,
            self.numbers,
            self.positions[chosen],
            self.energies[chosen],
            self.forces[chosen],
            self.rows[chosen],
            self.charges[chosen],
            self.spins[chosen],
            None if self.cells is None else self.cells[chosen],
            None if self.pbc is None else self.pbc[chosen],
            None if self.stresses is None else self.stresses[chosen],
            None if self.weights is None else self.weights[chosen],
        )


def finite_or_nan(values: Any) -> np.ndarray:
    """Numbers as float64, those that are infinite as NaN: a label that is not finite is none."""
    numbers = np.asarray(values, dtype=np.float64)
    return np.where(np.isinf(numbers), np.nan, numbers) if np.isinf(numbers).any() else numbers


def no_forces(positions: np.ndarray) -> np.ndarray:
    """Force array of frames that have energies only: NaN, in the shape of the positions."""
    return np.full_like(np.asarray(positions, dtype=np.float64), np.nan)


class Source(Protocol):
    """A set of frames on disk.

    `level` is the level of theory as the source states it, `units` what the file holds (for the manifest),
    `notes` whatever a user should know about how it was read. A source may have two more: ``total()``, the
    number of its frames where that is known before they are read, else None; and ``left_out``, once it was
    read, the number of frames that are in no block by the reason for it.
    """

    level: str
    units: str
    notes: list[str]

    def blocks(self) -> Iterator[Block]:
        """Every frame, in file order, in bounded memory."""
        ...

    def splits(self) -> dict[str, np.ndarray] | None:
        """Rows of "train", "validation" and "test" where the source publishes them, else None."""
        ...


def total_frames(source: Source) -> int | None:
    """Frames that a source will be read through, those left out as well; None where it does not know."""
    total = getattr(source, "total", None)
    return None if total is None else total()


def left_out_frames(source: Source) -> dict[str, int]:
    """Frames that a source which was read has left out, by reason."""
    return dict(getattr(source, "left_out", {}))
