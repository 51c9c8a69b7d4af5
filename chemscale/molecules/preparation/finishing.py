"""Stage 3 of a corpus build: one vocabulary, the shards, the list of dropped rows, and last the manifest."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.common.files import write_json
from chemscale.common.progress import ProgressBar
from chemscale.molecules.corpus import MANIFEST, SPLITS, CorpusError, corpus_hash
from chemscale.molecules.preparation.conditions.binning import conditioned_tokenizer, describe_conditions
from chemscale.molecules.preparation.conditions.columns import ColumnReader
from chemscale.molecules.preparation.conditions.request import ConditionValueError
from chemscale.molecules.preparation.dropped import write_dropped_table
from chemscale.molecules.preparation.request import Request, content_key
from chemscale.molecules.preparation.shards import ShardWriter, validation_limit, write_bucket
from chemscale.molecules.preparation.sharing.work import FINISH, Alone
from chemscale.molecules.preparation.sources import Reading
from chemscale.molecules.preparation.stages import Sources, bucket_path
from chemscale.molecules.tokenizers.opening import AnyTokenizer, tokenizer_of


@dataclass(frozen=True)
class Rows:
    """All rows of a preparation, once they were read.

    Args:
        reading: the files.
        columns: numbers of columns that are conditions, read in step.
        count: of the rows.
        parts: of stage 1.
    """

    reading: Reading
    columns: ColumnReader
    count: int
    parts: int


def finish(
    request: Request,
    content: dict[str, Any],
    target: Path,
    rows: Rows,
    sources: Sources,
    buckets: int,
    work: Alone,
) -> None:
    """Make the corpus of what the stages before have left.

    Args:
        request: what decides the corpus.
        content: of it, for the manifest.
        target: folder of the corpus.
        rows: that were read.
        sources: what stage 1 has left.
        buckets: number of them.
        work: of this process in the build.

    Raises:
        CorpusError: too few molecules are left.
        ConditionValueError: a condition does not tell molecules apart.
        OSError: a file cannot be written, or another process has taken this one for dead.
    """
    staged = work.staging(target)
    try:
        manifest = _write(request, content, target, rows, sources, buckets, staged)
    except (CorpusError, ConditionValueError) as error:
        work.give_up(target, error)
        raise
    work.check()  # a corpus that is complete may be in use: its files are not replaced
    if staged != target:
        for path in sorted(staged.iterdir()):
            os.replace(path, target / path.name)
    if not work.holds(FINISH):  # who has taken it over may have removed some before they were moved
        raise OSError(errno.ESTALE, "another process has taken over the shards", str(staged))
    write_json(target / MANIFEST, manifest)


def _write(
    request: Request,
    content: dict[str, Any],
    target: Path,
    rows: Rows,
    sources: Sources,
    buckets: int,
    out: Path,
) -> dict[str, Any]:
    """Write all files of the corpus but its manifest, which is returned."""
    folder = sources.folder
    by_row = [path.with_suffix(".dropped") for path in sources.paths()]
    paths = [bucket_path(folder, number) for number in range(buckets)]
    # In the folder of the build, where nothing half written stays.
    table = (folder if out == target else out) / "dropped.csv.gz"
    by_hash = [path.with_suffix(".dropped") for path in paths]
    dropped, examples = write_dropped_table(table, by_row, by_hash, rows.reading.place)
    table.replace(out / table.name)
    if sum(dropped.values()) == rows.count:
        raise _too_few(rows.count, 0, dropped)
    tokenizer = request.tokenizer or _tokenizer(paths, request)
    limit = validation_limit(folder, buckets, request.validation_fraction)
    described = {}
    if request.conditions:
        tokenizer = conditioned_tokenizer(tokenizer, paths, limit, request.conditions)
        about = describe_conditions(paths, tokenizer.conditions, request.conditions, rows.columns.notes)
        described = {"condition_values": about}
    writers = {split: ShardWriter(out, split, prefixes=bool(request.conditions)) for split in SPLITS}
    with ProgressBar("shards", buckets, "buckets") as progress:
        for path in paths:
            write_bucket(path, tokenizer, limit, writers)
            progress.advance(1)
    shards = [shard for split in SPLITS for shard in writers[split].close()]
    counts = {split: writers[split].molecules for split in SPLITS}
    kept = sum(counts.values())
    if min(counts.values()) == 0:
        raise _too_few(rows.count, kept, dropped)
    tokenizer.save(out)
    return {
        **content,
        "key": content_key(content),
        "corpus_hash": corpus_hash(tokenizer, shards),
        "counts": {"rows": rows.count, "kept": kept, **counts, "dropped": dropped},
        "examples": examples,
        **described,
        "sources": rows.reading.describe(),
        "without_rows": rows.reading.without_rows,
        "splits": {split: writers[split].totals() for split in SPLITS},
        "vocabulary": tokenizer.vocab_size,
        "shards": shards,
    }


def _too_few(rows: int, kept: int, dropped: dict[str, int]) -> CorpusError:
    reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.items()) or "none"
    return CorpusError(f"Of {rows} rows {kept} molecules are left (dropped: {reasons}): too few to train on.")


def _tokenizer(paths: list[Path], request: Request) -> AnyTokenizer:
    """The tokenizer of all symbols that occur in any bucket."""
    symbols: set[str] = set()
    for path in paths:
        symbols.update(json.loads(path.with_suffix(".vocabulary").read_text()))
    return tokenizer_of(symbols, request.notation, stereo=request.policy.stereo == "keep")
