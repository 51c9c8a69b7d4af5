"""A prepared corpus: memory-mapped token shards, their index and a manifest."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import read_manifest
from chemscale.common.progress import ProgressBar
from chemscale.molecules.conditions.prefixes import Prefixes
from chemscale.molecules.ragged import Ragged
from chemscale.molecules.storage.columns import Column
from chemscale.molecules.storage.index import Positions, Totals
from chemscale.molecules.storage.index_file import open_index
from chemscale.molecules.storage.mapping import map_file
from chemscale.molecules.tokenizers.conditioned import ConditionedTokenizer
from chemscale.molecules.tokenizers.opening import AnyTokenizer, load_tokenizer

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
SPLITS = ("train", "validation")
MEMORY_SHARE = 0.25
"""Of the machine's memory: a split with more tokens is read page by page as batches ask for them, one with
less in long stretches, which the page cache then holds."""


class CorpusError(ValueError):
    """A corpus that is missing, incomplete, damaged or of another schema."""


class Split:
    """Molecules of one split in the order of their hash, so that every prefix is a nested random subset.

    All that is as long as the split stays in its files: a rank's memory does not grow with the corpus.

    Args:
        symbols: ids of each molecule of the whole split.
        totals: what its molecules add up to.
        heavy_atoms: of each of its molecules.
        origin: folder of the corpus and name of the split: another process opens it there.
        molecules: only the first so many; None for all.
        prefixes: what stands before each of them; None where nothing does.
    """

    def __init__(
        self,
        symbols: Ragged,
        totals: Totals,
        heavy_atoms: Column,
        origin: tuple[Path, str],
        molecules: int | None = None,
        prefixes: Prefixes | None = None,
    ):
        self._whole = (symbols, totals, heavy_atoms, origin)
        self._symbols = symbols if molecules is None else symbols.head(molecules)
        self._origin = (*origin, molecules)
        self.lengths = self._symbols.lengths
        """(n,) symbols of each molecule; begin, end and prefix not counted."""
        self.heavy_atoms = heavy_atoms.head(len(self.lengths))
        """(n,) heavy atoms of each molecule."""
        self.prefixes = prefixes
        self.positions = Positions(totals, len(self.lengths))
        """(n,) positions that each molecule takes in a block: prefix, symbols and one more."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process is sent the place, and maps the files itself."""
        return _opened, self._origin

    @property
    def targets(self) -> int:
        """Symbols of all molecules, and one end each."""
        return self.positions.total("targets")

    def tokens(self, index: int) -> np.ndarray:
        """Ids of one molecule without begin, end and prefix, (length,) uint16.

        Args:
            index: of the molecule.

        Raises:
            IndexError: there is no such molecule.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"Molecule {index} of {len(self)}.")
        return self._symbols.row(index)

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids of molecules one after another, and the length of each; without prefixes.

        Args:
            indices: (k,) of the molecules.
        """
        return self._symbols.gather(indices)

    def let_go(self) -> None:
        """Stop holding pages of its files: for a reader that goes through all of them once."""
        self._symbols.let_go()

    def prefix(self, molecules: int) -> Split:
        """The nested subset of the first molecules.

        Args:
            molecules: how many.

        Raises:
            CorpusError: there are fewer.
        """
        if not 0 < molecules <= len(self):
            raise CorpusError(f"A subset of {molecules} molecules was asked of {len(self)}.")
        return Split(*self._whole, molecules, self.prefixes)


def _opened(corpus: Path, name: str, molecules: int | None) -> Split:
    split: Split = getattr(Corpus.open(corpus), name)
    return split if molecules is None else split.prefix(molecules)


