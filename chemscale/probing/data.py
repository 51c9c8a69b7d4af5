"""A table of molecules with measured labels: several tasks, some labels missing, as MoleculeNet's are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chemscale.common.parallel import ordered_map
from chemscale.common.progress import ProgressBar
from chemscale.molecules.representation.encoding import Chunk, Encoder, encode_chunk
from chemscale.molecules.representation.table import IDENTIFIER, MoleculeTable

MISSING = {"", "nan", "na", "n/a", "null", "none", "?"}
KINDS = ("classification", "regression")
CHUNK = 1024


class ProbeError(ValueError):
    """Data that cannot be probed on, or an option that there is not."""


@dataclass(frozen=True)
class LabelledMolecules:
    """Molecules that the model can read, with their labels.

    Args:
        rows: (n,) number of each in the file, from 1.
        smiles: canonical.
        ids: of the symbols of each, without begin and end.
        tasks: T names.
        labels: (n, T), NaN where there is none.
        kind: classification (labels 0 and 1) | regression.
        total: rows of the file.
        reasons: number of rows that are left out, by the reason.
        content: hash of the table.
    """

    rows: np.ndarray
    smiles: list[str]
    ids: list[np.ndarray]
    tasks: list[str]
    labels: np.ndarray
    kind: str
    total: int
    reasons: dict[str, int]
    content: str

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def repeated(self) -> int:
        """Rows whose molecule stands in an earlier row too."""
        return len(self) - len(set(self.smiles))


def read_labelled(
    path: str | Path,
    encoder: Encoder,
    *,
    tasks: Sequence[str] | None = None,
    column: str | int | None = None,
    kind: str | None = None,
    workers: int = 1,
    silent: bool = True,
) -> LabelledMolecules:
    """Read a table of molecules and labels.

    Args:
        path: CSV, Parquet, SDF or another file with columns.
        encoder: of the model: molecules that it cannot read are left out, and counted.
        tasks: columns of labels; None for the only column of numbers, or all columns of 0 and 1.
        column: of the molecules, by name or number from 0; None to find it.
        kind: classification | regression; None to tell by the labels.
        workers: processes that read molecules.
        silent: show no progress.

    Raises:
        ValueError: a label is no number, no column can be the labels or several could, or a class is missing.
    """
    if kind not in (None, *KINDS):
        raise ProbeError(f"kind={kind}: choose {' or '.join(KINDS)}.")
    table = MoleculeTable(path, column, "all" if tasks is None else list(tasks))
    total, content = table.survey()
    names = table.names if tasks is not None else _found_tasks(table, path)
    at = [table.names.index(name) for name in names]
    rows, smiles, ids, labels = [], [], [], []
    reasons: dict[str, int] = {}
    chunks = (Chunk(encoder, part) for part in table.chunks(CHUNK))
    with ProgressBar("read", total, "molecules", silent=silent) as progress:
        for encoded in ordered_map(encode_chunk, chunks, workers):
            for i, row in enumerate(encoded.rows):
                values = [
                    _label(row.kept[k], f"{path}, row {row.number}, column {name}")
                    for k, name in zip(at, names, strict=True)
                ]
                reason = encoded.reasons[i] or ("no label" if all(map(math.isnan, values)) else "")
                if (found := encoded.ids[i]) is None or reason:
                    reasons[reason.split(":")[0]] = reasons.get(reason.split(":")[0], 0) + 1
                    continue
                rows.append(row.number)
                smiles.append(encoded.smiles[i])
                ids.append(found)
                labels.append(values)
            progress.advance(len(encoded.rows))
    matrix = np.asarray(labels, dtype=float).reshape(len(rows), len(names))
    chosen = _kind(matrix, names, kind, path)
    return LabelledMolecules(np.asarray(rows), smiles, ids, names, matrix, chosen, total, reasons, content)


def _label(text: str, where: str) -> float:
    if text.strip().lower() in MISSING:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise ProbeError(
            f"{where}: {text[:40]!r} is no number. Leave the cell empty where there is no "
            "label, or choose other columns with --task."
        )
    return value


def _found_tasks(table: MoleculeTable, path: str | Path) -> list[str]:
    """The only column of numbers, or all columns of 0 and 1 where there are no others of numbers."""
    numbers = {name: i for i, name in enumerate(table.names) if not IDENTIFIER.fullmatch(name)}
    values: dict[str, set[str]] = {name: set() for name in numbers}
    for row in table.rows():
        for name, i in list(numbers.items()):
            text = row.kept[i].strip()
            if text.lower() in MISSING:
                continue
            try:
                number = float(text)
            except ValueError:
                del numbers[name]
                continue
            values[name].add("01" if number in (0, 1) else "other")
    found = [name for name in numbers if values[name]]
    if len(found) == 1 or (found and all(values[name] == {"01"} for name in found)):
        return found
    listed = ", ".join(found[:12]) + (f" and {len(found) - 12} others" if len(found) > 12 else "")
    raise ProbeError(
        f"{path}: {f'columns {listed} hold numbers' if found else 'no column holds numbers'}, and nothing "
        "says which are the labels. Name them with --task NAME, once for each."
    )


def _kind(labels: np.ndarray, tasks: list[str], kind: str | None, path: str | Path) -> str:
    if not len(labels):
        raise ProbeError(f"{path}: no molecule that the model can read has a label.")
    binary = [bool(np.isin(column[~np.isnan(column)], (0, 1)).all()) for column in labels.T]
    if kind == "regression":
        return kind
    if kind == "classification" and not all(binary):
        raise ProbeError(f"{path}: {tasks[binary.index(False)]} has labels other than 0 and 1: no classes.")
    if any(binary) and not all(binary):
        raise ProbeError(
            f"{path}: {tasks[binary.index(True)]} is of classes and {tasks[binary.index(False)]} of numbers: "
            "probe them one after another with --task."
        )
    return KINDS[0] if all(binary) else KINDS[1]
