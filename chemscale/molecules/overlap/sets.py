"""Molecules that are compared: files as they are, or parts of a prepared corpus, in chunks of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from chemscale.common.hashes.remembered import file_sha256
from chemscale.molecules.corpus import SPLITS, Corpus, Split
from chemscale.molecules.preparation.notations import to_smiles
from chemscale.molecules.preparation.sources.reading import ChosenRows, Reading
from chemscale.molecules.preparation.standardize import ANY_LENGTH, Molecule, Rejected, standardize

CHUNK = 4096
"""Rows of a task: some seconds."""


@dataclass(frozen=True)
class FileRows:
    """Rows of files.

    Args:
        rows: their running number, text and notation.
    """

    rows: tuple[tuple[int, str, str], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def molecules(self) -> Iterator[tuple[int, str | Rejected]]:
        """Running number and canonical SMILES of each, or why there is none."""
        for number, text, notation in self.rows:
            yield number, _canonical(to_smiles(text, notation))


@dataclass(frozen=True)
class CorpusRows:
    """Molecules of a part of a corpus.

    Args:
        corpus: its folder.
        split: train or validation.
        first: place of the first one.
        end: place after the last one.
        before: molecules of the parts before it, by which running numbers are higher.
    """

    corpus: Path
    split: str
    first: int
    end: int
    before: int = 0

    def __len__(self) -> int:
        return self.end - self.first

    def molecules(self) -> Iterator[tuple[int, str | Rejected]]:
        """Running number from 1 and canonical SMILES of each, or why there is none."""
        corpus, split = _opened(self.corpus, self.split)
        for place in range(self.first, self.end):
            smiles = corpus.tokenizer.to_smiles(split.tokens(place).tolist())
            yield self.before + place + 1, _canonical(smiles)


def _canonical(text: str | Rejected) -> str | Rejected:
    result = text if isinstance(text, Rejected) else standardize(text, ANY_LENGTH)
    return result.smiles if isinstance(result, Molecule) else result


@lru_cache(maxsize=4)
def _opened(path: Path, split: str) -> tuple[Corpus, Split]:
    corpus = Corpus.open(path)
    return corpus, getattr(corpus, split)


class MoleculeFiles:
    """Molecules in files.

    Args:
        name: as a person named them.
        files: in order.
        column: name or number (from 0) of the column of molecules; None to find it.
        delimiter: between the cells of text files; None to find it.
        encoding: of text files; None to find it.
        where: name of a column, and the value that rows have there that are read; None for all rows.

    Raises:
        SourceError: a file is refused, or has no such column.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[Path],
        column: str | int | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        where: tuple[str, str] | None = None,
    ):
        self.name, self.files = name, tuple(map(Path, files))
        self.options: list[Any] = [column, delimiter, encoding, *([list(where)] if where else [])]
        self._reading = (
            Reading(self.files, column, delimiter, encoding)
            if where is None
            else ChosenRows(self.files, column, delimiter, encoding, where=where)
        )

    total: int | None = None
    """Rows, where they are known before they are read."""

    def identity(self) -> dict[str, Any]:
        """What it takes to tell whether the files are those of an earlier comparison."""
        stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        return {"files": [list(each) for each in stats], "options": self.options}

    def content(self) -> dict[str, Any]:
        """What decides the molecules, whenever and wherever the files lie."""
        files = [{"file": f.name, "sha256": file_sha256(f), "bytes": f.stat().st_size} for f in self.files]
        return {"files": files, "options": self.options}

    def chunks(self, size: int = CHUNK) -> Iterator[Rows]:
        """All rows, in bounded memory.

        Args:
            size: rows of a chunk.
        """
        for _, rows in self._reading.chunks(size):
            yield FileRows(tuple(rows))

    def place(self, number: int) -> tuple[str, int]:
        """File, and line in it from 1, of a row that was read.

        Args:
            number: running, from 1.
        """
        return self._reading.place(number)

    def describe(self) -> str:
        """How it was read, in a few words."""
        about = self._reading.describe()
        columns = list(dict.fromkeys(str(each["column"]) for each in about))
        more = f" and {len(self.files) - 1:,} more" if len(self.files) > 1 else ""
        return f"{self.files[0].name}{more}, column {', '.join(columns[:3])}"


class CorpusMolecules:
    """Molecules of a prepared corpus.

    Args:
        name: as a person named them.
        path: folder of the corpus.
        splits: train, validation or both.
        first: only so many molecules of the first of the splits; None for all.

    Raises:
        CorpusError: no corpus is there, or it has fewer.
    """

    def __init__(self, name: str, path: Path, splits: Sequence[str] = SPLITS, first: int | None = None):
        self.name, self.path, self.splits, self.first = name, Path(path), tuple(splits), first
        corpus = Corpus.open(self.path)
        self._hash = corpus.hash
        sizes = [len(getattr(corpus, split)) for split in self.splits]
        if first is not None:
            sizes[0] = len(getattr(corpus, self.splits[0]).prefix(first))
        self._sizes = sizes
        self.total: int | None = sum(sizes)

    def identity(self) -> dict[str, Any]:
        """What it takes to tell whether the corpus is that of an earlier comparison."""
        return {"corpus": self._hash, "splits": list(self.splits), "first": self.first}

    def content(self) -> dict[str, Any]:
        """What decides the molecules."""
        return self.identity()

    def chunks(self, size: int = CHUNK) -> Iterator[Rows]:
        """All molecules.

        Args:
            size: molecules of a chunk.
        """
        before = 0
        for split, of in zip(self.splits, self._sizes, strict=True):
            for first in range(0, of, size):
                yield CorpusRows(self.path, split, first, min(of, first + size), before)
            before += of

    def place(self, number: int) -> tuple[str, int]:
        """Part of the corpus, and place in it from 1, of a molecule.

        Args:
            number: running, from 1.
        """
        for split, of in zip(self.splits, self._sizes, strict=True):
            if number <= of:
                return f"{self.path.name}/{split}", number
            number -= of
        raise IndexError(number)

    def describe(self) -> str:
        """Which molecules these are, in a few words."""
        of = f" (the first {self.first:,})" if self.first is not None else ""
        return f"corpus {self.path.name}, {' and '.join(self.splits)}{of}"


MoleculeSet = MoleculeFiles | CorpusMolecules
Rows = FileRows | CorpusRows
