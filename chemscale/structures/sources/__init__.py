"""Readers of interatomic-potential data sets: one file in, blocks of frames in eV and Å out."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from chemscale.common.plugins import load_plugins
from chemscale.structures.blocks import Source, SourceError
from chemscale.structures.sources.ase_files import AseFile, ase_format
from chemscale.structures.sources.base import existing
from chemscale.structures.sources.containers.columns import SUFFIXES, ColumnFile
from chemscale.structures.sources.cp2k import POSITIONS, Cp2kFile
from chemscale.structures.sources.hdf5 import Aimnet2, Ani1, Ani1x, Ani2x, Comp6, Spice, layout
from chemscale.structures.sources.labels import LabelKeys
from chemscale.structures.sources.npz import Md17
from chemscale.structures.sources.published.qm9 import Qm9
from chemscale.structures.sources.pyg_files import PyGFile
from chemscale.structures.units import Units

READERS: dict[str, Callable[..., Source]] = {
    "ani1x": Ani1x,
    "ani1": Ani1,
    "ani2x": Ani2x,
    "spice": Spice,
    "comp6": Comp6,
    "aimnet2": Aimnet2,
    "md17": Md17,
    "pyg": PyGFile,
    "columns": ColumnFile,
    "qm9": Qm9,
    "cp2k": Cp2kFile,
    "ase": AseFile,
}
"""Format → reader."""


def register(name: str, reader: Callable[..., Source]) -> None:
    """Make a reader of one's own known as ``data.format=name``.

    Args:
        name: of the format.
        reader: called with the path, ``units=`` and, where they are given, ``level=`` and ``keys=``
            (a `labels.LabelKeys`).

    Raises:
        SourceError: another reader has this name.
    """
    if READERS.setdefault(name, reader) is not reader:
        raise SourceError(f"data.format={name}: there is a reader of this name already.")


FIXED_LEVEL = ("ani1", "spice", "comp6", "qm9")
"""Formats whose release has one level of theory."""

HDF5 = (".h5", ".hdf5", ".hdf")


def open_source(
    path: str | Path,
    format: str | None = None,
    *,
    level: str | None = None,
    split: int | None = None,
    units: Units | None = None,
    keys: LabelKeys | None = None,
) -> Source:
    """Open the reader of a file, by its format or by what the file looks like.

    Args:
        path: the file.
        format: a name in `READERS`; None to go by the suffix and, in HDF5, by the names of the arrays.
        level: which labels of an ANI-1x file to read; for files that do not state their level of theory, what
            it is (it goes into the manifest).
        split: which published split of an rMD17 file to use, 1 … 5.
        units: what the file holds, where it is not what its format usually holds. An array of forces that
            holds +dE/dx has ``gradients=True``.
        keys: names of the energy, the forces and the stress, in place of the format's own.

    Raises:
        SourceError: there is no such file, its format or layout is not known, or the format has no level or
            split to choose; the message names the choices.
    """
    path = existing(path)
    name = format or guess(path)
    if name not in READERS:
        load_plugins()
    if name not in READERS:
        raise SourceError(f"data.format={name!r}: choose one of {', '.join(READERS)}.")
    options: dict[str, Any] = {}
    if split is not None:
        if name != "md17":
            raise SourceError(f"data.split={split}: {path} is of format {name}, which publishes no splits.")
        options["split"] = split
    if level is not None:
        if name in FIXED_LEVEL:
            raise SourceError(f"data.level={level!r}: {path} is of format {name}, which has one level only.")
        options["level"] = level
    if keys is not None and (keys.energy or keys.forces):
        if "keys" not in signature(READERS[name]).parameters:
            raise SourceError(f"data.format={name}: its reader takes no data.energy_key and data.forces_key.")
        options["keys"] = keys
    if keys is not None and keys.stress:
        if READERS[name] is not AseFile:
            raise SourceError(
                f"data.stress_key={keys.stress}: the reader of format {name} reads no stresses. Those of "
                "extended XYZ and of whatever else ASE reads (data.format=ase) are."
            )
        options["keys"] = keys
    return READERS[name](path, units=units, **options)


def guess(path: Path) -> str:
    """Guess the format of a file: HDF5 by its arrays, npz and what ASE reads by the suffix.

    Args:
        path: of the file.

    Raises:
        SourceError: it is none of them.
    """
    suffix = path.suffix.lower()
    if path.name.startswith("dsgdb9nsd.xyz.tar"):
        return "qm9"
    if suffix in HDF5:
        return layout(path)
    if suffix == ".npz":
        return "md17"
    if POSITIONS.match(path.name):
        return "cp2k"
    if suffix in SUFFIXES:
        return "columns"
    if suffix in (".pt", ".pth"):
        return "pyg"
    try:
        ase_format(path)
    except SourceError as error:
        raise SourceError(
            f"{error} Give data.format, or a file whose suffix tells it: {', '.join(HDF5)} (ANI, SPICE, "
            "COMP6, AIMNet2), .npz (MD17), .parquet, .arrow, .jsonl (columns), "
            ".pt (PyTorch Geometric), .xyz, .extxyz, .db, .aselmdb, .traj or "
            "whatever else ASE reads."
        ) from None
    return "ase"
