"""Files of generated SMILES that are mostly no molecules, which no reader of molecules would take for one."""

from __future__ import annotations

import csv
from pathlib import Path

from chemscale.molecules.preparation.sources.columns import rank
from chemscale.molecules.preparation.sources.source import LISTS
from chemscale.molecules.preparation.sources.streams import entries, open_text, text_encoding

WRITTEN, TRUNCATED = "SELFIES", "truncated"
"""Columns of what ``chemscale.generate`` writes, beside SMILES."""
DELIMITERS = {"csv": ",", "tsv": "\t", "tab": "\t", "txt": ","}
Row = tuple[str, str | None, bool | None]
"""Text of the molecule, SELFIES as generated and whether it was truncated, None where that is not known."""


def mostly_invalid(path: Path, column: str | None) -> list[Row] | None:
    """Rows of a file whose name or header says that it holds SMILES; None where neither does.

    Args:
        path: of the file.
        column: name of the column; None for one that is named as SMILES are.
    """
    found = entries(path)
    if len(found) != 1 or found[0].kind not in (*LISTS, *DELIMITERS):
        return None
    entry = found[0]
    encoding = text_encoding(entry, None)
    if entry.kind in LISTS:
        with open_text(entry, encoding) as file:
            return [(line.split()[0], None, None) for line in file if line.strip()] or None
    with open_text(entry, encoding) as file:
        rows = csv.reader(file, delimiter=DELIMITERS[entry.kind])
        names = [name.strip() for name in next(rows, [])]
        chosen = [i for i, name in enumerate(names) if name == column or (not column and rank(name) <= 1)]
        if len(chosen) != 1:
            return None

        def cell(row: list[str], name: str) -> str | None:
            at = names.index(name) if name in names else len(row)
            return row[at].strip() if at < len(row) else None

        found_rows: list[Row] = []
        for row in rows:
            if any(text.strip() for text in row):
                cut = cell(row, TRUNCATED)
                truncated = None if cut is None else cut.lower() in ("1", "true")
                text = row[chosen[0]].strip() if chosen[0] < len(row) else ""
                found_rows.append((text, cell(row, WRITTEN), truncated))
        return found_rows or None
