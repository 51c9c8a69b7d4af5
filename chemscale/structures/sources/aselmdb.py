"""ASE databases in LMDB files, as OMol25, OPoly26 and OMat24 are published (``.aselmdb``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chemscale.common.logs import brief
from chemscale.structures.blocks import SourceError

SUFFIX = ".aselmdb"
LOCK_SUFFIX = ".aselmdb-lock"
METADATA = "metadata.npz"
"""Sizes of the structures of a folder of shards, which fairchem writes beside them."""


def open_lmdb(path: Path) -> Any:
    """Open an ASE database in an LMDB file for reading: no lock is taken and no file is written.

    A row's total charge and multiplicity stand in its ``data``, which ``AtomsRow.toatoms`` leaves behind
    (fairchem, issue 2070); whoever reads rows adds it to ``atoms.info``.

    Args:
        path: of the file.

    Raises:
        SourceError: the package that reads it is not installed, or the file was cut off or is none.
    """
    try:
        import lmdb
        from ase_db_backends.aselmdb import LMDBDatabase
    except ImportError:
        raise SourceError(
            f"{path}: {SUFFIX} files need another package: pip install 'chemscale[aselmdb]'."
        ) from None
    try:
        _refuse_if_cut_off(path, lmdb)
        return LMDBDatabase(path, use_lock_file=False, readonly=True)
    except lmdb.Error as error:
        raise SourceError(f"{path}: not a readable LMDB file ({brief(error)}).") from None


def _refuse_if_cut_off(path: Path, lmdb: Any) -> None:
    """Refuse a file that ends before its last page: reading there would end the process (SIGBUS)."""
    with lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False) as environment:
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    size = path.stat().st_size
    if size < needed:
        raise SourceError(
            f"{path}: the file was cut off ({size:,} of at least {needed:,} bytes). Download it again."
        )
