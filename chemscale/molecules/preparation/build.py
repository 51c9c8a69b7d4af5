"""From files of SMILES to a corpus: byte-identical on any number of workers, resumable, in bounded memory."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import naming_place
from chemscale.common.locks import file_lock, make_once
from chemscale.common.parallel import worker_count
from chemscale.common.progress import ProgressBar
from chemscale.molecules.corpus import MANIFEST, Corpus, CorpusError
from chemscale.molecules.overlap.exclusion import Exclusion, is_written
from chemscale.molecules.preparation.conditions.columns import ColumnReader
from chemscale.molecules.preparation.conditions.request import ConditionRequest, ConditionValueError
from chemscale.molecules.preparation.finishing import Rows, finish
from chemscale.molecules.preparation.merging import merge_parts, places_of
from chemscale.molecules.preparation.request import Request, content_key
from chemscale.molecules.preparation.sharing.work import (
    FINISH,
    Alone,
    CompleteError,
    Shared,
    is_listed,
    map_claimed,
    map_until_done,
)
from chemscale.molecules.preparation.sources import Reading
from chemscale.molecules.preparation.stages import (
    Bucket,
    Chunk,
    Sources,
    encode_bucket,
    standardize_chunk,
)
from chemscale.molecules.preparation.standardize import Policy
from chemscale.molecules.tokenizers.opening import AnyTokenizer

log = logging.getLogger(__name__)

CHUNK_ROWS = 4096
"""Rows that one of the first tasks of stage 1 standardises."""
CHUNK_GROWTH = 8
"""How many times as many rows later tasks have: each bucket of stage 2 visits every part of stage 1."""
BUCKET_BYTES = 4 << 20
"""Input text a bucket holds on average: a few hundred MB of memory for a worker at most."""


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
    return content_key(request.content())


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
    work: Alone | None = None,
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
        work: of this process, where others that were given the same arguments have a part in the build;
            None where this one does all of it and others wait.

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
    work = work or Alone()
    with (
        make_once(target / MANIFEST, target.absolute().parent, shared=isinstance(work, Shared)) as missing,
        naming_place(target),
    ):
        if missing:
            _build(request, content, target, workers, work)
    corpus = Corpus.open(target)
    if corpus.manifest["key"] != content_key(content):
        raise CorpusError(
            f"{target} holds another corpus (inputs or policies differ): choose another folder."
        )
    if missing:
        corpus.keep_index()
    return corpus


def _build(request: Request, content: dict[str, Any], target: Path, workers: int | None, work: Alone) -> None:
    """Prepare a corpus that is not there yet, or the rest of it, or this process's part of that."""
    folder = target / ".build"
    stream = _Stream(request, folder)  # a file that is refused leaves no folder
    together = file_lock(target.absolute().parent / f".{target.name}.begin.lock")
    try:
        with together if isinstance(work, Shared) else nullcontext():
            _begin(folder, content_key(content))
            work.begin(folder, target)
        _stages(request, content, target, stream, worker_count(workers), work)
    except CompleteError:
        pass
    except BrokenExecutor:
        time.sleep(1)  # whoever ends this process may have told its workers first
        raise
    except Exception as error:
        if not is_listed(target / MANIFEST):  # else another has finished and removed the folder meanwhile
            work.fail(error)
            raise
    finally:
        work.end()
    shutil.rmtree(folder, ignore_errors=True)  # others that shared it may just be leaving


def _stages(
    request: Request, content: dict[str, Any], target: Path, stream: _Stream, processes: int, work: Alone
) -> None:
    """Run the stages, each when the one before is whole."""
    folder = target / ".build"
    log.info("Preparing %s with %d processes …", target, processes)
    _exclude(request, stream.exclude, processes, work)
    rows = _standardize(stream, processes, work)
    sources = merge_parts(folder, rows.parts, processes, work)
    buckets = _encode(request, sources, processes, work)
    while not work.finished:
        if not work.claim(FINISH):
            work.wait("the shards")
            continue
        work.check()
        try:
            finish(request, content, target, rows, sources, buckets, work)
        except (CompleteError, CorpusError, ConditionValueError):
            raise
        except Exception:  # libraries have their own for a file that is gone
            if work.holds(FINISH):
                raise
            continue  # this process was taken for dead, and another has removed what it had written
        work.finished = True


def _begin(folder: Path, key: str) -> None:
    """Make the folder of a build; keep the parts of an interrupted one of the same key and chunks."""
    mark, key = folder / "key", f"{key} {CHUNK_ROWS} doubling"
    if folder.exists() and (not mark.exists() or mark.read_text() != key):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not mark.exists():
        mark.write_text(key)


def _exclude(request: Request, folder: Path | None, processes: int, work: Alone) -> None:
    """Write the molecules that are left out; of several processes one does, and the others wait."""
    while request.exclude is not None and folder is not None and not is_written(folder):
        work.check()  # of who joined late the others may have finished, and removed it
        if work.claim("exclude"):
            request.exclude.write(folder, request.policy, processes)
            work.release("exclude")
        else:
            work.wait("the molecules that are left out")


