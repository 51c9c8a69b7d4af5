"""From files of SMILES to a corpus: byte-identical on any number of workers, resumable, in bounded memory."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import rdkit
import selfies

from chemscale.common.files import naming_place, write_json
from chemscale.common.locks import make_once
from chemscale.common.parallel import ordered_map, worker_count
from chemscale.common.progress import ProgressBar
from chemscale.molecules.corpus import (
    MANIFEST,
    SCHEMA_VERSION,
    SPLITS,
    Corpus,
    CorpusError,
    corpus_hash,
    sha256,
)
from chemscale.molecules.overlap.exclusion import Exclusion
from chemscale.molecules.preparation.conditions.binning import conditioned_tokenizer, describe_conditions
from chemscale.molecules.preparation.conditions.columns import ColumnReader
from chemscale.molecules.preparation.conditions.request import (
    ConditionRequest,
    ConditionValueError,
    check_tokenizer,
)
from chemscale.molecules.preparation.dropped import write_dropped_table
from chemscale.molecules.preparation.shards import ShardWriter, validation_limit, write_bucket
from chemscale.molecules.preparation.sources import Reading
from chemscale.molecules.preparation.stages import (
    Bucket,
    Chunk,
    bucket_path,
    encode_bucket,
    part_path,
    standardize_chunk,
)
from chemscale.molecules.preparation.standardize import Policy
from chemscale.molecules.tokenizers.converters import PACKAGES, check_installed
from chemscale.molecules.tokenizers.notation import NOTATIONS
from chemscale.molecules.tokenizers.opening import AnyTokenizer, tokenizer_of

log = logging.getLogger(__name__)

RULES = 2
"""Of what is one molecule, and of what is read of a file: another number makes another folder of a corpus."""
CHUNK_ROWS = 4096
"""Rows that one of the first tasks of stage 1 standardises."""
CHUNK_GROWTH = 8
"""How many times as many rows later tasks have: each bucket of stage 2 visits every part of stage 1."""
BUCKET_BYTES = 4 << 20
"""Input text a bucket holds on average: a few hundred MB of memory for a worker at most."""


@dataclass(frozen=True)
class Request:
    """What decides a corpus.

    Args:
        files: of SMILES, in order.
        policy: what is kept of a molecule.
        smiles_column: name or number of the column of SMILES; None to find it.
        validation_fraction: share of molecules that is held out.
        tokenizer: a vocabulary to keep to; None to make one.
        delimiter: between the cells of text files; None to find it.
        encoding: of text files; None for UTF-8 or what a byte order mark says.
        notation: that molecules are written in.
        common_to: other notations that must be able to express each of them.
        conditions: what stands before each molecule; None for nothing.
        exclude: sets whose molecules are left out; None for none.

    Raises:
        CorpusError: the fraction does not lie between 0 and 1, or the vocabulary is of another notation.
        TokenizerError: there is no such notation, or its package is not installed.
        ConditionValueError: the tokenizer has other conditions.
    """

    files: tuple[Path, ...]
    policy: Policy
    smiles_column: str | int | None
    validation_fraction: float
    tokenizer: AnyTokenizer | None
    delimiter: str | None = None
    encoding: str | None = None
    notation: str = "selfies"
    common_to: tuple[str, ...] = ()
    conditions: ConditionRequest | None = None
    exclude: Exclusion | None = None

    def __post_init__(self) -> None:
        for notation in (self.notation, *self.common_to):
            check_installed(notation)
        of = self.tokenizer.representation if self.tokenizer else None
        if of is not None and of.notation != self.notation:
            raise CorpusError(
                f"data.notation={self.notation}, but data.tokenizer is of {of.title}: ids of one notation "
                f"mean nothing in another. Leave data.notation out (it is then {of.notation}), or name a "
                f"tokenizer of {NOTATIONS[self.notation]}."
            )
        check_tokenizer(self.conditions, self.tokenizer)
        if not 0 < self.validation_fraction < 1:
            raise CorpusError(
                f"data.validation_fraction={self.validation_fraction}: must lie between 0 and 1."
            )

    def content(self) -> dict[str, Any]:
        """Everything that decides the bytes of the corpus; no path but the file names."""
        notations = sorted({self.notation, *self.common_to})
        tools = {name: version(name) for each in notations if (name := PACKAGES.get(each))}
        others: dict[str, Any] = {} if self.notation == "selfies" else {"notation": self.notation}
        if len(notations) > 1:
            others["common_to"] = notations
        if self.conditions:
            others["conditions"] = self.conditions.to_dict()
        if self.exclude:
            others["exclude"] = self.exclude.content()
        return {
            **others,
            "schema_version": SCHEMA_VERSION,
            "rules": RULES,
            "inputs": [{"file": f.name, "sha256": sha256(f), "bytes": f.stat().st_size} for f in self.files],
            "policy": self.policy.to_dict(),
            "smiles_column": self.smiles_column,
            "reading": {"delimiter": self.delimiter, "encoding": self.encoding},
            "validation_fraction": self.validation_fraction,
            "tokenizer": self.tokenizer.hash if self.tokenizer else None,
            "tools": {
                "python": platform.python_version(),
                "rdkit": rdkit.__version__,
                "selfies": selfies.__version__,
                **tools,
            },
        }


def corpus_key(
    files: Sequence[Path],
    *,
    policy: Policy | None = None,
    smiles_column: str | int | None = None,
    validation_fraction: float = 0.02,
    tokenizer: AnyTokenizer | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    notation: str = "selfies",
    common_to: Sequence[str] = (),
    conditions: ConditionRequest | None = None,
    exclude: Exclusion | None = None,
) -> str:
    """Short hash of inputs, policies and tools; arguments as ``build_corpus``."""
    request = Request(
        tuple(map(Path, files)),
        policy or Policy(),
        smiles_column,
        validation_fraction,
        tokenizer,
        delimiter,
        encoding,
        notation,
        tuple(common_to),
        conditions,
        exclude,
    )
    return _key(request.content())


def build_corpus(
    files: Sequence[Path],
    target: Path,
    *,
    policy: Policy | None = None,
    smiles_column: str | int | None = None,
    validation_fraction: float = 0.02,
    tokenizer: AnyTokenizer | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    notation: str = "selfies",
    common_to: Sequence[str] = (),
    conditions: ConditionRequest | None = None,
    exclude: Exclusion | None = None,
    workers: int | None = None,
) -> Corpus:
    """Prepare a corpus in a folder, or open the one that is complete there.

    Args:
        files: CSV, TSV, SMI, TXT, JSON, Parquet or SDF, plain or compressed.
        target: folder of the corpus.
        policy: what is kept of a molecule; all of it, up to 510 symbols, if None.
        smiles_column: name or number of the column of SMILES; None to find it.
        validation_fraction: share of molecules that is held out.
        tokenizer: a vocabulary to keep to; None to make one of all symbols that occur.
        delimiter: between the cells of text files; None to find it.
        encoding: of text files; None for UTF-8 or what a byte order mark says.
        notation: selfies | smiles | deepsmiles | safe.
        common_to: notations that must be able to express each molecule, so that corpora of several notations
            hold the same ones.
        conditions: what stands before each molecule; None for nothing.
        exclude: sets whose molecules are left out; None for none.
        workers: processes; None for one a core.

    Raises:
        SourceError: a file is not a file of SMILES, or has no numbers in a column that is a condition.
        CorpusError: another corpus is in `target`, too few molecules are left, or the vocabulary is of
            another notation.
        TokenizerError: there is no such notation, or its package is not installed.
        ConditionValueError: a condition does not tell molecules apart.
    """
    request = Request(
        tuple(map(Path, files)),
        policy or Policy(),
        smiles_column,
        validation_fraction,
        tokenizer,
        delimiter,
        encoding,
        notation,
        tuple(common_to),
        conditions,
        exclude,
    )
    content = request.content()
    target = Path(target)
    with make_once(target / MANIFEST, target.absolute().parent) as missing, naming_place(target):
        if missing:
            _build(request, content, target, workers)
    corpus = Corpus.open(target)
    if corpus.manifest["key"] != _key(content):
        raise CorpusError(
            f"{target} holds another corpus (inputs or policies differ): choose another folder."
        )
    return corpus


def _build(request: Request, content: dict[str, Any], target: Path, workers: int | None) -> None:
    """Prepare a corpus that is not there yet, or the rest of it."""
    reading = Reading(request.files, request.smiles_column, request.delimiter, request.encoding)
    columns = ColumnReader(reading, request.conditions.columns if request.conditions else ())
    folder = target / ".build"
    _begin(folder, _key(content))
    processes = worker_count(workers)
    log.info("Preparing %s with %d processes …", target, processes)
    rows, parts = _standardize(request, reading, columns, folder, processes)
    buckets = _encode(request, folder, parts, processes)
    _finish(request, content, target, reading, columns, rows, parts, buckets)
    shutil.rmtree(folder)


def _key(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _begin(folder: Path, key: str) -> None:
    """Make the folder of a build; keep the parts of an interrupted one of the same key and chunks."""
    mark, key = folder / "key", f"{key} {CHUNK_ROWS} doubling"
    if folder.exists() and (not mark.exists() or mark.read_text() != key):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(key)


def _standardize(
    request: Request, reading: Reading, columns: ColumnReader, folder: Path, workers: int
) -> tuple[int, int]:
    """Run stage 1 over all rows; returns the number of rows and of parts."""
    exclude = folder / "exclude" if request.exclude else None
    if request.exclude and exclude:
        request.exclude.write(exclude, request.policy, workers)
    tasks = (
        Chunk(number, rows, request.policy, folder, columns.take(rows), exclude)
        for number, rows in reading.chunks(CHUNK_ROWS, CHUNK_GROWTH)
    )
    rows = parts = 0
    with ProgressBar("standardise", None, "rows") as progress:
        for done in ordered_map(standardize_chunk, tasks, workers):
            rows, parts = rows + done, parts + 1
            progress.advance(done)
    return rows, parts


def _encode(request: Request, folder: Path, parts: int, workers: int) -> int:
    """Run stage 2 over all buckets; returns their number."""
    size = sum(part_path(folder, n).with_suffix(".smi").stat().st_size for n in range(parts))
    buckets = 1 << max(4, (size // BUCKET_BYTES).bit_length())
    width = (1 << 64) // buckets
    tasks = (
        Bucket(
            n,
            n * width,
            (n + 1) * width,
            parts,
            request.policy,
            folder,
            request.tokenizer,
            request.notation,
            request.common_to,
            request.conditions,
        )
        for n in range(buckets)
    )
    total = sum(len(np.load(part_path(folder, n), mmap_mode="r")) for n in range(parts))
    with ProgressBar("encode", total, "molecules") as progress:
        for done in ordered_map(encode_bucket, tasks, workers):
            progress.advance(done)
    return buckets


def _finish(
    request: Request,
    content: dict[str, Any],
    target: Path,
    reading: Reading,
    columns: ColumnReader,
    rows: int,
    parts: int,
    buckets: int,
) -> None:
    """Run stage 3: one vocabulary, the shards, the list of dropped rows, and last the manifest."""
    folder = target / ".build"
    by_row = [part_path(folder, n).with_suffix(".dropped") for n in range(parts)]
    by_hash = [bucket_path(folder, n).with_suffix(".dropped") for n in range(buckets)]
    table = folder / "dropped.csv.gz"  # in the folder of the build, where nothing half written stays
    dropped, examples = write_dropped_table(table, by_row, by_hash, reading.place)
    table.replace(target / table.name)
    if sum(dropped.values()) == rows:
        raise _too_few(target, rows, 0, dropped)
    tokenizer = request.tokenizer or _tokenizer(folder, buckets, request)
    limit = validation_limit(folder, buckets, request.validation_fraction)
    paths = [bucket_path(folder, number) for number in range(buckets)]
    described = {}
    if request.conditions:
        try:
            tokenizer = conditioned_tokenizer(tokenizer, paths, limit, request.conditions)
        except ConditionValueError:
            shutil.rmtree(target)
            raise
        about = describe_conditions(paths, tokenizer.conditions, request.conditions, columns.notes)
        described = {"condition_values": about}
    writers = {split: ShardWriter(target, split, prefixes=bool(request.conditions)) for split in SPLITS}
    for path in paths:
        write_bucket(path, tokenizer, limit, writers)
    shards = [shard for split in SPLITS for shard in writers[split].close()]
    counts = {split: writers[split].molecules for split in SPLITS}
    kept = sum(counts.values())
    if min(counts.values()) == 0:
        raise _too_few(target, rows, kept, dropped)
    tokenizer.save(target)
    write_json(
        target / MANIFEST,
        {
            **content,
            "key": _key(content),
            "corpus_hash": corpus_hash(tokenizer, shards),
            "counts": {"rows": rows, "kept": kept, **counts, "dropped": dropped},
            "examples": examples,
            **described,
            "sources": reading.describe(),
            "without_rows": reading.without_rows,
            "splits": {split: writers[split].totals() for split in SPLITS},
            "vocabulary": tokenizer.vocab_size,
            "shards": shards,
        },
    )


def _too_few(target: Path, rows: int, kept: int, dropped: dict[str, int]) -> CorpusError:
    shutil.rmtree(target)
    reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.items()) or "none"
    return CorpusError(f"Of {rows} rows {kept} molecules are left (dropped: {reasons}): too few to train on.")


def _tokenizer(folder: Path, buckets: int, request: Request) -> AnyTokenizer:
    """The tokenizer of all symbols that occur in any bucket."""
    symbols: set[str] = set()
    for number in range(buckets):
        symbols.update(json.loads(bucket_path(folder, number).with_suffix(".vocabulary").read_text()))
    return tokenizer_of(symbols, request.notation, stereo=request.policy.stereo == "keep")
