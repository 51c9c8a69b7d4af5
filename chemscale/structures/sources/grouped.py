"""Base class of readers of HDF5 releases: groups of arrays, read slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np

from chemscale.structures.blocks import Block, SourceError, no_forces
from chemscale.structures.sources.base import NOT_STATED, Reader, formula, to_numbers
from chemscale.structures.units import Units

STEP = 4096
"""Frames that are in memory at once, at most."""


@dataclass(frozen=True)
class Keys:
    """Names of a group's datasets; an empty name is one that the layout does not have.

    Args:
        numbers: atomic numbers.
        positions: coordinates.
        energies: total energies.
        forces: forces or gradients.
        charges: total charges.
        spins: multiplicities.
    """

    numbers: str
    positions: str
    energies: str
    forces: str = ""
    charges: str = ""
    spins: str = ""


class Grouped(Reader):
    """Reader of an HDF5 file with groups of frames at any depth.

    A group whose atomic numbers are (n,) is one molecule, and its blocks have its name; one whose numbers are
    (k, n) is taken apart by composition within each slice, and its blocks are named by their formula. Rows
    count the frames of the file in reading order, those left out as well.

    Args:
        path: the file.
        level: level of theory, for the manifest, where the layout does not determine it.
        units: what the file holds instead of the release's units.

    Raises:
        SourceError: not an HDF5 file, or not of this layout; the message names what there is.
    """

    layout_keys: ClassVar[Keys]
    usual: ClassVar[Units]
    theory: ClassVar[str] = NOT_STATED

    def __init__(self, path: str | Path, level: str | None = None, units: Units | None = None):
        super().__init__(path, level or self.theory, units or self.usual)
        self.keys = self.layout_keys
        self.complete = False
        with opened(self.path) as file:
            self.prepare(file, own_units=units is None)
        if self.keys.forces and self.conversion.gradients:
            self.note(f"{self.keys.forces} holds gradients, +dE/dx: it was negated.")

    def prepare(self, file: Any, *, own_units: bool) -> None:
        """Check the layout by the first group, and set ``keys``.

        ``complete`` is set where frames with a missing label are to be left out.

        Args:
            file: open for reading.
            own_units: whether no units were given, so that the file must be in the release's.
        """
        self.require(first_group(file))

    def require(self, group: Any) -> None:
        """Refuse a group that lacks an array which every group must have.

        Args:
            group: of the file.

        Raises:
            SourceError: naming the array, and those that are there.
        """
        needed = [self.keys.numbers, self.keys.positions]
        if not self.complete:
            needed.append(self.keys.energies)
        missing = [key for key in needed if key not in group]
        if missing:
            raise SourceError(
                f"{self.path}: group {group.name} has no {', '.join(missing)}; it has {', '.join(group)}."
            )

    def charge(self, group: Any) -> int:
        """Total charge in e of all frames of a group, where the layout has no dataset of it.

        Args:
            group: of the file.
        """
        return 0

    def blocks(self) -> Iterator[Block]:
        """Every frame, in file order, in bounded memory; eV and Å."""
        rows = given = 0
        with opened(self.path) as file:
            for group in groups(file):
                frames = self._frames(group)
                if self.keys.energies in group:
                    for start in range(0, frames, STEP):
                        for block in self._slice(group, slice(start, min(start + STEP, frames)), rows):
                            given += len(block)
                            yield block
                rows += frames
        if rows > given:
            labels = " or ".join(key for key in (self.keys.energies, self.keys.forces) if key)
            self.note(f"{rows - given} of {rows} frames were left out: they have no {labels}.")

    def _frames(self, group: Any) -> int:
        """Number of frames of a group, the same in all its arrays."""
        self.require(group)
        frames = len(group[self.keys.positions])
        names = [key for key in astuple(self.keys)[2:] if key and key in group]
        if group[self.keys.numbers].ndim == 2:
            names.append(self.keys.numbers)
        for key in names:
            if len(group[key]) != frames:
                raise SourceError(
                    f"{self.path}: group {group.name} has {frames} frames in {self.keys.positions}, but "
                    f"{len(group[key])} in {key}."
                )
        return frames

    def _slice(self, group: Any, part: slice, before: int) -> Iterator[Block]:
        """Blocks of a slice of a group, `before` frames of the file having come before the group."""
        keys, units = self.keys, self.conversion

        def column(key: str, otherwise: Any) -> np.ndarray:
            return group[key][part] if key and key in group else otherwise

        positions = group[keys.positions][part].astype(np.float64) * units.to_angstrom
        energies = group[keys.energies][part].astype(np.float64).reshape(-1) * units.to_ev
        forces = column(keys.forces, no_forces(positions)).astype(np.float64) * units.to_ev_per_angstrom
        k = len(positions)
        charges = np.broadcast_to(column(keys.charges, self.charge(group)), k)
        spins = np.broadcast_to(column(keys.spins, 0), k)
        keep = np.ones(k, bool)
        if self.complete:
            keep &= np.isfinite(energies)
            if keys.forces:
                keep &= np.isfinite(forces.reshape(k, -1)).all(axis=1)
        numbers = self._numbers(group, part)
        one_molecule = numbers.ndim == 1
        kinds, which = np.unique(np.atleast_2d(numbers), axis=0, return_inverse=True)
        which = np.broadcast_to(which.reshape(-1), k)
        for i, kind in enumerate(kinds):
            rows = np.flatnonzero((which == i) & keep)
            if len(rows):
                yield self.block(
                    name=group.name.strip("/") if one_molecule else formula(kind),
                    numbers=kind,
                    positions=positions[rows],
                    energies=energies[rows],
                    forces=forces[rows],
                    rows=before + part.start + rows,
                    charges=charges[rows],
                    spins=spins[rows],
                )

    def _numbers(self, group: Any, part: slice) -> np.ndarray:
        dataset = group[self.keys.numbers]
        try:
            return to_numbers(dataset[part] if dataset.ndim == 2 else dataset[:])
        except SourceError as error:
            raise SourceError(f"{self.path}: group {group.name}: {error}") from None


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading.

    Args:
        path: of the file.

    Raises:
        SourceError: it is not one.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise SourceError(f"{path}: not a readable HDF5 file ({error}).") from None
    with file:
        yield file


def groups(node: Any) -> Iterator[Any]:
    """Every group that holds datasets, in reading order; a group holds either datasets or groups.

    Args:
        node: the file, or a group.
    """
    first = next(iter(node), None)
    if first is not None and node.get(first, getclass=True) is h5py.Dataset:
        yield node
        return
    for name in node:
        if node.get(name, getclass=True) is h5py.Group:
            yield from groups(node[name])


def first_group(file: Any) -> Any:
    """The first group that holds datasets.

    Args:
        file: open for reading.

    Raises:
        SourceError: there is none.
    """
    for group in groups(file):
        return group
    raise SourceError(f"{file.filename}: the file holds no arrays.")
