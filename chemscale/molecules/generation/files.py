"""Generated molecules as CSV, SMILES, Parquet or SDF; the suffix of the file says which."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rdkit import Chem
from rdkit.Chem import rdDepictor

from chemscale.common.files import atomic_path


class OutputError(ValueError):
    """A file that cannot be written, or that exists."""


def check_output(path: Path) -> None:
    """Refuse a file before anything is drawn.

    Args:
        path: where the molecules are to be written.

    Raises:
        OutputError: the suffix is not known, the file exists, or its folder cannot be one.
    """
    if path.suffix not in WRITERS:
        raise OutputError(f"{path}: end its name in one of {', '.join(WRITERS)}; that decides the format.")
    if path.exists():
        raise OutputError(f"{path} exists: choose another --out or remove it.")
    folder = next(each for each in path.absolute().parents if each.exists())
    if not folder.is_dir():
        raise OutputError(f"{path}: {folder} is a file, not a folder.")


def write_molecules(path: Path, tables: Iterable[pa.Table], columns: pa.Schema) -> int:
    """Write all rows, whole or not at all; an existing file is not replaced.

    Args:
        path: of the file; its suffix is one of ``WRITERS``.
        tables: of the rows.
        columns: of each.

    Returns:
        Rows that were left out: a SMILES file and an SDF hold molecules only.

    Raises:
        OutputError: the file came there meanwhile.
    """
    try:
        with atomic_path(path, overwrite=False) as temporary:
            return WRITERS[path.suffix](temporary, tables, columns)
    except FileExistsError:
        raise OutputError(
            f"{path} exists by now: move it away; the same command then writes these rows there."
        ) from None


def _csv(path: Path, tables: Iterable[pa.Table], columns: pa.Schema) -> int:
    """Truth as 1 and 0, what is not known as nothing."""
    numbers = pa.schema([pa.field(f.name, pa.int8() if f.type == pa.bool_() else f.type) for f in columns])
    options = pyarrow.csv.WriteOptions(quoting_style="needed", quoting_header="none")
    with pyarrow.csv.CSVWriter(path, numbers, write_options=options) as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(None).cast(numbers))
    return 0


def _parquet(path: Path, tables: Iterable[pa.Table], columns: pa.Schema) -> int:
    with pq.ParquetWriter(path, columns) as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(None))
    return 0


def _smiles(path: Path, tables: Iterable[pa.Table], columns: pa.Schema) -> int:
    """A molecule a line, and the number of its row behind a tab."""
    number = left_out = 0
    with open(path, "w", encoding="utf-8") as file:
        for table in tables:
            for smiles in table["SMILES"].to_pylist():
                number += 1
                left_out += not smiles
                if smiles:
                    file.write(f"{smiles}\t{number}\n")
    return left_out


def _sdf(path: Path, tables: Iterable[pa.Table], columns: pa.Schema) -> int:
    """Molecules laid out in a plane, titled by the number of their row; other columns are properties."""
    number = left_out = 0
    with Chem.SDWriter(str(path)) as writer:
        for table in tables:
            for row in table.to_pylist():
                number += 1
                if not row["valid"]:
                    left_out += 1
                    continue
                molecule = Chem.MolFromSmiles(row["SMILES"])
                rdDepictor.Compute2DCoords(molecule)
                molecule.SetProp("_Name", str(number))
                for name, value in row.items():
                    if value is not None:
                        molecule.SetProp(name, str(int(value) if isinstance(value, bool) else value))
                writer.write(molecule)
    return left_out


WRITERS: dict[str, Callable[[Path, Iterable[pa.Table], pa.Schema], int]] = {
    ".csv": _csv,
    ".smi": _smiles,
    ".parquet": _parquet,
    ".sdf": _sdf,
}
"""By suffix."""
