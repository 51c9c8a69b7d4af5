"""Molecules from a trained model, from the request to the file: ``generate``."""

from __future__ import annotations

import functools
import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from chemscale.common.parallel import ordered_map
from chemscale.common.progress import ProgressBar
from chemscale.models.chemgpt import ChemGPT
from chemscale.molecules.conditions import describe_request, prefix_ids
from chemscale.molecules.conditions.achieved import achieved
from chemscale.molecules.conditions.asking import Value
from chemscale.molecules.generation.counts import Counts, Seen
from chemscale.molecules.generation.decoding import Row, decode
from chemscale.molecules.generation.drawing import Batch, Batches
from chemscale.molecules.generation.files import check_output, write_molecules
from chemscale.molecules.generation.request import TRIES, Request
from chemscale.molecules.generation.sampling import Sampling
from chemscale.molecules.generation.table import Rows, schema
from chemscale.molecules.loading import load_trained
from chemscale.molecules.tokenizers.opening import AnyTokenizer

log = logging.getLogger(__name__)

MAX_COMPARED = 10_000
"""Molecules whose conditions are computed again, to tell what was achieved."""


@dataclass
class Generated:
    """What a generation gave.

    Args:
        n: molecules that were asked for.
        counts: of what was drawn and kept, that of interrupted attempts included.
        scaffold: SMILES of the scaffold; None where none was asked for.
        out: file that was written; None if none.
        left_out: rows that its format cannot hold.
        table: SMILES, the text that was written, valid, truncated, nll (nats), nats_per_heavy_atom, and
            contains_scaffold where there is one; None where a file was written.
        rate: sequences drawn a second by this process; None where it had none left to draw.
        conditions: lines on what was asked for by conditions, and on what was achieved.
    """

    n: int
    counts: Counts
    scaffold: str | None
    out: Path | None
    left_out: int
    table: pa.Table | None
    rate: float | None
    conditions: list[str]

    @property
    def complete(self) -> bool:
        """Whether as many molecules were kept as were asked for."""
        return self.counts.kept >= self.n

    def summary(self) -> list[str]:
        """Lines on validity, uniqueness, truncation, the scaffold, what was kept, and speed."""
        c = self.counts
        lines = [
            f"valid      {_share(c.valid, c.drawn)}  (RDKit reads what was decoded)",
            f"unique     {_share(c.unique, c.valid)} of the valid",
            f"truncated  {_share(c.truncated, c.drawn)}",
        ]
        if self.scaffold is not None:
            lines.append(
                f"scaffold   {_share(c.with_scaffold, c.valid)} of the valid contain {self.scaffold}"
            )
        lines += self.conditions
        if c.kept != c.drawn:
            lines.append(f"kept       {_share(c.kept, c.drawn)} of the drawn")
        if self.rate is not None:
            lines.append(f"speed      {self.rate:,.3g} molecules/s")
        if self.left_out:
            lines.append(f"left out   {self.left_out:,} rows that are no molecule: CSV and Parquet hold them")
        if not self.complete:
            lines.append(
                f"Only {c.kept:,} of {self.n:,} were found in {c.drawn:,} sequences: allow more (--tries), "
                "or ask for fewer."
            )
        return lines


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}" + (f" ({100 * part / whole:.1f} %)" if whole else "")


