"""Values and scaffolds of the molecules of one bucket, after duplicates are gone.

Descriptors and scaffolds follow from the molecule. A number of a column belongs to the rows: of several rows
of one molecule the median is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from rdkit import Chem

from chemscale.common.files import atomic_path, write_array
from chemscale.molecules.descriptors import descriptor, scaffold
from chemscale.molecules.preparation.conditions.request import ConditionRequest
from chemscale.molecules.preparation.standardize import ANY_LENGTH, Molecule, Rejected, standardize

UNKNOWN = -1
"""The length of a scaffold that is not known."""


def condition_scaffold(molecule: Chem.Mol) -> str | None:
    """Canonical scaffold as a corpus has it; empty without a ring, None where RDKit makes none.

    Args:
        molecule: any molecule.
    """
    try:
        found = scaffold(molecule)
    except (ValueError, RuntimeError):
        return None
    return _standard(found) if found else ""


@lru_cache(maxsize=1 << 16)
def _standard(smiles: str) -> str | None:
    found = standardize(smiles, ANY_LENGTH)
    return found.smiles if isinstance(found, Molecule) else None


def measure_bucket(
    path: Path,
    request: ConditionRequest,
    smiles: Sequence[str],
    cells: tuple[np.ndarray, np.ndarray],
    encode: Callable[[str], list[str] | Rejected],
    vocabulary: dict[str, int],
    is_known: Callable[[str], bool],
) -> None:
    """Write values and scaffolds of the molecules of a bucket beside it, not yet binned.

    Args:
        path: array of the bucket.
        request: which conditions.
        smiles: (n,) canonical, in the order of the bucket.
        cells: numbers of the columns, as ``merge_rows`` gives them.
        encode: symbols of a canonical SMILES in the notation of the corpus.
        vocabulary: of the bucket; symbols of scaffolds are added.
        is_known: whether a symbol may be used: a given vocabulary may lack some.
    """
    values = np.full((len(smiles), len(request.values)), np.nan)
    tokens: list[int] = []
    lengths = np.full(len(smiles), UNKNOWN, dtype=np.int64)
    for place, text in enumerate(smiles):
        molecule = Chem.MolFromSmiles(text)
        for column, name in enumerate(request.values):
            is_column = name in request.columns
            values[place, column] = (
                cells[0][place, request.columns.index(name)] if is_column else _value(name, molecule)
            )
        if request.scaffold:
            symbols = _symbols(condition_scaffold(molecule), encode)
            if symbols is not None and all(map(is_known, symbols)):
                lengths[place] = len(symbols)
                tokens += [vocabulary.setdefault(symbol, len(vocabulary)) for symbol in symbols]
    write_array(path.with_suffix(".values.npy"), values)
    write_array(path.with_suffix(".differing.npy"), cells[1])
    if request.scaffold:
        write_array(path.with_suffix(".scaffold-lengths.npy"), lengths)
        with atomic_path(path.with_suffix(".scaffolds")) as temporary:
            temporary.write_bytes(np.asarray(tokens, dtype="<u2").tobytes())


def _symbols(smiles: str | None, encode: Callable[[str], list[str] | Rejected]) -> list[str] | None:
    found = encode(smiles) if smiles else ([] if smiles == "" else None)
    return None if isinstance(found, Rejected) else found


def _value(name: str, molecule: Chem.Mol) -> float:
    try:
        value = float(descriptor(name).of(molecule))
    except (ValueError, RuntimeError, ZeroDivisionError):
        return math.nan
    return value if math.isfinite(value) else math.nan


def merge_rows(
    smiles: Sequence[str],
    rows: Iterable[tuple[str, int]],
    numbers: Mapping[int, Sequence[float]],
    columns: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The number of each molecule: the median of its rows.

    Args:
        smiles: (n,) canonical, of the molecules that are kept.
        rows: canonical SMILES and number of every row, duplicates too.
        numbers: of each row, NaN where a cell holds none.
        columns: how many.

    Returns:
        (n, columns) float64, NaN where no row holds a number; and (columns,) how many molecules have several
        that differ.
    """
    if not columns:
        return np.empty((len(smiles), 0)), np.zeros(0, dtype=np.int64)
    rows_of: dict[str, list[int]] = {text: [] for text in smiles}
    for text, row in rows:
        if text in rows_of:
            rows_of[text].append(row)
    out = np.full((len(smiles), columns), np.nan)
    differing = np.zeros(columns, dtype=np.int64)
    for place, text in enumerate(smiles):
        measured = np.array([numbers[row] for row in rows_of[text]])
        for column in range(columns):
            known = measured[~np.isnan(measured[:, column]), column]
            if len(known):
                out[place, column] = np.median(known)
                differing[column] += known.min() < known.max()
    return out, differing
