"""Which molecules were trained on: sorted 64-bit hashes on the disk, 8 bytes a molecule.

10⁸ molecules take 0.8 GB, mapped into memory and not read into it. Of 10⁴ molecules that are not among 10⁸,
one is taken for known with a probability of 10⁴ · 10⁸ / 2⁶⁴ = 5·10⁻⁸. The same hash orders a corpus, so that
its nested subset of n molecules are the n lowest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import rdBase

from chemscale.common.files import atomic_write, write_json
from chemscale.common.locks import file_lock
from chemscale.common.parallel import ordered_map
from chemscale.common.paths import cache_folder
from chemscale.common.progress import ProgressBar
from chemscale.molecules.corpus import MANIFEST, Corpus
from chemscale.molecules.metrics.novelty.tasks import (
    CHUNK,
    SAMPLE,
    CorpusTask,
    RowsTask,
    hash_chunk,
    kept_below,
    part_path,
)
from chemscale.molecules.preparation.sources import Reading, SourceError
from chemscale.molecules.preparation.sources.files import find_files
from chemscale.molecules.preparation.stages import molecule_hash

SCHEMA_VERSION = 1
HASHES, SMILES, DESCRIPTION = "hashes.bin", "sample.smi", "index.json"
BUCKET_BYTES = 256 << 20
"""Hashes that are sorted in memory at a time."""


class IndexBuildError(ValueError):
    """A reference that no index can be made of; the message names the file and the way out."""


@dataclass(frozen=True)
class MoleculeIndex:
    """Known molecules; made by ``open_index``.

    Args:
        folder: of the index.
        hashes: (n,) sorted, memory-mapped.
        description: content of ``index.json``.
    """

    folder: Path
    hashes: np.ndarray
    description: dict[str, Any]

    def __len__(self) -> int:
        return len(self.hashes)

    def known(self, smiles: Sequence[str], first: int | None = None) -> np.ndarray:
        """Whether each molecule is in the index, (n,).

        Args:
            smiles: canonical.
            first: only among the so many of the lowest hashes, which are a corpus's nested subset.
        """
        hashes = self.hashes if first is None else self.hashes[:first]
        wanted = np.array([molecule_hash(text) for text in smiles], dtype=np.uint64)
        if not len(hashes):
            return np.zeros(len(wanted), dtype=bool)
        order = np.argsort(wanted)  # neighbours lie on the same pages
        places = np.empty(len(wanted), dtype=np.int64)
        places[order] = np.searchsorted(hashes, wanted[order])
        inside = places < len(hashes)
        return inside & (hashes[np.minimum(places, len(hashes) - 1)] == wanted)

    def sample(self, most: int) -> list[str]:
        """Canonical SMILES of at most so many, a random sample of the distinct molecules, always the same.

        Args:
            most: how many.
        """
        with open(self.folder / SMILES) as file:
            return [line.rstrip("\n") for _, line in zip(range(most), file, strict=False)]

    @property
    def refused(self) -> dict[str, int]:
        """Rows that are no molecules, by reason."""
        return dict(self.description["refused"])


@dataclass(frozen=True)
class Reference:
    """Where known molecules come from: files, or a part of a prepared corpus.

    Args:
        path: a file, a folder, a pattern, or the folder of a corpus.
        column: of files: name or number of the column of molecules; None to find it.
        split: of a corpus: train or validation; None for files.
    """

    path: Path
    column: str | None = None
    split: str | None = None

    @classmethod
    def of(cls, path: Path | str, column: str | None = None, split: str = "train") -> Reference:
        """What a person named.

        Args:
            path: of files, or of a corpus.
            column: of files.
            split: of a corpus.
        """
        path = Path(path)
        return cls(path, None, split) if (path / MANIFEST).is_file() else cls(path, column)

    def __str__(self) -> str:
        return f"{self.path} ({self.split})" if self.split else str(self.path)

    def files(self) -> list[Path]:
        """The files, where it is not a corpus.

        Raises:
            IndexBuildError: there is none.
        """
        try:
            return find_files(str(self.path))[0]
        except FileNotFoundError:
            raise IndexBuildError(
                f"{self.path}: no such file, folder or pattern of molecules to compare with."
            ) from None

    def identity(self) -> dict[str, Any]:
        """What decides the index, as plain values."""
        common = {"schema_version": SCHEMA_VERSION, "rdkit": rdBase.rdkitVersion}
        if self.split:
            return common | {"corpus": Corpus.open(self.path).hash, "split": self.split}
        files = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self.files()]
        return common | {"files": [list(file) for file in files], "column": self.column}

    def folder(self) -> Path:
        """Where its index lies: in a corpus, beside a file, or in the cache where that is read-only."""
        if self.split:
            beside = self.path / f"index-{self.split}"
        else:
            name = self.path.name.replace("*", "_").replace("?", "_") or "molecules"
            beside = self.path.parent / f"{name}.index"
        parent = next(p for p in beside.absolute().parents if p.exists())
        if beside.exists() or os.access(parent, os.W_OK):
            return beside
        key = hashlib.sha256(str(beside.absolute()).encode()).hexdigest()[:12]
        return cache_folder() / "indices" / f"{beside.name}-{key}"

    def size(self) -> int:
        """Molecules of a corpus's split."""
        return len(getattr(Corpus.open(self.path), str(self.split)))

    def is_indexed(self) -> bool:
        """Whether its index is there already."""
        return _open(self.folder(), json.loads(json.dumps(self.identity()))) is not None

    def tasks(self, folder: Path) -> tuple[Iterator[RowsTask | CorpusTask], int | None]:
        """Tasks of a build, and the number of rows where it is known.

        Args:
            folder: of the parts.

        Raises:
            SourceError: a file is refused.
            CorpusError: the corpus is.
        """
        if self.split:
            size = self.size()
            starts = enumerate(range(0, size, CHUNK))
            return (
                CorpusTask(number, self.path, str(self.split), (start, min(size, start + CHUNK)), folder)
                for number, start in starts
            ), size
        try:
            chunks = Reading(self.files(), self.column).chunks(CHUNK)
        except SourceError as error:
            said = str(error).replace("data.smiles_column", "--reference-column")
            raise SourceError(f"{said} (It is what the molecules are compared with.)") from None
        return (RowsTask(number, rows, folder) for number, rows in chunks), None