def generate(
    run: Path | str,
    n: int = 1000,
    *,
    out: Path | str | None = None,
    prompt: str | Sequence[str] = (),
    scaffold: str | None = None,
    condition: Mapping[str, Value] | None = None,
    start_ids: Sequence[int] = (),
    forbid: Sequence[str] = (),
    max_heavy_atoms: int | None = None,
    max_rings: int | None = None,
    min_length: int = 0,
    valid: bool = False,
    unique: bool = False,
    tries: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    max_length: int = 512,
    batch: int = 256,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32",
    workers: int = 1,
    progress: bool = True,
) -> Generated:
    """Draw molecules from a trained model, and count how many are valid and unique.

    A row is a function of the request and the number of its batch. With `out`, rows lie in ``OUT.parts``
    until the file is whole: the same call again goes on where an interrupted one stopped, and writes the same
    file.

    Args:
        run: directory of a finished point, RUNS/SWEEP/NAME, or a folder with a model.
        n: molecules.
        out: .csv, .smi, .parquet or .sdf to write, never overwritten; None to return the table.
        prompt: what molecules begin with, in the model's notation or as SMILES; several in turns.
        scaffold: SMILES to decorate: molecules begin with it and grow from each of its different atoms, or
            from those marked by ``*``.
        condition: what is asked of a model that was trained with conditions: a number by the name of each, a
            SMILES for ``scaffold``; those that are not named are left open.
        start_ids: more ids between the begin symbol and the molecule; no part of it.
        forbid: symbols that must not be written, such as ``[Br]``.
        max_heavy_atoms: at most; None for any number.
        max_rings: at most; None for any number.
        min_length: symbols at least, the end not counted.
        valid: keep valid molecules only, until there are n.
        unique: keep the first of equal molecules only, and so valid ones only, until there are n.
        tries: sequences to draw at most, to whole batches; None for n, or 20·n where not all are kept.
        temperature: 1 is the model's own distribution.
        top_k: only so many likeliest symbols; 0 for all.
        top_p: only the likeliest symbols that together have this probability.
        max_length: symbols at most, the end included.
        batch: sequences drawn together; a part of what decides the rows.
        seed: of random numbers.
        device: cpu, cuda, cuda:N, or auto.
        precision: 32, or bf16.
        workers: processes that decode; 1 is this one, which is enough unless a GPU draws.
        progress: whether it is shown.

    Raises:
        ConditionError: a condition that the model was not trained with, or a value that it cannot have.
        ValueError: a setting out of range, a symbol that the model lacks, no model there, or a file that
            exists.
    """
    sampling = Sampling(temperature, top_k, top_p, max_length, precision)
    request = Request(
        n=n,
        sampling=sampling,
        prompt=(prompt,) if isinstance(prompt, str) else tuple(prompt),
        scaffold=scaffold,
        start_ids=tuple(start_ids),
        forbid=tuple(forbid),
        max_heavy_atoms=max_heavy_atoms,
        max_rings=max_rings,
        min_length=min_length,
        valid=valid,
        unique=unique,
        batch=batch,
        seed=seed,
    )
    if tries is not None and tries < 1:
        raise ValueError(f"--tries {tries}: must be at least 1.")
    path = None if out is None else Path(out)
    if path is not None:
        check_output(path)
    model, tokenizer = load_trained(Path(run), device)
    asked = condition or {}
    request = replace(request, start_ids=(*prefix_ids(tokenizer, asked), *request.start_ids))
    batches = Batches(model, tokenizer, request)
    columns = schema(tokenizer.representation.notation, scaffold=scaffold is not None)
    rows = Rows(columns, path, {} if path is None else _identity(model, tokenizer.hash, request))
    limit = tries if tries is not None else TRIES * n if request.filters else n
    decoder = functools.partial(decode, tokenizer, scaffold=batches.scaffold)
    counts, rate = _collect(batches, decoder, rows, limit, workers, progress)
    conditions = [*describe_request(tokenizer, asked), *_achieved(tokenizer, asked, rows)]
    left_out = 0
    if path is not None:
        left_out = write_molecules(path, rows.tables(), columns)
        rows.remove()
    table = pa.concat_tables(rows.tables()).replace_schema_metadata(None) if path is None else None
    found = None if batches.scaffold is None else batches.scaffold.smiles
    return Generated(n, counts, found, path, left_out, table, rate, conditions)


def _identity(model: ChemGPT, tokenizer: str, request: Request) -> dict[str, object]:
    """What decides the rows of a file; moving the model elsewhere does not change it."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().data)
    device = model.token_embedding.weight.device.type
    return {**request.to_dict(), "weights": digest.hexdigest(), "tokenizer": tokenizer, "device": device}


def _achieved(tokenizer: AnyTokenizer, asked: Mapping[str, Value], rows: Rows) -> list[str]:
    """Lines on the conditions of the first valid molecules, beside what was asked for."""
    if not asked:
        return []
    smiles: list[str] = []
    for table in rows.tables():
        pairs = zip(table["SMILES"].to_pylist(), table["valid"].to_pylist(), strict=True)
        smiles += [text for text, valid in pairs if valid]
        if len(smiles) >= MAX_COMPARED:
            break
    return [f"achieved   {found}" for found in achieved(tokenizer, asked, smiles[:MAX_COMPARED])]


def _collect(
    batches: Batches,
    decoder: functools.partial[list[Row]],
    rows: Rows,
    limit: int,
    workers: int,
    progress: bool,
) -> tuple[Counts, float | None]:
    """Draw until enough are kept or the limit is reached; go on behind what shards hold."""
    request, counts, seen = batches.request, Counts(), Seen()
    for smiles, earlier in rows.restored():
        seen.add(smiles)
        counts = earlier
    drawn, begin = counts.drawn, time.monotonic()
    bar = ProgressBar("generate", request.n, "molecules", silent=not progress)
    bar.start(counts.kept)
    # Decoders may be several batches behind, so what is drawn is known before what is kept.
    finished = ordered_map(decoder, _tasks(batches, counts, limit), workers)
    try:
        while counts.kept < request.n and (found := next(finished, None)) is not None:
            new = iter(seen.add(row.smiles for row in found if row.valid))
            fresh = [row.valid and next(new) for row in found]
            kept = [
                row
                for row, is_new in zip(found, fresh, strict=True)
                if is_new or (not request.unique and (row.valid or not request.valid))
            ][: request.n - counts.kept]
            counts = replace(counts)
            counts.add(found, fresh)
            counts.kept += len(kept)
            rows.add(kept, counts)
            bar.update(counts.kept)
    except KeyboardInterrupt:
        if rows.shards is not None:
            log.info("Interrupted; the same command goes on behind %s molecules.", f"{counts.kept:,}")
        raise
    finally:
        bar.stop()
        finished.close()
        rows.flush()
    seconds = time.monotonic() - begin
    return counts, (counts.drawn - drawn) / max(seconds, 1e-9) if counts.drawn > drawn else None


def _tasks(batches: Batches, counts: Counts, limit: int) -> Iterator[Batch]:
    """Batches behind those that were counted, up to the limit."""
    request, drawn, number = batches.request, counts.drawn, counts.batches
    while drawn < limit:
        size = request.batch if request.filters else min(request.batch, request.n - drawn)
        if size < 1:
            return
        yield batches.draw(number, size)
        drawn, number = drawn + size, number + 1
