"""Sets by the names that people give them: files, corpora, stores, runs, options of ``data=``."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from chemscale.common.locks import make_once
from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.config.options import groups
from chemscale.fetching.hub import PREFIX, local_path
from chemscale.fetching.places import refuse_missing
from chemscale.molecules.corpus import MANIFEST, SPLITS
from chemscale.molecules.metrics.known import corpus_of, parent_of
from chemscale.molecules.overlap.sets import CorpusMolecules, MoleculeFiles, MoleculeSet
from chemscale.molecules.overlap.targets import OverlapError
from chemscale.molecules.preparation.sources import SourceError
from chemscale.molecules.preparation.sources.files import find_files
from chemscale.objects.address import Address, is_address
from chemscale.objects.errors import Damaged, StoreError, Unreachable
from chemscale.objects.seals import fetch_folder
from chemscale.objects.store import open_store
from chemscale.records import RECORD_NAME, RunRecord, find_run

Kind = Literal["molecules", "structures"]
FRAMES = (
    ".xyz", ".extxyz", ".npz", ".h5", ".hdf5", ".hdf", ".db", ".aselmdb", ".lmdb", ".traj", ".pt", ".cif",
    ".vasp", ".outcar",
)  # fmt: skip
MOLECULES = (".smi", ".smiles", ".ism", ".can", ".cxsmiles", ".csv", ".tsv", ".tab", ".sdf", ".selfies")
"""Suffixes of files of the one and the other; others (Parquet, JSON lines) may be of either."""


def kind_of(name: str, key: str) -> Kind | None:
    """Whether a name means molecules or structures; None where the name of a file says neither.

    Args:
        name: as a person gave it.
        key: by which it was given, for messages.

    Raises:
        FileNotFoundError: it means nothing.
        StoreError: it is an address, and the store does not answer.
    """
    name, where = rows_chosen(on_this_disk(name, key))
    if where is not None and kind_of(name, key) == "structures":
        raise OverlapError(f"{key}={name}: rows are chosen by a column of molecules; frames have none.")
    if (run := run_named(name)) is not None:
        return "molecules" if RunRecord.load(run).family == "chemgpt" else "structures"
    path = Path(name).expanduser()
    if (path / MANIFEST).is_file():
        return "structures" if (path / "positions").exists() else "molecules"
    if _is_there(name):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        kinds = {_kind_of_file(each) for each in inside}
        return "structures" if "structures" in kinds else "molecules" if "molecules" in kinds else None
    section = section_of(name)
    if section is None:
        raise _unknown(name, key)
    return "structures" if str(section.get("source", "")).endswith("structures") else "molecules"


def run_named(name: str) -> Path | None:
    """Directory of the run that a name means; None where it means something else.

    Args:
        name: as a person gave it.

    Raises:
        RecordError: several runs have the name, or none of a sweep has.
    """
    if not Path(name).exists() and len(Path(name).parts) < 2:
        return None  # of a run both the sweep and the name are given
    try:
        if is_address(name) and _means_files(Address.parse(name)):
            return None
        run = find_run(Path(name))
    except (Unreachable, Damaged):
        raise
    except StoreError:
        return None  # an address at which no run is
    return run if (run / RECORD_NAME).is_file() else None


def _means_files(address: Address) -> bool:
    """Whether an address is that of an object, or a pattern."""
    return any(each in address.key for each in "*?[") or open_store(address).entry(address) is not None


def on_this_disk(name: str, key: str) -> str:
    """A name as it is; of an address the path of what is brought from there: a run, prepared data, or files.

    Args:
        name: as a person gave it; rows that it chooses stay chosen.
        key: by which it was given, for messages.

    Raises:
        FileNotFoundError: the store has nothing there.
        StoreError: the store does not answer, or what it has is damaged.
    """
    place, where = rows_chosen(name)
    if not is_address(place):
        return name
    address = Address.parse(place)
    run = run_named(place)
    if run is not None:
        found = str(run)
    elif not _means_files(address) and _is_brought(address.local):
        found = str(address.local)
    else:
        found = local_path(place, key)
    return f"{found}:{where[0]}={where[1]}" if where else found


def _is_brought(folder: Path) -> bool:
    """Whether a working copy of a corpus or a store is here, or could be fetched."""
    with make_once(folder / MANIFEST, folder.parent) as missing:
        return not missing or fetch_folder(folder, folder.name)


def _kind_of_file(path: Path) -> Kind | None:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if path.name in ("POSCAR", "OUTCAR") or any(suffix in FRAMES for suffix in suffixes):
        return "structures"
    return "molecules" if any(suffix in MOLECULES for suffix in suffixes) else None


_ROWS = re.compile(r"(?P<name>.+):(?P<column>[^:=/]+)=(?P<value>[^=]*)")


def _is_there(name: str) -> bool:
    return name.startswith(PREFIX) or Path(name).expanduser().exists() or bool(glob.glob(name))


def _unknown(name: str, key: str) -> FileNotFoundError:
    known = ", ".join(each for each in groups()["data"] if (section_of(each) or {}).get("path"))
    return FileNotFoundError(
        f"{key}={name}: no such file, folder, pattern, corpus, store or run, and no set of this name. Sets "
        f"are {known}."
    )


def rows_chosen(name: str) -> tuple[str, tuple[str, str] | None]:
    """A name without the rows that it chooses, and these: ``moses:SPLIT=test``.

    Args:
        name: as a person gave it; what exists as it stands chooses none.
    """
    found = None if _is_there(name) else _ROWS.fullmatch(name)
    return (found["name"], (found["column"], found["value"])) if found else (name, None)


def section_of(name: str) -> dict[str, Any] | None:
    """The section ``data`` of an option of ``data=``; None where there is no such option.

    Args:
        name: of the option.
    """
    if name not in groups()["data"]:
        return None
    composed: Any = OmegaConf.to_container(OmegaConf.create({"data": _composed(name)}), resolve=True)
    return dict(composed["data"])


def _composed(name: str) -> dict[str, Any]:
    """Keys of an option and of those that it is built on, in plain values; paths are not resolved yet."""
    own: Any = OmegaConf.to_container(OmegaConf.load(CONFIG_DIRECTORY / "data" / f"{name}.yaml"))
    bases = [base for base in own.pop("defaults", []) if base != "_self_"]
    found: dict[str, Any] = {}
    for base in bases:
        found |= _composed(str(base))
    return {key: None if value == "???" else value for key, value in (found | own).items()}


def molecules_named(
    name: str,
    key: str,
    column: str | int | None = None,
    *,
    trained_on: bool = False,
    column_key: str = "data.exclude_column",
) -> MoleculeSet:
    """The molecules that a name means.

    Args:
        name: a file, folder or pattern, ``hf://datasets/…``, a corpus, a run, an address of one of these in
            an object store, or an option of ``data=``; behind files or an option, ``:COLUMN=VALUE`` takes the
            rows with that value only.
        key: by which it was given, for messages.
        column: of files: name or number (from 0) of the column of molecules; None to find it.
        trained_on: take only the training part of a corpus, and of a run the very molecules of its training.
        column_key: by which a column is given, for messages.

    Raises:
        FileNotFoundError: it means nothing, or a set that is not here.
        OverlapError: a run whose corpus is not here, or a set of structures.
        SourceError: a file is refused.
        CorpusError: a corpus is.
        StoreError: an object store does not answer.
    """
    place = on_this_disk(name, key)
    if (run := run_named(place)) is not None:
        corpus, first = corpus_of(run)
        if corpus is None:
            raise OverlapError(
                f"{key}={name}: the corpus that this run was trained on is not here: name it, or its files."
            )
        return CorpusMolecules(name, corpus, ("train",), first)
    if (Path(place) / MANIFEST).is_file():
        return CorpusMolecules(name, Path(place), ("train",) if trained_on else SPLITS)
    delimiter = encoding = None
    path, where = rows_chosen(place)
    if where is not None and (run_named(path) or (Path(path) / MANIFEST).is_file()):
        raise OverlapError(f"{key}={name}: rows are chosen of files only; a corpus has no columns any more.")
    if not _is_there(path):
        section = section_of(path)
        if section is None:
            raise _unknown(name, key)
        if not section.get("path") or "smiles_column" not in section:
            raise OverlapError(f"{key}={name}: the set holds no file of molecules.")
        path, delimiter, encoding = section["path"], section.get("delimiter"), section.get("encoding")
        column = section["smiles_column"] if column is None else column
        refuse_missing(path, key)
    local = local_path(path, key)
    try:
        files = find_files(local)[0]
    except FileNotFoundError:
        raise FileNotFoundError(f"{key}={name}: {path} is not there.") from None
    try:
        return MoleculeFiles(name, files, column, delimiter, encoding, where)
    except SourceError as error:
        raise SourceError(str(error).replace("data.smiles_column", column_key)) from None


def parent_named(name: str) -> str:
    """Model that a run was fine-tuned from, whose own data are not the run's; empty where there is none.

    Args:
        name: as a person gave it.
    """
    run = run_named(name)
    return parent_of(run) if run is not None else ""
