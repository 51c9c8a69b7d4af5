"""The two verbs: ``score`` tells the likelihood of given molecules, ``embed`` gives a vector for each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from chemscale.models.chemgpt import ChemGPT
from chemscale.molecules.likelihood import sequence_nll
from chemscale.molecules.loading import load_trained
from chemscale.molecules.representation.encoding import Encoder, longest_molecule
from chemscale.molecules.representation.output import (
    EMBEDDING,
    OutputError,
    assemble,
    check_output,
    shards_beside,
    vector_column,
    vectors,
)
from chemscale.molecules.representation.states import check_pooling, layer_number, pooled_states
from chemscale.molecules.representation.stream import (
    Columns,
    Compute,
    Counts,
    Memory,
    Pass,
    in_batches,
    request_of,
    run_pass,
    tokens_of,
    window_of,
    workers_of,
)
from chemscale.molecules.representation.table import MoleculeTable
from chemscale.molecules.row_shards import RowShards
from chemscale.molecules.tokenizers.opening import AnyTokenizer

SCORES = (".csv", ".parquet")
EMBEDDINGS = (".npy", ".parquet", ".csv")
DTYPES = {"float32": np.float32, "float16": np.float16}
QUANTILES = (0.05, 0.5, 0.95)
COUNTED = ("row", "input", "reason")
QUANTILE_ROWS = 4_000_000
MIN_SPREAD = 20
"""Molecules from which on 5 and 95 % mean something."""

Molecules = str | Path | Sequence[str]
"""A file, a folder, a pattern, or SMILES in a sequence."""


@dataclass(frozen=True)
class Scores:
    """Likelihoods of the rows of a table.

    Args:
        table: row, kept columns, input, SMILES, symbols, heavy_atoms, nats, nats_per_heavy_atom, reason; None
            where it was written to a file.
        counts: what became of the rows.
        quantiles: of nats and of nats_per_heavy_atom, at 5, 50 and 95 %, of the rows with a score (of every
            k-th one where there are more than four million).
        seconds: that this call took.
        computed: rows of this call; others were there from an earlier one.
    """

    table: pa.Table | None
    counts: Counts
    quantiles: dict[str, tuple[float, ...]]
    seconds: float
    computed: int

    def summary(self) -> list[str]:
        """Lines for a person."""
        out = self.counts.lines("scored")
        for name, values in self.quantiles.items():
            low, middle, high = values
            spread = f", 90 % between {low:.3f} and {high:.3f}" if self.counts.done >= MIN_SPREAD else ""
            out.append(f"{name.replace('_', ' '):20s} median {middle:.3f}{spread}")
        return [*out, _rate(self.computed, self.seconds)]


@dataclass(frozen=True)
class Embeddings:
    """Vectors of the rows of a table.

    Args:
        table: row, kept columns, input, SMILES, symbols, heavy_atoms, embedding, reason; None where it was
            written to a file.
        counts: what became of the rows.
        width: numbers of a vector.
        seconds: that this call took.
        computed: rows of this call; others were there from an earlier one.
    """

    table: pa.Table | None
    counts: Counts
    width: int
    seconds: float
    computed: int

    def matrix(self) -> np.ndarray:
        """(rows, D) of all rows, in order; NaN where a row has none.

        Raises:
            OutputError: they were written to a file.
        """
        if self.table is None:
            raise OutputError("These embeddings are in the file that they were written to: read it.")
        return vectors(self.table)

    def summary(self) -> list[str]:
        """Lines for a person."""
        out = self.counts.lines("embedded")
        return [*out, f"width     {self.width}", _rate(self.computed, self.seconds)]


def _rate(rows: int, seconds: float) -> str:
    return f"speed     {rows / max(seconds, 1e-9):,.0f} molecules/s ({rows:,} in {seconds:.1f} s)"


def score(
    run: str | Path,
    molecules: Molecules,
    out: str | Path | None = None,
    *,
    column: str | int | None = None,
    keep: str | Sequence[str] | None = None,
    as_written: bool = False,
    batch: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Scores:
    """Negative log-likelihood of anyone's molecules under a trained model, in nats.

    For a molecule of symbols s₁ … sₙ it is −Σ ln p(sᵢ | s₁ … sᵢ₋₁) over the symbols and the end, at
    temperature 1, of its canonical spelling: the loss of training. A model of conditions reads them all left
    open before it. A molecule that the model cannot read has
    a reason and no number. Neither the order of the rows, nor batch, nor workers change a number beyond
    rounding.

    Args:
        run: a finished point, RUNS/SWEEP/NAME, or a model folder.
        molecules: a file of SMILES or SELFIES (CSV, SMI, Parquet, SDF, JSON, compressed or not), a folder, a
            pattern, or SMILES in a sequence.
        out: CSV or Parquet to write; it must not exist. What an interrupted call left is continued. None: the
            table is in memory only.
        column: of the molecules, by name or number from 0; None to find it.
        keep: columns that are kept beside the results; "all", "none", or None for those that look like
            identifiers.
        as_written: score the spelling of the file, not the canonical one.
        batch: symbols at a time; None for what suits the device.
        workers: processes that read molecules; None for what suits the device.
        device: cpu, cuda, cuda:N, or auto.
        progress: show a progress bar.

    Returns:
        The table, where it was not written, and counts.

    Raises:
        ValueError: no such model, file or column, or `out` exists.
    """
    model, tokenizer, table = _open(run, molecules, out, SCORES, column, keep, device)
    encoder = Encoder.of(tokenizer, longest_molecule(Path(run), model.config), as_written)
    compute = _nats_of(model, tokens_of(batch, model), encoder.start)
    begin = time.monotonic()
    sink, computed = _compute(
        "score", model, encoder, table, out, {}, compute, _score_columns, workers=workers, silent=not progress
    )
    counts, quantiles = Counts.of(sink.read(COUNTED), encoder.stereo), _quantiles(sink)
    whole = _finish(sink, out)
    return Scores(whole, counts, quantiles, time.monotonic() - begin, computed)


def embed(
    run: str | Path,
    molecules: Molecules,
    out: str | Path | None = None,
    *,
    pooling: str = "mean",
    layer: int = -1,
    dtype: str = "float32",
    column: str | int | None = None,
    keep: str | Sequence[str] | None = None,
    as_written: bool = False,
    batch: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Embeddings:
    """One vector for each of anyone's molecules: hidden states of a trained model, pooled over its symbols.

    Neither the order of the rows, nor batch, nor workers, nor any padding change a number beyond rounding. A
    molecule that the model cannot read has a reason and no vector (NaN in a matrix).

    Args:
        run: a finished point, RUNS/SWEEP/NAME, or a model folder.
        molecules: a file, a folder or a pattern as for ``score``, or SMILES in a sequence.
        out: .npy (with .rows.csv beside it), .parquet or .csv to write; it must not exist. What an
            interrupted call left is continued. None: the table is in memory only.
        pooling: mean | last | max, over the symbols without begin and end.
        layer: 0 for the embeddings to the number of blocks; negative numbers count from the last.
        dtype: float32 or float16.
        column: of the molecules, by name or number from 0; None to find it.
        keep: columns that are kept beside the results, as for ``score``.
        as_written: embed the spelling of the file, not the canonical one.
        batch: symbols at a time; None for what suits the device.
        workers: processes that read molecules; None for what suits the device.
        device: cpu, cuda, cuda:N, or auto.
        progress: show a progress bar.

    Returns:
        The table, where it was not written, and counts; ``matrix()`` is the array.

    Raises:
        ValueError: no such model, file, column, layer, pooling or dtype, or `out` exists.
    """
    if dtype not in DTYPES:
        raise OutputError(f"dtype={dtype}: choose {' or '.join(DTYPES)}.")
    check_pooling(pooling)
    model, tokenizer, table = _open(run, molecules, out, EMBEDDINGS, column, keep, device)
    number, kind = layer_number(model, layer), DTYPES[dtype]
    encoder = Encoder.of(tokenizer, longest_molecule(Path(run), model.config), as_written)
    compute = _states_of(model, tokens_of(batch, model), number, pooling, kind, encoder.start)

    def columns(values: np.ndarray, there: np.ndarray, heavy: np.ndarray) -> dict[str, Any]:
        matrix = values if there.any() else np.empty((0, model.config.width), dtype=kind)
        return {EMBEDDING: vector_column(matrix, there)}

    options = {"pooling": pooling, "layer": number, "dtype": dtype}
    begin = time.monotonic()
    sink, computed = _compute(
        "embed", model, encoder, table, out, options, compute, columns, workers=workers, silent=not progress
    )
    counts = Counts.of(sink.read(COUNTED), encoder.stereo)
    whole = _finish(sink, out)
    return Embeddings(whole, counts, model.config.width, time.monotonic() - begin, computed)


def _nats_of(model: ChemGPT, tokens: int, start: Sequence[int]) -> Compute:
    end = np.array([model.config.eos_id])

    def nats(sequences: list[np.ndarray]) -> Tensor:
        whole = [np.concatenate([each, end]).tolist() for each in sequences]
        return sequence_nll(model, whole, start=start)

    return lambda sequences, tell: in_batches(nats, sequences, tokens, tell)


def _score_columns(values: np.ndarray, there: np.ndarray, heavy: np.ndarray) -> dict[str, Any]:
    nats = np.zeros(len(there), dtype=np.float32)
    nats[there] = values
    each = (nats / np.maximum(heavy, 1)).astype(np.float32)
    return {"nats": pa.array(nats, mask=~there), "nats_per_heavy_atom": pa.array(each, mask=~there)}


def _states_of(
    model: ChemGPT, tokens: int, layer: int, pooling: str, kind: Any, start: Sequence[int]
) -> Compute:
    def states(sequences: list[np.ndarray]) -> Tensor:
        return pooled_states(model, sequences, layer=layer, pooling=pooling, start=start)

    return lambda sequences, tell: _narrowed(in_batches(states, sequences, tokens, tell), kind)


def _open(
    run: str | Path,
    molecules: Molecules,
    out: str | Path | None,
    kinds: tuple[str, ...],
    column: str | int | None,
    keep: str | Sequence[str] | None,
    device: str,
) -> tuple[ChemGPT, AnyTokenizer, MoleculeTable]:
    """The model and the table; cheap refusals first."""
    if out is not None:
        check_output(Path(out), kinds)
    table = MoleculeTable(molecules, column, keep)
    model, tokenizer = load_trained(Path(run), device)
    return model, tokenizer, table


def _compute(
    verb: str,
    model: ChemGPT,
    encoder: Encoder,
    table: MoleculeTable,
    out: str | Path | None,
    options: dict[str, Any],
    compute: Compute,
    columns: Columns,
    *,
    workers: int | None,
    silent: bool,
) -> tuple[RowShards | Memory, int]:
    """A complete table, and how many rows of it this call computed."""
    rows, content = table.survey()
    if not rows:
        raise OutputError("There is no molecule: the file or the list is empty.")
    sink: RowShards | Memory = Memory()
    if out is not None:
        request = request_of(verb, model, encoder, (rows, content), options | {"columns": table.names})
        sink = RowShards.open(shards_beside(Path(out)), request)
    before = sink.rows
    what = Pass(verb, encoder, compute, columns, window_of(model), workers_of(workers, model, rows))
    run_pass(table, rows, sink, what, silent)
    return sink, sink.rows - before


def _finish(sink: RowShards | Memory, out: str | Path | None) -> pa.Table | None:
    if isinstance(sink, Memory):
        return pa.concat_tables(sink.tables)
    assemble(sink, Path(str(out)))
    return None


def _narrowed(values: np.ndarray, kind: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        narrow = values.astype(kind)
    if not np.isfinite(narrow).all():
        raise OutputError(
            "A state of this model does not fit into float16 (65,504 at most): choose dtype float32, or the "
            "last layer, which is normalised."
        )
    return narrow


def _quantiles(sink: RowShards | Memory) -> dict[str, tuple[float, ...]]:
    """Of every k-th row where there are more than a few million: memory stays bounded."""
    out: dict[str, tuple[float, ...]] = {}
    every = -(-sink.rows // QUANTILE_ROWS)
    for name in ("nats", "nats_per_heavy_atom"):
        parts = [table[name].drop_null().to_numpy()[::every] for table in sink.read([name])]
        values = np.concatenate(parts)
        if len(values):
            out[name] = tuple(float(v) for v in np.quantile(values, QUANTILES))
    return out
