"""The index of a split as a file beside its corpus, or in the user's cache where that is read-only.

It is made of the corpus and no part of it: no hash knows it. A file that is damaged, cut short, or of other
shards is made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chemscale.common.locks import make_once
from chemscale.common.paths import cache_folder
from chemscale.molecules.storage.columns import Column
from chemscale.molecules.storage.index import GROUP, STRIDE, SplitIndex
from chemscale.molecules.storage.tables import read_tables, write_tables

log = logging.getLogger(__name__)

FOLDER = "index"
"""Of a corpus."""
FORMAT = 1
MIN_ROWS = 1 << 20
"""Molecules of a split below which its index is counted whenever it is opened: milliseconds."""


def index_folders(corpus: Path, corpus_hash: str) -> list[Path]:
    """Where what is counted of a corpus may lie, the better place first.

    Args:
        corpus: folder.
        corpus_hash: of it.
    """
    return [corpus / FOLDER, cache_folder() / "corpora" / corpus_hash[:16]]


def open_index(
    corpus: Path, corpus_hash: str, split: str, shards: Sequence[dict[str, Any]], columns: Sequence[Column]
) -> SplitIndex:
    """The index of a split: read from its file, or counted and kept.

    Args:
        corpus: folder.
        corpus_hash: of it.
        split: its name.
        shards: files of `columns`, as the manifest lists them.
        columns: lengths of the molecules, and of their prefixes if they have any.
    """
    if len(columns[0]) < MIN_ROWS:
        return SplitIndex.of(columns)
    of = _description(shards, columns)
    folders = index_folders(corpus, corpus_hash)
    for folder in folders:
        if (tables := read_tables(folder / f"{split}.index", of)) is not None:
            return SplitIndex.of(columns, tables)
    found = None
    for folder in folders:
        file = folder / f"{split}.index"
        try:
            with make_once(file, folder) as mine:
                tables = None if mine else read_tables(file, of)
                if tables is None:
                    found = found or SplitIndex.of(columns)
                    write_tables(file, of, found.tables)
                    tables = read_tables(file, of)
        except OSError as error:
            log.debug("%s: no index can be kept there (%s).", folder, error)
            continue
        if tables is not None:
            return SplitIndex.of(columns, tables)
    log.warning(
        "%s: the index of its %d molecules can be kept neither there nor in %s: each process counts it "
        "anew and holds it in memory. CHEMSCALE_CACHE=FOLDER names another place.",
        corpus,
        len(columns[0]),
        folders[-1],
    )
    return found or SplitIndex.of(columns)


def _description(shards: Sequence[dict[str, Any]], columns: Sequence[Column]) -> dict[str, Any]:
    """What a file must say to be the index of these shards."""
    of = [[s["file"], s["part"], s["bytes"], s["sha256"]] for s in shards]
    return {
        "index of molecules": FORMAT,
        "group": GROUP,
        "stride": STRIDE,
        "rows": len(columns[0]),
        "of": hashlib.sha256(json.dumps(of).encode()).hexdigest(),
    }
