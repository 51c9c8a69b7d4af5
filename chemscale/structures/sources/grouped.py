"""Base class of readers of HDF5 releases: groups of arrays, read slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np

from chemscale.structures.blocks import Block, SourceError, no_forces
from chemscale.structures.sources.base import (
    NOT_STATED,
    Reader,
    formula,
    numbers_of_frames,
    per_frame,
    to_numbers,
)
from chemscale.structures.sources.containers.hdf5_groups import (
    check_array,
    first_group,
    groups,
    opened,
    shape_of,
)
from chemscale.structures.sources.electrons import ElectronNames
from chemscale.structures.sources.labels import LabelKeys, Place
from chemscale.structures.sources.labels.names import label_kind
from chemscale.structures.sources.labels.stated_units import same_unit, stated_units
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
        keys: names of the labels in place of the layout's.

    Raises:
        SourceError: not an HDF5 file, not of this layout (the message names what there is), or one that
            states other units than the layout's where none were given.
    """

    layout_keys: ClassVar[Keys]
    usual: ClassVar[Units]
    theory: ClassVar[str] = NOT_STATED

    def __init__(
        self,
        path: str | Path,
        level: str | None = None,
        units: Units | None = None,
        keys: LabelKeys | None = None,
    ):
        super().__init__(path, level or self.theory, units or self.usual)
        self.keys, self.given = self.layout_keys, keys or LabelKeys()
        self.complete = False
        with opened(self.path) as file:
            self.prepare(file, own_units=units is None)
        if self.keys.forces and self.conversion.gradients:
            self.note(f"{self.keys.forces} holds gradients, +dE/dx: it was negated.")
        names = (self.keys.energies, self.keys.forces)
        self.places = [Place("/".join(filter(None, names)), names[0], names[1] or None, "arrays")]

    def prepare(self, file: Any, *, own_units: bool) -> None:
        """Check the layout by the first group, and set ``keys``.

        ``complete`` is set where frames with a missing label are to be left out.

        Args:
            file: open for reading.
            own_units: whether no units were given, so that the file must be in the release's.
        """
        group = first_group(file)
        self.keys = replace(
            self.keys,
            energies=self.given.energy or self.keys.energies,
            forces=self.given.forces or self.keys.forces,
        )
        self.require(group)
        if self.given.forces and self.given.forces not in group:
            raise SourceError(
                f"{self.path}: data.forces_key={self.given.forces}, but group {group.name} has "
                f"{', '.join(group)}."
            )
        if own_units:
            self._check_units(file, group)
        shapes = {
            key: group[key].shape or () for key in group if group.get(key, getclass=True) is h5py.Dataset
        }
        try:
            names = ElectronNames.among(shapes, len(group[self.keys.positions]))
        except SourceError as error:
            raise SourceError(f"{self.path}, group {group.name}: {error}") from None
        self.electrons = names
        if not (self.keys.charges or self.keys.spins):
            self.keys = replace(self.keys, charges=names.charge, spins=names.spin)
            for text in names.notes():
                self.note(text)
        if self.keys.forces not in group:
            like = [key for key, shape in shapes.items() if label_kind(key) == "forces" and len(shape) == 3]
            if like:
                self.note(
                    f"{like[0]} looks like forces and was not read: data.forces_key={like[0]} reads it."
                )

    def _check_units(self, file: Any, group: Any) -> None:
        """Refuse a file that states other units than it would be read in."""
        stated = [
            (key, quantity, group[key].attrs.get("units", group[key].attrs.get("unit")))
            for key, quantity in (
                (self.keys.positions, "length"),
                (self.keys.energies, "energy"),
                (self.keys.forces, "forces"),
            )
            if group.get(key, getclass=True) is h5py.Dataset
        ]
        try:
            for holder in (file, group):
                stated += [(f"the {q}", q, name) for q, name in stated_units(dict(holder.attrs)).items()]
        except SourceError as error:
            raise SourceError(f"{self.path}: {error} Give data.units.") from None
        for key, quantity, name in stated:
            text = name.decode() if isinstance(name, bytes) else name
            if text is not None and not same_unit(quantity, str(text), self.conversion):
                raise SourceError(
                    f"{self.path}: {key} is in {text}, not as usual for the format ({self.units}). Give "
                    "data.units."
                )

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
        missing = [key for key in needed if group.get(key, getclass=True) is not h5py.Dataset]
        if missing:
            raise SourceError(
                f"{self.path}: group {group.name} has no {', '.join(missing)}; it has {', '.join(group)}."
            )
        keys = self.keys
        for key in (keys.numbers, keys.positions, keys.energies, keys.forces, keys.charges, keys.spins):
            if key and key in group:
                check_array(self.path, group, key, of_numbers=key != keys.numbers)
        if not group[keys.positions].shape:
            raise SourceError(f"{self.path}: group {group.name}: {keys.positions} is one number.")

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
            self.left_out = {f"no {labels}": rows - given}
            self.note(f"{rows - given} of {rows} frames were left out: they have no {labels}.")

    def total(self) -> int | None:
        """Frames of all groups, by the shapes of their positions; None where a group has none."""
        with opened(self.path) as file:
            shapes = [shape_of(group, self.keys.positions) for group in groups(file)]
        return sum(shape[0] for shape in shapes if shape) if all(shapes) else None

    def _frames(self, group: Any) -> int:
        """Number of frames of a group, the same in all its arrays."""
        self.require(group)
        shape = group[self.keys.positions].shape
        if len(shape) != 3 or shape[2] != 3:
            raise SourceError(
                f"{self.path}: group {group.name}: {self.keys.positions} has shape {shape}, expected "
                "(frames, atoms, 3)."
            )
        frames = shape[0]
        labels = [key for key in (self.keys.energies, self.keys.forces) if key and key in group]
        electrons = [key for key in (self.keys.charges, self.keys.spins) if key and key in group]
        names = labels + [key for key in electrons if group[key].size != 1]
        for key in names:
            if (len(group[key]) if group[key].shape else 1) != frames:
                raise SourceError(
                    f"{self.path}: group {group.name} has {frames} frames in {self.keys.positions}, but "
                    f"{group[key].shape[0] if group[key].shape else 1} in {key}."
                )
        return frames

    def _slice(self, group: Any, part: slice, before: int) -> Iterator[Block]:
        """Blocks of a slice of a group, `before` frames of the file having come before the group."""
        keys, units = self.keys, self.conversion

        def column(key: str, otherwise: Any) -> np.ndarray:
            if not key or key not in group:
                return otherwise
            if group[key].size == 1:
                return np.asarray(group[key][()]).reshape(-1)
            values = np.asarray(group[key][part])
            if values.size != len(values):
                raise SourceError(f"{key} has shape {group[key].shape}, expected one number for each frame.")
            return values.reshape(-1)

        where = f"{self.path}: group {group.name}"
        positions = group[keys.positions][part].astype(np.float64) * units.to_angstrom
        k, n = positions.shape[:2]
        try:
            energies = per_frame(column(keys.energies, None), k, keys.energies) * units.to_ev
            numbers = self._numbers(group, part, n)
            charges = np.broadcast_to(column(keys.charges, self.charge(group)), k)
            spins = np.broadcast_to(self.electrons.multiplicities(column(keys.spins, 0)), k)
        except SourceError as error:
            raise SourceError(f"{where}: {error}") from None
        forces = group[keys.forces][part] if keys.forces in group else no_forces(positions)
        forces = np.asarray(forces, np.float64) * units.to_ev_per_angstrom
        if forces.shape != positions.shape:
            raise SourceError(
                f"{where}: {keys.forces} has shape {forces.shape}, positions {positions.shape}."
            )
        keep = np.ones(k, bool)
        if self.complete:
            keep &= np.isfinite(energies)
            if keys.forces:
                keep &= np.isfinite(forces.reshape(k, -1)).all(axis=1)
        one_molecule = numbers.ndim == 1
        kinds, which = np.unique(np.atleast_2d(numbers), axis=0, return_inverse=True)
        which = np.broadcast_to(which.reshape(-1), k)
        for i, kind in enumerate(kinds):
            rows = np.flatnonzero((which == i) & keep)
            real = np.flatnonzero(kind) if not one_molecule else np.arange(n)
            if len(real) < n:
                self.note("Atoms of atomic number 0 are padding and were left out.")
            if len(rows):
                atoms = np.ix_(rows, real)
                yield self.block(
                    name=group.name.strip("/") if one_molecule else formula(kind[real]),
                    numbers=kind[real],
                    positions=positions[atoms],
                    energies=energies[rows],
                    forces=forces[atoms],
                    rows=before + part.start + rows,
                    charges=charges[rows],
                    spins=spins[rows],
                )

    def _numbers(self, group: Any, part: slice, n: int) -> np.ndarray:
        dataset, frames = group[self.keys.numbers], len(group[self.keys.positions])
        if dataset.shape == (frames, n) and dataset.ndim == 2:
            return to_numbers(dataset[part])
        if dataset.size != n:
            raise SourceError(
                f"{self.keys.numbers} has shape {dataset.shape}, expected ({n},), or ({frames}, {n}) for "
                f"{frames} frames."
            )
        return numbers_of_frames(dataset[()], frames, n, self.keys.numbers)
