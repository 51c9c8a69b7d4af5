"""Rows of a table through a model in windows: bounded memory, shards that continue, results in order."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from chemscale.common.parallel import ordered_map, worker_count
from chemscale.common.progress import ProgressBar
from chemscale.models.chemgpt import ChemGPT
from chemscale.molecules.representation.encoding import STEREO, Chunk, Encoded, Encoder, encode_chunk
from chemscale.molecules.representation.states import length_batches
from chemscale.molecules.representation.table import MoleculeTable
from chemscale.molecules.row_shards import RowShards

log = logging.getLogger(__name__)

WINDOW, LARGE_WINDOW = 4096, 512
"""Rows of a window, which is what an interruption loses at most; the second for large models."""
LARGE_MODEL = 50_000_000
TOKENS = {"cpu": 4096, "cuda": 65_536}
"""Symbols of a flat batch, by the kind of device."""
OWN = ("row", "input", "SMILES", "symbols", "heavy_atoms", "reason")
"""Names of our columns; a kept column of such a name is called file_NAME."""
SHOWN = 500
"""Characters of an input that are written beside its result."""

Compute = Callable[[list[np.ndarray], Callable[[int], None]], np.ndarray]
"""Values of molecules from their ids, along the first axis; it tells of every batch that is done."""
Columns = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, Any]]
"""Columns of a window, from the values, which rows have one, and the heavy atoms of all rows."""


class Memory:
    """Tables of windows that are kept and not written, with the interface of ``RowShards``."""

    def __init__(self) -> None:
        self.done = self.rows = 0
        self.tables: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        """Add one window."""
        self.tables.append(table)
        self.done += 1
        self.rows += table.num_rows

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The windows, one after another."""
        yield from (table.select(list(columns)) if columns else table for table in self.tables)


@dataclass(frozen=True)
class Pass:
    """One model over one table.

    Args:
        title: for the progress.
        encoder: of the model.
        compute: values of molecules.
        columns: of a window.
        window: rows of it.
        workers: processes that encode.
    """

    title: str
    encoder: Encoder
    compute: Compute
    columns: Columns
    window: int
    workers: int


def window_of(model: ChemGPT) -> int:
    """Rows of a window."""
    large = model.config.parameter_counts()["all"] > LARGE_MODEL
    return LARGE_WINDOW if large else WINDOW


def workers_of(asked: int | None, model: ChemGPT, rows: int) -> int:
    """Processes that encode: none beside this one for few rows, or where the model needs the cores itself.

    Args:
        asked: by the user; None if not.
        model: the language model.
        rows: of the table.
    """
    if asked is not None:
        return asked
    on_cpu = model.token_embedding.weight.device.type == "cpu"
    return 1 if on_cpu or rows <= 4 * WINDOW else worker_count(None)


def tokens_of(asked: int | None, model: ChemGPT) -> int:
    """Symbols of a flat batch.

    Args:
        asked: by the user; None if not.
        model: the language model.
    """
    return asked or TOKENS[model.token_embedding.weight.device.type]


def weights_hash(model: ChemGPT) -> str:
    """SHA-256 of the names and the bytes of a model's weights."""
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def in_batches(
    function: Callable[[list[np.ndarray]], torch.Tensor],
    sequences: list[np.ndarray],
    tokens: int,
    tell: Callable[[int], None],
) -> np.ndarray:
    """A function of flat batches over many molecules, in their order.

    Args:
        function: one row a molecule.
        sequences: ids of each.
        tokens: of a batch.
        tell: called with the number of molecules that were done.
    """
    out: np.ndarray | None = None
    for members in length_batches([len(each) for each in sequences], tokens):
        with torch.inference_mode():
            values = function([sequences[i] for i in members]).cpu().numpy()
        if out is None:
            out = np.empty((len(sequences), *values.shape[1:]), dtype=values.dtype)
        out[members] = values
        tell(len(members))
    assert out is not None
    return out


