"""Reader of one molecule's trajectory in npz: rMD17, MD17 and MD22 (sgdml.org), nff's CCSD(T) ethanol."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from chemscale.structures.blocks import Block, SourceError, no_forces
from chemscale.structures.sources.base import NOT_STATED, Reader, existing, formula
from chemscale.structures.units import UnitError, Units

STEP = 4096
"""Frames that are in memory at once, at most."""

LAYOUTS = {
    "rMD17": ("nuclear_charges", "coords", "energies", "forces"),
    "sGDML": ("z", "R", "E", "F"),
}
"""Names of atomic numbers (n,), positions (k, n, 3), energies (k,) or (k, 1), and forces (k, n, 3)."""


class Md17(Reader):
    """Reader of rMD17 (Christensen and von Lilienfeld 2020), or the MD17 and MD22 layout of sgdml.org.

    kcal/mol, kcal/mol/Å (true forces) and Å, unless an sGDML file's ``e_unit`` and ``r_unit`` say otherwise.
    Each frame is centred on its centroid: benzene drifts 200 Å from the origin, where float32 is coarse.

    Args:
        path: the file.
        split: one of the published splits 1 … 5: the arrays ``train_i`` and ``test_i`` of the file, or the
            ``splits/index_train_0i.csv`` and ``index_test_0i.csv`` of the rMD17 archive near it.
        level: level of theory for the manifest, in place of what the file states.
        units: what the file holds, in place of what it states.

    Raises:
        SourceError: no npz, none of the layouts, or no such split; the message names what there is.
    """

    def __init__(
        self,
        path: str | Path,
        split: int | None = None,
        level: str | None = None,
        units: Units | None = None,
    ):
        with loaded(existing(path)) as arrays:
            layout = layout_of(arrays, Path(path))
            numbers, *self.keys = (key for key in LAYOUTS[layout] if key in arrays.files)
            self.numbers = arrays[numbers]
            theory = "PBE/def2-SVP" if layout == "rMD17" else text(arrays, "theory", NOT_STATED)
            super().__init__(path, level or theory, units or stated_units(arrays, Path(path)))
            lengths = {key: length(arrays, key) for key in self.keys}
            if len(set(lengths.values())) > 1:
                raise SourceError(f"{path}: arrays of unequal length: {lengths}.")
            self._parts = None if split is None else self._published(arrays, split, max(lengths.values()))
        self.note("Each frame was centred on its centroid.")
        if len(self.keys) < 3:
            self.note("The file has energies only: forces are NaN.")

    def blocks(self) -> Iterator[Block]:
        """Every frame, in file order, in bounded memory; eV and Å."""
        units, row = self.conversion, 0
        with zipfile.ZipFile(self.path) as archive:
            columns = [stream(archive, key) for key in self.keys]
            for positions, energies, *forces in zip(*columns, strict=True):
                positions = positions.astype(np.float64) * units.to_angstrom
                yield self.block(
                    name=formula(self.numbers),
                    numbers=self.numbers,
                    positions=positions - positions.mean(axis=1, keepdims=True),
                    energies=energies.astype(np.float64).reshape(-1) * units.to_ev,
                    forces=forces[0].astype(np.float64) * units.to_ev_per_angstrom
                    if forces
                    else no_forces(positions),
                    rows=row + np.arange(len(positions)),
                )
                row += len(positions)

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


def layout_of(arrays: Any, path: Path) -> str:
    """Which layout an opened npz has.

    Args:
        arrays: the npz.
        path: of the file, for messages.

    Raises:
        SourceError: none of them; the message names what there is.
    """
    for layout, keys in LAYOUTS.items():
        if set(keys[:3]) <= set(arrays.files):
            return layout
    known = "; ".join(f"{', '.join(keys)} ({layout})" for layout, keys in LAYOUTS.items())
    raise SourceError(f"{path}: has {', '.join(arrays.files)}, which is none of the known layouts: {known}.")


def loaded(path: Path) -> Any:
    """Open an npz whose arrays are read when they are asked for.

    Args:
        path: of the file.

    Raises:
        SourceError: it is not one.
    """
    try:
        arrays = np.load(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path}: not a readable npz file ({error}).") from None
    if not hasattr(arrays, "files"):
        raise SourceError(f"{path}: a single array, not an npz file.")
    return arrays


def text(arrays: Any, key: str, otherwise: str) -> str:
    """Text that an opened npz holds.

    Args:
        arrays: the npz.
        key: of the text.
        otherwise: what is returned where it is missing.
    """
    value = arrays[key].item() if key in arrays.files else otherwise
    return value.decode() if isinstance(value, bytes) else str(value)


def stated_units(arrays: Any, path: Path) -> Units:
    """The units of an opened npz, kcal/mol and Å unless it states others.

    Args:
        arrays: the npz.
        path: of the file, for messages.

    Raises:
        SourceError: it states a unit that is not known.
    """
    try:
        return Units(text(arrays, "e_unit", "kcal/mol"), text(arrays, "r_unit", "Angstrom"))
    except UnitError as error:
        raise SourceError(f"{path}, e_unit and r_unit: {error} Give data.units.") from None


def length(arrays: Any, key: str) -> int:
    """Rows of an array of an opened npz, without reading it.

    Args:
        arrays: the npz.
        key: of the array.
    """
    with arrays.zip.open(f"{key}.npy") as member:
        return header(member)[0][0]


def header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and type of an npy stream, which then stands at the data."""
    version = npy.read_magic(member)
    return (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(member)


def stream(archive: zipfile.ZipFile, key: str, step: int = STEP) -> Iterator[np.ndarray]:
    """Read an array of an npz a few rows at a time; one in Fortran order has to be held whole.

    Args:
        archive: the npz.
        key: of the array.
        step: rows at a time.
    """
    with archive.open(f"{key}.npy") as member:
        shape, fortran, kind = header(member)
        rows = shape[0]
        if fortran:
            whole = np.frombuffer(member.read(), kind).reshape(shape, order="F")
            yield from (whole[start : start + step] for start in range(0, rows, step))
            return
        for start in range(0, rows, step):
            k = min(step, rows - start)
            content = member.read(k * prod(shape[1:]) * kind.itemsize)
            yield np.frombuffer(content, kind).reshape(k, *shape[1:])