class Corpus:
    """A corpus that ``prepare`` made; open it with ``Corpus.open``.

    Args:
        path: its folder.
        manifest: content of its ``manifest.json``.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]):
        self.path, self.manifest = path, manifest
        self.tokenizer = load_tokenizer(path)

    @classmethod
    def open(cls, path: Path) -> Corpus:
        """Open the corpus in a folder.

        Args:
            path: the folder.

        Raises:
            CorpusError: no complete corpus of this schema is there.
        """
        path = Path(path)
        try:
            manifest = read_manifest(path / MANIFEST)
        except FileNotFoundError:
            raise CorpusError(
                f"{path}: no complete corpus there. python -m chemscale.prepare makes or continues it."
            ) from None
        except ValueError as error:
            raise CorpusError(
                f"{path / MANIFEST}: damaged ({error}). Remove the folder and prepare again."
            ) from None
        if manifest.get("schema_version") != SCHEMA_VERSION:
            raise CorpusError(
                f"{path}: schema version {manifest.get('schema_version')}, this chemscale reads "
                f"{SCHEMA_VERSION}. Prepare it again into another folder."
            )
        corpus = cls(path, manifest)
        if corpus_hash(corpus.tokenizer, manifest["shards"]) != manifest["corpus_hash"]:
            raise CorpusError(
                f"{path}: the tokenizer there is not the one of these shards. Remove the folder and prepare "
                "again."
            )
        for shard in manifest["shards"]:
            file = path / shard["file"]
            if not file.is_file() or file.stat().st_size != shard["bytes"]:
                raise CorpusError(f"{file}: missing or cut short. Remove {path} and prepare again.")
        return corpus

    @property
    def hash(self) -> str:
        """Hash of everything that training sees."""
        return self.manifest["corpus_hash"]

    @cached_property
    def train(self) -> Split:
        """Molecules to train on."""
        return self._split("train")

    @cached_property
    def validation(self) -> Split:
        """Molecules that are held out."""
        return self._split("validation")

    def _split(self, name: str) -> Split:
        shards = [shard for shard in self.manifest["shards"] if shard["split"] == name]

        def maps(part: str, *, at_random: bool = False) -> list[np.ndarray]:
            files = [self.path / shard["file"] for shard in shards if shard["part"] == part]
            return [map_file(file, at_random=at_random) for file in files]

        size = sum(shard["bytes"] for shard in shards if shard["part"] in ("tokens", "prefixes"))
        large = size > MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        conditioned = isinstance(self.tokenizer, ConditionedTokenizer)
        columns = [Column(maps("lengths")), *([Column(maps("prefix_lengths"))] if conditioned else [])]
        of = [shard for shard in shards if shard["part"] in ("lengths", "prefix_lengths")]
        index = open_index(self.path, self.hash, name, of, columns)
        prefixes = None
        if isinstance(self.tokenizer, ConditionedTokenizer):
            assert index.prefixes is not None
            ids = Ragged(maps("prefixes", at_random=large), index.prefixes, ahead=large)
            prefixes = Prefixes.of(ids, self.tokenizer)
        symbols = Ragged(maps("tokens", at_random=large), index.starts, ahead=large)
        heavy_atoms = Column(maps("heavy_atoms"))
        return Split(symbols, index.totals, heavy_atoms, (self.path, name), prefixes=prefixes)

    def keep_index(self) -> None:
        """Make the index of a large corpus now, so that the first run need not: ``storage.index_file``."""
        for name in SPLITS:
            getattr(self, name)

    def verify(self) -> None:
        """Compare every shard with its hash.

        Raises:
            CorpusError: one differs.
        """
        shards = self.manifest["shards"]
        with ProgressBar("verify", len(shards), "files") as progress:
            for shard in shards:
                if sha256(self.path / shard["file"]) != shard["sha256"]:
                    raise CorpusError(
                        f"{self.path / shard['file']}: damaged. Remove {self.path} and prepare again."
                    )
                progress.advance(1)


def same_molecules(one: Corpus, other: Corpus) -> bool:
    """Whether two corpora hold the same molecules in the same splits, whatever notation they are in.

    Both are in the order of the hash of the canonical SMILES, so it is enough that as many heavy atoms stand
    everywhere.

    Args:
        one: a corpus.
        other: another one.
    """
    splits = ((one.train, other.train), (one.validation, other.validation))
    return all(a.heavy_atoms.equals(b.heavy_atoms) for a, b in splits)


def corpus_hash(tokenizer: AnyTokenizer, shards: list[dict[str, Any]]) -> str:
    """Hash of everything that training sees: the same molecules in another file are the same corpus.

    Args:
        tokenizer: whose vocabulary the ids are of.
        shards: as the manifest lists them.
    """
    identity = json.dumps([tokenizer.hash, [[s["split"], s["part"], s["sha256"]] for s in shards]])
    return hashlib.sha256(identity.encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
