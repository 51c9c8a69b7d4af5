"""Reader of one molecule's trajectory in npz: rMD17, MD17 and MD22 (sgdml.org), nff's CCSD(T) ethanol."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.structures.blocks import Block, SourceError, no_forces
from chemscale.structures.sources.base import (
    NOT_STATED,
    Reader,
    existing,
    formula,
    numbers_of_frames,
    per_frame,
)
from chemscale.structures.sources.containers.npz_members import (
    OBJECTS,
    array,
    broken,
    check_length,
    kind,
    loaded,
    shape,
    stream,
    text,
)
from chemscale.structures.sources.electrons import ElectronNames
from chemscale.structures.sources.labels import LabelKeys, Place
from chemscale.structures.sources.labels.names import label_kind
from chemscale.structures.sources.labels.stated_units import stated_units, units_of
from chemscale.structures.units import Units

STEP, STEP_BYTES = 4096, 256 << 20
"""Frames that are in memory at once, and bytes of their positions, at most."""

LAYOUTS = {
    "rMD17": ("nuclear_charges", "coords", "energies", "forces"),
    "sGDML": ("z", "R", "E", "F"),
}
"""Names of atomic numbers (n,) or (k, n), positions (k, n, 3), k energies, and forces (k, n, 3)."""

PERIODIC = ("lattice", "cell", "cells", "pbc", "box")
"""Arrays that make frames crystals."""


class Md17(Reader):
    """Reader of rMD17 (Christensen and von Lilienfeld 2020), or the MD17 and MD22 layout of sgdml.org.

    kcal/mol, kcal/mol/Å (true forces) and Å, unless an sGDML file's ``e_unit`` and ``r_unit`` say otherwise.
    Each frame is centred on its centroid: benzene drifts 200 Å from the origin, where float32 is coarse.

    Total charges and multiplicities are read where an array is called so: one number, or one a frame.

    Args:
        path: the file.
        split: one of the published splits 1 … 5: the arrays ``train_i`` and ``test_i`` of the file, or the
            ``splits/index_train_0i.csv`` and ``index_test_0i.csv`` of the rMD17 archive near it.
        level: level of theory for the manifest, in place of what the file states.
        units: what the file holds, in place of what it states.
        keys: names of the labels in place of the layout's.

    Raises:
        SourceError: no npz, none of the layouts, arrays whose shapes do not fit, or no such split; the
            message names what there is.
    """

    def __init__(
        self,
        path: str | Path,
        split: int | None = None,
        level: str | None = None,
        units: Units | None = None,
        keys: LabelKeys | None = None,
    ):
        with broken(Path(path)), loaded(existing(path)) as arrays:
            layout, names = layout_of(arrays, Path(path), keys or LabelKeys())
            theory = "PBE/def2-SVP" if layout == "rMD17" else text(arrays, "theory", NOT_STATED)
            if periodic := [key for key in PERIODIC if key in arrays.files]:
                raise SourceError(
                    f"{path}: has {', '.join(periodic)}, but npz is read as molecules, without periodicity. "
                    "Convert the file to extended XYZ, or remove the array where it holds molecules."
                )
            super().__init__(path, level or theory, units or units_in(arrays, Path(path)))
            self.keys = [key for key in names[1:] if key in arrays.files]
            self._frames, atoms = self._shapes(arrays)
            frames = self._frames
            self.numbers = self._checked(
                numbers_of_frames, array(arrays, names[0], Path(path)), frames, atoms, names[0]
            )
            self._read_electrons(arrays, frames)
            self._parts = None if split is None else self._published(arrays, split, frames)
            self.places = [Place("/".join(self.keys[1:]), self.keys[1], names[3], "arrays")]
            if len(self.keys) < 3:
                like = [
                    key
                    for key in arrays.files
                    if label_kind(key) == "forces" and len(shape(arrays, key)) == 3
                ]
                advice = f" {like[0]} looks like them: data.forces_key={like[0]} reads it." if like else ""
                self.note(f"The file has energies only: forces are NaN.{advice}")
        self.note("Each frame was centred on its centroid.")

    def blocks(self) -> Iterator[Block]:
        """Every frame, in file order, in bounded memory; eV and Å."""
        units, row = self.conversion, 0
        for positions, energies, *forces in self._slices():
            k = len(positions)
            positions = positions.astype(np.float64) * units.to_angstrom
            yield from self._blocks(
                row + np.arange(k),
                positions,
                self._checked(per_frame, energies, k, self.keys[1]) * units.to_ev,
                forces[0].astype(np.float64) * units.to_ev_per_angstrom if forces else no_forces(positions),
            )
            row += k

    def total(self) -> int | None:
        """Frames of the file, by the shapes of its arrays."""
        return self._frames

    def _slices(self) -> Iterator[tuple[np.ndarray, ...]]:
        """The arrays a few frames at a time."""
        with broken(self.path), zipfile.ZipFile(self.path) as archive:
            yield from zip(*(stream(archive, key, self._step) for key in self.keys), strict=True)

    def _blocks(
        self, rows: np.ndarray, positions: np.ndarray, energies: np.ndarray, forces: np.ndarray
    ) -> Iterator[Block]:
        """Frames of a slice, those of the same atoms together."""
        if self.numbers.ndim == 1:
            yield self._block(self.numbers, rows, positions, energies, forces)
            return
        kinds, which = np.unique(self.numbers[rows], axis=0, return_inverse=True)
        for i, atoms_of in enumerate(kinds):
            real, chosen = np.flatnonzero(atoms_of), np.flatnonzero(which.reshape(-1) == i)
            if len(real) < len(atoms_of):
                self.note("Atoms of atomic number 0 are padding and were left out.")
            atoms = np.ix_(chosen, real)
            yield self._block(atoms_of[real], rows[chosen], positions[atoms], energies[chosen], forces[atoms])

    def _block(
        self,
        numbers: np.ndarray,
        rows: np.ndarray,
        positions: np.ndarray,
        energies: np.ndarray,
        forces: np.ndarray,
    ) -> Block:
        return self.block(
            name=formula(numbers),
            numbers=numbers,
            positions=positions - positions.mean(axis=1, keepdims=True) if len(numbers) else positions,
            energies=energies,
            forces=forces,
            rows=rows,
            charges=self._charges[rows],
            spins=self._spins[rows],
        )

    def _shapes(self, arrays: Any) -> tuple[int, int]:
        """Frames and atoms, by the shape of the positions, which the labels must fit."""
        shapes = {key: shape(arrays, key) for key in self.keys}
        positions = shapes[self.keys[0]]
        if len(positions) != 3 or positions[2] != 3:
            raise SourceError(
                f"{self.path}: {self.keys[0]} has shape {positions}, expected (frames, atoms, 3)."
            )
        if len({found[0] if found else 1 for found in shapes.values()}) > 1:
            lengths = {key: found[0] if found else 1 for key, found in shapes.items()}
            raise SourceError(f"{self.path}: arrays of unequal length: {lengths}.")
        for key in self.keys[2:]:
            if shapes[key] != positions:
                raise SourceError(
                    f"{self.path}: {key} has shape {shapes[key]}, but {self.keys[0]} {positions}."
                )
        for key in self.keys:
            if kind(arrays, key).hasobject:
                raise SourceError(f"{self.path}: {OBJECTS.format(key)}")
            if kind(arrays, key).kind not in "iuf":
                raise SourceError(f"{self.path}: {key} holds no numbers, but {kind(arrays, key)}.")
            check_length(arrays, key, self.path)
        self._step = min(STEP, max(1, STEP_BYTES // max(1, 24 * positions[1])))
        return positions[0], positions[1]

    def _read_electrons(self, arrays: Any, frames: int) -> None:
        """Total charges and multiplicities of all frames, (frames,) each; 0 where no array has them."""
        names = self._checked(ElectronNames.among, {key: shape(arrays, key) for key in arrays.files}, frames)
        for sentence in names.notes():
            self.note(sentence)

        def column(key: str) -> np.ndarray:
            values = array(arrays, key, self.path) if key else np.zeros(1)
            return np.broadcast_to(np.asarray(values).reshape(-1), frames)

        self._charges = column(names.charge)
        self._spins = np.asarray(names.multiplicities(column(names.spin))) if names.spin else column("")

    def _checked(self, function: Any, *arguments: Any) -> Any:
        """What a function returns; what it refuses is refused with the name of the file."""
        try:
            return function(*arguments)
        except SourceError as error:
            raise SourceError(f"{self.path}: {error}") from None

    def splits(self) -> dict[str, np.ndarray] | None:
        """Rows of "train" and "test" of the chosen split; None if none was chosen.

        The published numbers are positions in the file, not values of ``old_indices``, which are positions in
        the original MD17 trajectory.
        """
        return self._parts

    def _published(self, arrays: Any, split: int, frames: int) -> dict[str, np.ndarray]:
        parts = {part: self._rows(arrays, part, split) for part in ("train", "test")}
        for part, rows in parts.items():
            if len(rows) and not (rows.min() >= 0 and rows.max() < frames):
                raise SourceError(
                    f"{self.path}: {part}_{split} has rows {rows.min()} … {rows.max()}, of {frames} frames."
                )
        common = np.intersect1d(parts["train"], parts["test"])
        if len(common):
            raise SourceError(f"{self.path}: split {split} trains on {len(common)} of its test frames.")
        return parts

    def _rows(self, arrays: Any, part: str, split: int) -> np.ndarray:
        name, file_name = f"{part}_{split}", f"index_{part}_{split:02d}.csv"
        if name in arrays.files:
            return arrays[name].astype(np.int64)
        for folder in (self.path.parent, self.path.parent / "splits", self.path.parent.parent / "splits"):
            if "coords" in self.keys and (folder / file_name).is_file():
                self.note(f"The {part} rows are those of {file_name}.")
                return np.loadtxt(folder / file_name, dtype=np.int64, ndmin=1)
        there = [key.removeprefix("train_") for key in arrays.files if key.startswith("train_")]
        raise SourceError(
            f"{self.path}: data.split={split}, but it has no array {name}, and no {file_name} is near it. "
            f"Splits in the file: {', '.join(there) or 'none'}."
        )


def layout_of(arrays: Any, path: Path, given: LabelKeys) -> tuple[str, list[str]]:
    """Which layout an opened npz has.

    Args:
        arrays: the npz.
        path: of the file, for messages.
        given: names of labels in place of the layout's.

    Returns:
        Its name, and the names of its four arrays.

    Raises:
        SourceError: none of them; the message names what there is.
    """
    for layout, keys in LAYOUTS.items():
        names = [keys[0], keys[1], given.energy or keys[2], given.forces or keys[3]]
        needed = names if given.forces else names[:3]
        if set(needed) <= set(arrays.files):
            return layout, names
    known = "; ".join(f"{', '.join(keys)} ({layout})" for layout, keys in LAYOUTS.items())
    raise SourceError(
        f"{path}: has {', '.join(arrays.files)}, which is none of the known layouts: {known}. Other names "
        "of the labels are given by data.energy_key and data.forces_key."
    )


def units_in(arrays: Any, path: Path) -> Units:
    """The units of an opened npz, kcal/mol and Å unless it states others.

    Args:
        arrays: the npz.
        path: of the file, for messages.

    Raises:
        SourceError: it states a unit that is not known, or two of one quantity.
    """
    stated = {
        key: text(arrays, key, "") for key in arrays.files if "unit" in key.lower() and not shape(arrays, key)
    }
    try:
        return units_of(stated_units(stated), Units("kcal/mol", "Angstrom"))
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from None
