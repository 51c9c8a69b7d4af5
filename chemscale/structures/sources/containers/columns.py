"""Tables of structures, one a row: Parquet, Arrow (folders of `datasets`) and JSON lines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from chemscale.common.logs import brief
from chemscale.common.tables.arrow import ArrowTable
from chemscale.structures.blocks import Block, SourceError, no_forces
from chemscale.structures.sources.base import NOT_STATED, Reader, formula, to_numbers
from chemscale.structures.sources.electrons import charge_and_spin, is_electron_name
from chemscale.structures.sources.labels import LabelKeys, Place
from chemscale.structures.units import Units

SUFFIXES = (".parquet", ".pq", ".arrow", ".feather", ".jsonl", ".ndjson")
MAX_FRAMES = 512
"""Frames of a block, and of what is read at a time, at most."""
MAX_LINE = 64 << 20
"""Bytes of a line of JSON at most."""
NUMBERS = ("atomic_numbers", "numbers", "z", "species", "elements", "symbols")
POSITIONS = ("positions", "pos", "coordinates", "coords", "R")
ENERGY = ("REF_energy", "energy", "total_energy", "E", "U0")
FORCES = ("REF_forces", "forces", "force", "atomic_forces", "F")
CELL, PERIODIC = ("cell", "lattice"), "pbc"
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)


class ColumnFile(Reader):
    """Structures of a Parquet, Arrow or JSON lines file, one a row, in file order; eV and Å unless given.

    Columns are found by their names, upper or lower case: atomic numbers or symbols, positions (n, 3) or
    flat, an energy, forces, and where there are any a cell, ``pbc``, total charge and multiplicity. Missing
    labels (null) are NaN.

    Args:
        path: the file.
        level: level of theory, for the manifest.
        units: eV and Å unless given.
        keys: names of the columns of energy and forces, in place of the usual ones.

    Raises:
        SourceError: no such file, a damaged one, or one without these columns; the message names those there.
    """

    def __init__(
        self,
        path: str | Path,
        level: str | None = None,
        units: Units | None = None,
        keys: LabelKeys | None = None,
    ):
        super().__init__(path, level or NOT_STATED, units or Units())
        self.kind = "columns"
        given = keys or LabelKeys()
        names = self._names()
        self.numbers = self._find(names, NUMBERS, "atomic numbers")
        self.positions = self._find(names, POSITIONS, "positions")
        self.energy = self._label(names, "energy", given.energy, ENERGY)
        self.forces = self._label(names, "forces", given.forces, FORCES)
        if not (self.energy or self.forces):
            raise SourceError(
                f"{self.path}: no column is an energy or forces; there are {_listed(names)}. Give "
                "data.energy_key and data.forces_key."
            )
        self.cell = next((name for name in names if name.lower() in CELL), None)
        self.pbc = next((name for name in names if name.lower() == PERIODIC), None)
        self.electrons = [name for name in names if is_electron_name(name)]
        self.places = [Place(f"{self.energy or ''}/{self.forces or ''}", self.energy, self.forces, "arrays")]
        if units is None:
            self.note("Tables state no units: eV and Å were taken. data.units says others.")

    def blocks(self) -> Iterator[Block]:
        """Every row, in file order, in bounded memory; eV and Å.

        Raises:
            SourceError: a row that is no structure; the message names it.
        """
        held: list[dict[str, Any]] = []
        for row, values in enumerate(self._rows()):
            frame = self._frame(row, values)
            alike = held and np.array_equal(held[0]["numbers"], frame["numbers"])
            if held and (not alike or held[0]["periodic"] != frame["periodic"] or len(held) == MAX_FRAMES):
                yield self._join(held)
                held = []
            held.append(frame)
        if held:
            yield self._join(held)

    def total(self) -> int | None:
        """Rows of the file, where its metadata has their number."""
        with self._damage():
            return None if self._is_json or not self._is_parquet else self._open().metadata.num_rows

    def _frame(self, row: int, values: dict[str, Any]) -> dict[str, Any]:
        try:
            raw = values.get(self.numbers)
            if raw is None or values.get(self.positions) is None:
                raise ValueError("its atoms are missing")
            numbers = to_numbers(np.asarray(raw).reshape(-1))
            positions = _numbers(values[self.positions]).reshape(len(numbers), 3)
            energy = _numbers(values.get(self.energy or ""), 1)
            forces = values.get(self.forces or "")
            forces = no_forces(positions) if forces is None else _numbers(forces).reshape(positions.shape)
            cell = values.get(self.cell or "")
            cell = np.zeros((3, 3)) if cell is None else _cell(_numbers(cell))
            pbc = values.get(self.pbc or "")
            pbc = np.full(3, bool(cell.any())) if pbc is None else np.resize(np.asarray(pbc, bool), 3)
            stated = {name: values[name] for name in self.electrons if values.get(name) is not None}
            electrons = charge_and_spin(SimpleNamespace(info=stated, arrays={}, calc=None))
        except SourceError as error:
            raise SourceError(f"{self.path}, row {row}: {error}") from None
        except (ValueError, TypeError, OverflowError) as error:
            raise SourceError(
                f"{self.path}, row {row}: no structure with its labels ({brief(error)})."
            ) from None
        return {
            "row": row,
            "numbers": numbers,
            "positions": positions,
            "energy": energy[0],
            "forces": forces,
            "cell": cell,
            "pbc": pbc,
            "periodic": bool(pbc.any()),
            "electrons": np.asarray(electrons),
        }

    def _join(self, frames: list[dict[str, Any]]) -> Block:
        units, periodic = self.conversion, frames[0]["periodic"]
        column = {key: np.stack([frame[key] for frame in frames]) for key in frames[0] if key != "numbers"}
        return self.block(
            name=formula(frames[0]["numbers"]),
            numbers=frames[0]["numbers"],
            positions=column["positions"] * units.to_angstrom,
            energies=column["energy"] * units.to_ev,
            forces=column["forces"] * units.to_ev_per_angstrom,
            rows=column["row"],
            charges=column["electrons"][:, 0],
            spins=column["electrons"][:, 1],
            cells=column["cell"] * units.to_angstrom if periodic else None,
            pbc=column["pbc"] if periodic else None,
        )

    def _find(self, names: Sequence[str], usual: Sequence[str], what: str) -> str:
        for name in usual:
            for there in names:
                if there.lower() == name.lower():
                    return there
        raise SourceError(
            f"{self.path}: no column is called {' or '.join(usual)} ({what}): there are {_listed(names)}."
        )

    def _label(self, names: Sequence[str], kind: str, given: str | None, usual: Sequence[str]) -> str | None:
        if given is not None and given not in names:
            raise SourceError(
                f"{self.path}: data.{kind}_key={given}: no column is called so, but {_listed(names)}."
            )
        lower = {name.lower(): name for name in reversed(names)}
        return given or next((lower[name.lower()] for name in usual if name.lower() in lower), None)

    # --- what the file holds ---

    def _names(self) -> list[str]:
        if self._is_json:
            return list(next(self._json_rows(), {}))
        with self._damage():
            return list(self._open().schema_arrow.names if self._is_parquet else self._open().schema.names)

    def _rows(self) -> Iterator[dict[str, Any]]:
        if self._is_json:
            yield from self._json_rows()
            return
        wanted = [
            self.numbers,
            self.positions,
            self.energy,
            self.forces,
            self.cell,
            self.pbc,
            *self.electrons,
        ]
        names = list(dict.fromkeys(name for name in wanted if name))
        row = 0
        for batch in self._batches(names):
            with self._damage(row):
                columns = [_per_row(batch.column(batch.schema.names.index(name))) for name in names]
            for values in zip(*columns, strict=True):
                yield dict(zip(names, values, strict=True))
            row += batch.num_rows

    def _batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        with self._damage():
            file = self._open()
            if self._is_parquet:
                yield from file.iter_batches(batch_size=MAX_FRAMES, columns=names)
                return
            yield from file.batches(names, MAX_FRAMES)

    def _open(self) -> Any:
        if self._is_parquet:
            return parquet.ParquetFile(self.path)
        return ArrowTable(pa.memory_map(str(self.path)))

    @property
    def _is_json(self) -> bool:
        return self.path.suffix.lower() in (".jsonl", ".ndjson")

    @property
    def _is_parquet(self) -> bool:
        return self.path.suffix.lower() in (".parquet", ".pq")

    def _json_rows(self) -> Iterator[dict[str, Any]]:
        with open(self.path, "rb") as file:
            for number in itertools.count(1):
                line = file.readline(MAX_LINE + 1)
                if not line:
                    return
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise SourceError(
                        f"{self.path}, line {number}: not JSON ({brief(error)}); one structure a line."
                    ) from None
                if not isinstance(value, dict):
                    raise SourceError(f"{self.path}, line {number}: no object of names and values.")
                yield value

    def _damage(self, row: int | None = None) -> _Damage:
        return _Damage(f"{self.path}" if row is None else f"{self.path}, rows from {row}")


class _Damage:
    """What Arrow raises within, as an error that names the file."""

    def __init__(self, where: str):
        self.where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, DAMAGE):
            raise SourceError(
                f"{self.where}: damaged, or no Parquet or Arrow file ({brief(error)})."
            ) from None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) or "none"


def _cell(values: np.ndarray) -> np.ndarray:
    return np.diag(values) if values.size == 3 else values.reshape(3, 3)


def _numbers(values: Any, size: int | None = None) -> np.ndarray:
    """Values as flat numbers; NaN where there are none."""
    if values is None:
        return np.full(size or 0, np.nan)
    numbers = np.asarray(values, dtype=np.float64).reshape(-1)
    if size is not None and numbers.size != size:
        raise ValueError(f"{numbers.size} numbers where {size} belongs")
    return numbers


def _per_row(column: pa.Array) -> Any:
    """Value of each row: a flat array of lists of any depth, or a scalar; None where it is missing."""
    whole = column
    offsets = np.arange(len(column) + 1)
    while True:
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        elif column.null_count:
            return whole.to_pylist()
        elif pa.types.is_fixed_size_list(column.type):
            offsets, column = offsets * column.type.list_size, column.flatten()
        elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            here = column.offsets.to_numpy()
            offsets, column = here[offsets] - here[0], column.flatten()
        else:
            break
    if column is whole:
        return column.to_pylist()
    values = column.to_numpy(zero_copy_only=False)
    return [values[a:b] for a, b in itertools.pairwise(offsets)]
