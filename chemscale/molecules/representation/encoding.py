"""Rows of a table as ids of symbols for a model, or the reason why a row has none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chemscale.models.chemgpt import ChemGPTConfig
from chemscale.molecules.conditions import open_prefix
from chemscale.molecules.preparation.notations import explain_unparsable, to_smiles
from chemscale.molecules.preparation.standardize import (
    MAX_SYMBOLS,
    Policy,
    Reason,
    Rejected,
    standardize,
)
from chemscale.molecules.representation.table import MoleculeRow
from chemscale.molecules.tokenizers.notation import TokenizerError, UnknownSymbolError
from chemscale.molecules.tokenizers.opening import AnyTokenizer
from chemscale.records import find_run

STEREO = "@/\\"
EXPLAINED = (Reason.UNPARSABLE,)


def longest_molecule(run: Path, config: ChemGPTConfig) -> int:
    """Symbols of the longest molecule that a model has learned to read.

    A model has more positions than a block of its training; those behind the block were never trained, and
    what it says there is noise. Folders of others do not tell: there all positions count.

    Args:
        run: a finished point, RUNS/SWEEP/NAME, or a model folder.
        config: shape of the model.
    """
    folder = find_run(run)
    folder = folder / "model" if (folder / "model").is_dir() else folder
    positions = config.max_positions
    if "chemscale" in json.loads((folder / "config.json").read_text()):
        generation = json.loads((folder / "generation_config.json").read_text())
        positions = min(positions, int(generation["max_length"]))
    return positions - 1


@dataclass(frozen=True)
class Encoder:
    """How molecules become ids for one model.

    Args:
        tokenizer: of the model.
        limit: symbols of a molecule at most.
        as_written: encode the spelling of the file instead of the canonical one. The likelihood of a text
            depends on its spelling: this one is for texts that a model wrote itself.
        start: ids that stand before each molecule, behind the begin symbol: conditions that are left open.
    """

    tokenizer: AnyTokenizer
    limit: int
    as_written: bool = False
    start: tuple[int, ...] = ()

    @classmethod
    def of(cls, tokenizer: AnyTokenizer, longest: int, as_written: bool = False) -> Encoder:
        """The encoder of a model.

        Args:
            tokenizer: of the model.
            longest: symbols of a molecule at most, as ``longest_molecule`` tells; what stands before it is
                taken off.
            as_written: encode the spelling of the file.
        """
        start = open_prefix(tokenizer).start
        return cls(tokenizer, min(longest - len(start), MAX_SYMBOLS), as_written, start)

    @property
    def stereo(self) -> bool:
        """Whether the symbols carry stereo; else molecules are read without theirs."""
        return self.tokenizer.representation.stereo

    @property
    def policy(self) -> Policy:
        """What is kept of a molecule."""
        return Policy(stereo="keep" if self.stereo else "strip", max_symbols=self.limit)


@dataclass(frozen=True)
class Chunk:
    """A task: rows to encode.

    Args:
        encoder: of the model.
        rows: of a table.
    """

    encoder: Encoder
    rows: Sequence[MoleculeRow]


@dataclass
class Encoded:
    """Rows with their ids.

    Args:
        rows: of the table.
        ids: of the symbols of each, without begin and end; None where there are none.
        smiles: canonical, or as it is written where that is encoded; empty where there are no ids.
        heavy_atoms: of each; 0 where there are no ids.
        reasons: why a row has no ids; empty where it has.
    """

    rows: Sequence[MoleculeRow]
    ids: list[np.ndarray | None] = field(default_factory=list)
    smiles: list[str] = field(default_factory=list)
    heavy_atoms: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def encode_chunk(chunk: Chunk) -> Encoded:
    """Encode rows; nothing is raised for what is in them.

    Args:
        chunk: the rows.
    """
    out = Encoded(chunk.rows)
    policy = chunk.encoder.policy
    for row in chunk.rows:
        found = _encode(row, chunk.encoder, policy)
        ids, smiles, heavy = (None, "", 0) if isinstance(found, str) else found
        out.ids.append(ids)
        out.smiles.append(smiles)
        out.heavy_atoms.append(heavy)
        out.reasons.append(found if isinstance(found, str) else "")
    return out


def _encode(row: MoleculeRow, encoder: Encoder, policy: Policy) -> tuple[np.ndarray, str, int] | str:
    """Ids, SMILES and heavy atoms; or the reason why there are none."""
    smiles = to_smiles(row.text, row.notation)
    molecule = smiles if isinstance(smiles, Rejected) else standardize(smiles, policy)
    if isinstance(molecule, Rejected):
        return _explained(molecule, row)
    tokenizer, written = encoder.tokenizer, molecule.smiles
    try:
        if not encoder.as_written or row.notation == "molblock":
            ids = tokenizer.from_smiles(written)
        elif row.notation == tokenizer.representation.notation and row.notation != "smiles":
            ids, written = tokenizer.encode(row.text), str(smiles)
        else:
            written = str(smiles)
            ids = tokenizer.from_smiles(written)
    except UnknownSymbolError as error:
        return f"{Reason.UNKNOWN_SYMBOL.value}: {error.symbol}"
    except TokenizerError as error:
        return " ".join(str(error).split())[:200]
    if len(ids) > encoder.limit:
        return f"{Reason.TOO_MANY_SYMBOLS.value}: {len(ids)}, the model has learned {encoder.limit} at most"
    if not ids:
        return Reason.EMPTY.value
    return np.asarray(ids, dtype=np.int32), written, molecule.heavy_atoms


def _explained(rejected: Rejected, row: MoleculeRow) -> str:
    detail = rejected.detail
    if not detail and rejected.reason in EXPLAINED and row.notation == "smiles":
        detail = explain_unparsable(row.text)
    return f"{rejected.reason.value}: {detail}" if detail else rejected.reason.value
