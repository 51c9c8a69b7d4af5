"""A prepared corpus: memory-mapped token shards, their index and a manifest."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import read_manifest
from chemscale.molecules.conditions.prefixes import Prefixes
from chemscale.molecules.ragged import Ragged
from chemscale.molecules.tokenizers.conditioned import ConditionedTokenizer
from chemscale.molecules.tokenizers.opening import AnyTokenizer, load_tokenizer

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
SPLITS = ("train", "validation")


class CorpusError(ValueError):
    """A corpus that is missing, incomplete, damaged or of another schema."""


class Split:
    """Molecules of one split in the order of their hash, so that every prefix is a nested random subset.

    Args:
        shards: for each shard the memory-mapped ids (uint16), lengths (uint16) and heavy atoms (uint16).
        molecules: only the first so many; None for all.
        prefixes: what stands before each of them; None where nothing does.
    """

    def __init__(
        self,
        shards: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
        molecules: int | None = None,
        prefixes: Prefixes | None = None,
    ):
        self._shards = shards
        self._symbols = Ragged([s[:2] for s in shards], molecules)
        heavy = np.concatenate([s[2] for s in shards]) if shards else np.empty(0, dtype="<u2")
        self.lengths = self._symbols.lengths
        """(n,) symbols of each molecule; begin, end and prefix not counted."""
        self.heavy_atoms = heavy[:molecules]
        """(n,) heavy atoms of each molecule."""
        self.prefixes = prefixes

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def positions(self) -> np.ndarray:
        """(n,) int64 positions that each molecule takes in a block: prefix, symbols and one more."""
        symbols = np.asarray(self.lengths).astype(np.int64) + 1
        return symbols if self.prefixes is None else symbols + self.prefixes.lengths[: len(self)]

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

    def prefix(self, molecules: int) -> Split:
        """The nested subset of the first molecules.

        Args:
            molecules: how many.

        Raises:
            CorpusError: there are fewer.
        """
        if not 0 < molecules <= len(self):
            raise CorpusError(f"A subset of {molecules} molecules was asked of {len(self)}.")
        return Split(self._shards, molecules, self.prefixes)


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
        def shards(*parts: str) -> list[Any]:
            return list(zip(*(self._maps(name, part) for part in parts), strict=True))

        prefixes = None
        if isinstance(self.tokenizer, ConditionedTokenizer):
            rows = Ragged(shards("prefixes", "prefix_lengths"))
            prefixes = Prefixes.of(rows, self.tokenizer)
        return Split(shards("tokens", "lengths", "heavy_atoms"), prefixes=prefixes)

    def _maps(self, split: str, part: str) -> list[np.ndarray]:
        """One part of all shards of a split, memory-mapped."""
        shards = self.manifest["shards"]
        return [_map(self.path / s["file"]) for s in shards if (s["split"], s["part"]) == (split, part)]

    def verify(self) -> None:
        """Compare every shard with its hash.

        Raises:
            CorpusError: one differs.
        """
        for shard in self.manifest["shards"]:
            if sha256(self.path / shard["file"]) != shard["sha256"]:
                raise CorpusError(
                    f"{self.path / shard['file']}: damaged. Remove {self.path} and prepare again."
                )


def same_molecules(one: Corpus, other: Corpus) -> bool:
    """Whether two corpora hold the same molecules in the same splits, whatever notation they are in.

    Both are in the order of the hash of the canonical SMILES, so it is enough that as many heavy atoms stand
    everywhere.

    Args:
        one: a corpus.
        other: another one.
    """
    splits = ((one.train, other.train), (one.validation, other.validation))
    return all(np.array_equal(a.heavy_atoms, b.heavy_atoms) for a, b in splits)


def corpus_hash(tokenizer: AnyTokenizer, shards: list[dict[str, Any]]) -> str:
    """Hash of everything that training sees: the same molecules in another file are the same corpus.

    Args:
        tokenizer: whose vocabulary the ids are of.
        shards: as the manifest lists them.
    """
    identity = json.dumps([tokenizer.hash, [[s["split"], s["part"], s["sha256"]] for s in shards]])
    return hashlib.sha256(identity.encode()).hexdigest()


def _map(path: Path) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.empty(0, dtype="<u2")
    return np.memmap(path, dtype="<u2", mode="r")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