def run_pass(table: MoleculeTable, rows: int, sink: RowShards | Memory, what: Pass, silent: bool) -> None:
    """Compute all windows that the sink has not got.

    Args:
        table: the molecules.
        rows: of it.
        sink: takes a table a window.
        what: the model and what is computed.
        silent: show no progress.
    """
    chunks = (Chunk(what.encoder, rows) for rows in table.chunks(what.window, sink.done))
    progress = ProgressBar(what.title, rows, "molecules", silent=silent)
    progress.start(sink.rows)
    try:
        for encoded in ordered_map(encode_chunk, chunks, what.workers):
            there = np.array([ids is not None for ids in encoded.ids])
            sequences = [ids for ids in encoded.ids if ids is not None]
            values = what.compute(sequences, progress.advance) if sequences else None
            progress.advance(int((~there).sum()))
            sink.write(_window(table, encoded, there, values, what.columns))
    except KeyboardInterrupt:
        if isinstance(sink, RowShards):
            log.info("Interrupted: %d rows are kept in %s; the same command goes on.", sink.rows, sink.folder)
        raise
    finally:
        progress.stop()


def _window(
    table: MoleculeTable, encoded: Encoded, there: np.ndarray, values: np.ndarray | None, columns: Columns
) -> pa.Table:
    given = [row.text[:SHOWN] if row.notation != "molblock" else "" for row in encoded.rows]
    text: dict[str, Any] = {"row": pa.array([row.number for row in encoded.rows], pa.int64())}
    for i, name in enumerate(table.names):
        own = name in OWN or name in text
        text[f"file_{name}" if own else name] = pa.array([row.kept[i] for row in encoded.rows], pa.string())
    sizes = [None if ids is None else len(ids) for ids in encoded.ids]
    heavy = np.asarray(encoded.heavy_atoms)
    text["input"] = pa.array(given, pa.string())
    text["SMILES"] = pa.array([smiles or None for smiles in encoded.smiles], pa.string())
    text["symbols"] = pa.array(sizes, pa.int32())
    text["heavy_atoms"] = pa.array(heavy, pa.int32(), mask=~there)
    empty = np.empty(0, dtype=np.float32)
    text |= columns(empty if values is None else values, there, heavy)
    text["reason"] = pa.array([reason or None for reason in encoded.reasons], pa.string())
    return pa.table(text)


@dataclass
class Counts:
    """What became of the rows of a table.

    Args:
        rows: all.
        done: that have a result.
        reasons: number of rows without one, by the reason.
        examples: the first row of each reason: its number and the whole reason.
        without_stereo: rows whose stereo the model does not know, and that have a result without it.
    """

    rows: int = 0
    done: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    examples: dict[str, tuple[int, str]] = field(default_factory=dict)
    without_stereo: int = 0

    @classmethod
    def of(cls, tables: Iterable[pa.Table], stereo: bool) -> Counts:
        """Count the rows of a result.

        Args:
            tables: its parts, with row, input and reason.
            stereo: whether the model knows stereo.
        """
        out = cls()
        for table in tables:
            columns = (table[name].to_pylist() for name in ("row", "input", "reason"))
            for row, text, reason in zip(*columns, strict=True):
                out._add(row, text, reason, stereo)
        return out

    def _add(self, row: int, text: str, reason: str | None, stereo: bool) -> None:
        self.rows += 1
        if reason is None:
            self.done += 1
            self.without_stereo += not stereo and any(mark in text for mark in STEREO)
            return
        kind = reason.split(":")[0]
        self.reasons[kind] = self.reasons.get(kind, 0) + 1
        self.examples.setdefault(kind, (row, reason))

    def lines(self, done: str) -> list[str]:
        """What a person is told.

        Args:
            done: what the rows with a result are, such as "scored".
        """
        out = [f"{done}  {self.done:,} of {self.rows:,} rows"]
        for kind, count in sorted(self.reasons.items(), key=lambda item: (-item[1], item[0])):
            row, reason = self.examples[kind]
            out.append(
                f"  not {count:,}: {kind} (first in row {row}{': ' + reason if reason != kind else ''})"
            )
        if self.without_stereo:
            out.append(f"  {self.without_stereo:,} without their stereo, for which this model has no symbols")
        return out


def request_of(
    verb: str, model: ChemGPT, encoder: Encoder, table: tuple[int, str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """What decides every row of a result, so that an interrupted one is continued by the same alone.

    Args:
        verb: score or embed.
        model: the language model.
        encoder: of it.
        table: number of rows, and their hash.
        options: of the verb.
    """
    return {
        "verb": verb,
        "model": weights_hash(model),
        "tokenizer": encoder.tokenizer.hash,
        "as_written": encoder.as_written,
        "molecules": table[1],
        "rows": table[0],
        "window": window_of(model),
        **options,
    }