def open_index(
    reference: Reference, *, folder: Path | None = None, workers: int = 1, silent: bool = False
) -> MoleculeIndex:
    """The index of a reference: built once, continued where a build was interrupted, then only opened.

    Args:
        reference: the molecules.
        folder: of the index; None for its usual place.
        workers: processes of a build.
        silent: show no progress.

    Raises:
        IndexBuildError: there are no molecules.
        SourceError: a file is refused.
        CorpusError: the corpus is.
    """
    folder = folder or reference.folder()
    identity = json.loads(json.dumps(reference.identity()))
    found = _open(folder, identity)
    if found is None:
        with file_lock(folder.with_name(f".{folder.name}.lock")):
            found = _open(folder, identity)  # another process may have built it meanwhile
            if found is None:
                _build(reference, folder, identity, workers, silent)
                found = _open(folder, identity)
    assert found is not None
    return found


def _open(folder: Path, identity: dict[str, Any]) -> MoleculeIndex | None:
    """The index in a folder; None where there is none, or one of other molecules."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
    except (OSError, ValueError):
        return None
    file = folder / HASHES
    if description.get("identity") != identity or not file.is_file():
        return None
    if file.stat().st_size != 8 * description["molecules"]:
        return None
    hashes = np.memmap(file, dtype="<u8", mode="r") if description["molecules"] else np.empty(0, "<u8")
    return MoleculeIndex(folder, hashes, description)


def _build(reference: Reference, folder: Path, identity: dict[str, Any], workers: int, silent: bool) -> None:
    parts = folder / ".parts"
    key = parts / "identity.json"
    if parts.exists() and (not key.exists() or json.loads(key.read_text()) != identity):
        shutil.rmtree(parts)
    tasks, total = reference.tasks(parts)  # a file is refused before anything is written
    parts.mkdir(parents=True, exist_ok=True)
    write_json(key, identity)
    rows = number = 0
    with ProgressBar(f"index {reference.path.name}", total, "rows", silent=silent) as progress:
        for done in ordered_map(hash_chunk, tasks, workers):
            rows, number = rows + done, number + 1
            progress.advance(done)
    refused = _refused(parts, number)
    molecules = _merge(parts, number, folder / HASHES)
    if not molecules:
        shutil.rmtree(parts)
        reasons = ", ".join(f"{count} {reason}" for reason, count in refused.items())
        raise IndexBuildError(f"{reference}: none of its {rows} rows is a molecule ({reasons or 'no row'}).")
    sampled = _sample(parts, number, folder / SMILES)
    content = {"identity": identity, "source": str(reference), "rows": rows, "molecules": molecules}
    write_json(folder / DESCRIPTION, content | {"refused": refused, "sampled": sampled})
    shutil.rmtree(parts)


def _merge(parts: Path, number: int, target: Path) -> int:
    """Write the hashes of all parts sorted and once each, a range of hashes at a time; how many there are."""
    loaded = [part_path(parts, n) for n in range(number)]
    total = sum(path.stat().st_size for path in loaded)
    buckets = 1 << (total // BUCKET_BYTES).bit_length()
    molecules = 0
    with atomic_write(target, "wb") as file:
        for bucket in range(buckets):
            low, high = (bucket << 64) // buckets, (((bucket + 1) << 64) // buckets) - 1
            pieces = [np.empty(0, dtype=np.uint64)]
            for path in loaded:
                with np.load(path) as part:
                    hashes = part["hashes"]
                begin, end = (
                    np.searchsorted(hashes, np.uint64(low)),
                    np.searchsorted(hashes, np.uint64(high), side="right"),
                )
                pieces.append(hashes[begin:end].copy())
            distinct = np.unique(np.concatenate(pieces))
            file.write(distinct.astype("<u8").tobytes())
            molecules += len(distinct)
    return molecules


def _refused(parts: Path, number: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for n in range(number):
        with np.load(part_path(parts, n)) as part:
            reasons = part["reasons"].tobytes().decode()
            counts.update(dict(zip(reasons.split("\n"), part["refused"].tolist(), strict=False)))
    return {reason: count for reason, count in counts.most_common() if reason}


def _sample(parts: Path, number: int, target: Path) -> int:
    """Write the SMILES of the lowest hashes that every part has kept; how many."""
    limit = kept_below(number - 1)
    found: dict[int, str] = {}
    for n in range(number):
        with np.load(part_path(parts, n)) as part:
            hashes, texts = part["hashes"], part["texts"].tobytes().decode().split("\n")
        below = hashes[: np.searchsorted(hashes, limit, side="right")]
        found |= dict(zip(map(int, below), texts, strict=False))
        if len(found) > 2 * SAMPLE:
            found = {h: found[h] for h in sorted(found)[:SAMPLE]}
    lowest = sorted(found)[:SAMPLE]
    with atomic_write(target) as file:
        file.writelines(f"{found[h]}\n" for h in lowest)
    return len(lowest)
