"""Anyone's file of molecules as numbered rows, with the columns that are kept beside the results."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chemscale.molecules.preparation.sources.files import find_files
from chemscale.molecules.preparation.sources.reading import Reading
from chemscale.molecules.preparation.sources.streams import SourceError

IDENTIFIER = re.compile(
    r".*id|(.*[_\W])?(names?|title|inchi[_ ]?key|key|code|cas|identifier|accession|index)", re.I
)
"""Names of columns that say which molecule a row is: these are kept unless others are asked for."""


@dataclass(frozen=True)
class MoleculeRow:
    """One row of a table.

    Args:
        number: from 1 over all files, the header not counted.
        text: of the cell of the molecule; empty where there is none.
        notation: smiles | selfies | molblock | ragged.
        kept: text of the columns that are kept.
    """

    number: int
    text: str
    notation: str
    kept: tuple[str, ...] = ()


class MoleculeTable:
    """Files of molecules, or molecules at hand, read row by row as often as needed.

    Args:
        molecules: a file, a folder, a pattern, or SMILES in a sequence.
        column: name or number (from 0) of the column of SMILES or SELFIES; None to find it.
        keep: names of columns that are kept; "all", "none", or None for those that identify a molecule by
            their name, or the name behind the SMILES of a list.

    Raises:
        SourceError: a file is refused, or a column to keep is not there.
        FileNotFoundError: nothing is there.
    """

    def __init__(
        self,
        molecules: str | Path | Sequence[str],
        column: str | int | None = None,
        keep: str | Sequence[str] | None = None,
    ):
        self.names: list[str] = []
        """Of the columns that are kept."""
        self.files: list[str] = []
        self._given: list[str] | None = None
        self._keys: list[list[int | str | None]] = []
        if not isinstance(molecules, str | Path):
            self._given = [str(text) for text in molecules]
            return
        try:
            self._reading = Reading(find_files(str(molecules))[0], column)
        except (SourceError, FileNotFoundError) as error:
            raise type(error)(as_options(str(error))) from None
        self.files = self._reading.names
        self._choose(keep)

    def rows(self) -> Iterator[MoleculeRow]:
        """All rows, in order.

        Raises:
            SourceError: a file turns out to be damaged, or a cell runs over lines.
        """
        if self._given is not None:
            for number, text in enumerate(self._given, start=1):
                yield MoleculeRow(number, text, "smiles")
            return
        number = 0
        try:
            for source, keys in zip(self._reading.sources, self._keys, strict=True):
                there = [key for key in keys if key is not None]
                for _, text, notation, cells in source.records(there):
                    number += 1
                    found = iter(cells)
                    kept = tuple("" if key is None else next(found) for key in keys)
                    yield MoleculeRow(number, text, notation, kept)
        except SourceError as error:
            raise SourceError(as_options(str(error))) from None

    def chunks(self, size: int, begin: int = 0) -> Iterator[list[MoleculeRow]]:
        """Rows in chunks.

        Args:
            size: of each but the last.
            begin: number of chunks that are passed over.
        """
        rows = itertools.islice(self.rows(), begin * size, None)
        while chunk := list(itertools.islice(rows, size)):
            yield chunk

    def survey(self) -> tuple[int, str]:
        """Read everything once: the number of rows, and a hash of all that is used of them.

        Damage shows here, before anything is computed.
        """
        digest, number = hashlib.sha256(), 0
        digest.update("\x1f".join(self.names).encode())
        for row in self.rows():
            number += 1
            line = "\x1f".join((row.text, row.notation, *row.kept)) + "\x1e"
            digest.update(line.encode("utf-8", "surrogatepass"))
        return number, digest.hexdigest()

    # --- which columns are kept ---

    def _choose(self, keep: str | Sequence[str] | None) -> None:
        there = [source.columns() for source in self._reading.sources]
        own = [source.choice.column for source in self._reading.sources]
        first = {name: key for name, key in there[0].items() if key != own[0]}
        if keep == "none":
            names: list[str] = []
        elif keep == "all":
            names = list(first)
        elif keep is None:
            named = self._reading.sources[0].choice.header or not all(name.isdigit() for name in first)
            names = [name for name in first if IDENTIFIER.fullmatch(name)] if named else list(first)[:1]
        else:
            names = [keep] if isinstance(keep, str) else list(keep)
            for file, columns in zip(self.files, there, strict=True):
                if missing := [name for name in names if name not in columns]:
                    raise SourceError(
                        f"{file}: no column {missing[0]!r}. Its columns are {', '.join(list(columns)[:20])}."
                    )
        self._keys = [[columns.get(name) for name in names] for columns in there]
        self.names = ["name" if name.isdigit() and keep is None else name for name in names]


def as_options(text: str) -> str:
    """Advice on keys of the configuration as advice on options of a command.

    Args:
        text: of an error.
    """
    text = text.replace("data.path=", "").replace("data.smiles_column=", "--column ")
    text = re.sub(r"(Say so|Name the encoding of the file) with data\.encoding=.*", "Save it as UTF-8.", text)
    return text.replace("data.smiles_column", "--column")