def _standardize(stream: _Stream, workers: int, work: Alone) -> Rows:
    """Run stage 1 over all rows: every process reads them, and standardises the chunks that it claims."""
    with ProgressBar("standardise", None, "rows") as progress:

        def pass_over(chunk: Chunk) -> None:
            progress.advance(len(chunk.rows))

        for done in map_claimed(standardize_chunk, stream.chunks(progress), workers, work, _name, pass_over):
            progress.advance(done)
        missing = stream.missing(range(stream.parts))
        while missing:
            # Not asked one by one: a network file system may answer from what it saw some time ago.
            lost = {n for n in missing if work.claim(_part_name(n))}
            if found := stream.missing(sorted(lost)):
                log.info("Reading the files again for chunks that other processes left: %d.", len(found))
            for number in lost - set(found):
                work.release(_part_name(number))
            if found:
                for _ in map_claimed(standardize_chunk, stream.again(found), workers, Alone(), _name):
                    work.check()
                for number in found:
                    work.release(_part_name(number))
            else:
                work.wait(f"the rest of the rows (chunks: {len(missing):,})")
            missing = stream.missing(missing)
    return Rows(stream.reading, stream.columns, stream.rows, stream.parts)


class _Stream:
    """The rows of a request as chunks of stage 1.

    Args:
        request: whose files are read.
        folder: of the build.
    """

    def __init__(self, request: Request, folder: Path):
        self.request, self.folder = request, folder
        self.exclude = folder / "exclude" if request.exclude else None
        self.reading, self.columns = self._open()
        self.rows = self.parts = 0

    def _open(self) -> tuple[Reading, ColumnReader]:
        request = self.request
        reading = Reading(request.files, request.smiles_column, request.delimiter, request.encoding)
        return reading, ColumnReader(reading, request.conditions.columns if request.conditions else ())

    def chunks(self, progress: ProgressBar) -> Iterator[Chunk]:
        """Chunks that are not done; the others are read, counted and passed over."""
        for number, rows in self.reading.chunks(CHUNK_ROWS, CHUNK_GROWTH):
            numbers = self.columns.take(rows)
            self.rows, self.parts = self.rows + len(rows), self.parts + 1
            if any(path.exists() for path in places_of(self.folder, number)):
                progress.advance(len(rows))  # done before
            else:
                yield Chunk(number, rows, self.request.policy, self.folder, numbers, self.exclude)

    def again(self, wanted: Collection[int]) -> Iterator[Chunk]:
        """Some chunks once more, when ``chunks`` has been through.

        Args:
            wanted: their numbers.
        """
        reading, columns = self._open()
        policy, folder = self.request.policy, self.folder
        if not columns.names:
            chunks = reading.some_chunks(wanted, self.reading.begins, CHUNK_ROWS, CHUNK_GROWTH)
            yield from (Chunk(number, rows, policy, folder, None, self.exclude) for number, rows in chunks)
            return
        for number, rows in reading.chunks(CHUNK_ROWS, CHUNK_GROWTH):  # columns are read in step
            numbers = columns.take(rows)
            if number in wanted:
                yield Chunk(number, rows, policy, folder, numbers, self.exclude)
            if number == max(wanted):
                return

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Those chunks whose parts are not there, nor the runs of them, as the folder is listed now."""
        there = set(os.listdir(self.folder)) if numbers else set()
        return [n for n in numbers if not any(path.name in there for path in places_of(self.folder, n))]


def _part_name(number: int) -> str:
    return f"part-{number:06d}"


def _name(task: Chunk | Bucket) -> str:
    """Under which a task is claimed."""
    return _part_name(task.number) if isinstance(task, Chunk) else f"bucket-{task.number:06d}"


def _encode(request: Request, sources: Sources, workers: int, work: Alone) -> int:
    """Run stage 2 over all buckets; returns their number."""
    size = sum(path.with_suffix(".smi").stat().st_size for path in sources.paths())
    buckets = 1 << max(4, (size // BUCKET_BYTES).bit_length())
    width = (1 << 64) // buckets
    tasks = [
        Bucket(
            n,
            n * width,
            (n + 1) * width,
            sources,
            request.policy,
            request.tokenizer,
            request.notation,
            request.common_to,
            request.conditions,
        )
        for n in range(buckets)
    ]
    total = sum(len(np.load(path, mmap_mode="r")) for path in sources.paths())
    with ProgressBar("encode", total, "molecules") as progress:

        def advance(molecules: int) -> None:
            progress.update(min(total, progress.done + molecules))

        def is_there(bucket: Bucket) -> bool:
            return bucket.path.exists()

        for done in map_until_done(
            encode_bucket, tasks, workers, work, _name, is_there, lambda _: advance(total // buckets)
        ):
            advance(done)
    return buckets
