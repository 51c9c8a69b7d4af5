"""What was generated as rows of a table: decoded, made canonical, and said where it is no molecule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from rdkit import Chem

from chemscale.molecules.generation.drawing import Batch
from chemscale.molecules.generation.starts import Scaffold
from chemscale.molecules.preparation.standardize import ANY_LENGTH, Molecule, standardize


class Decoder(Protocol):
    """What is needed of a tokenizer; those of every notation have it."""

    eos_id: int

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids."""
        ...

    def to_smiles(self, ids: Iterable[int]) -> str:
        """SMILES of ids; empty where they are no molecule."""
        ...


@dataclass(frozen=True)
class Row:
    """One generated sequence.

    Args:
        smiles: canonical; empty where it is no molecule.
        text: what was generated, in the notation of the model.
        valid: whether it is a molecule.
        truncated: whether it lacks an end symbol.
        nll: nats under the model itself; of a truncated one, of the symbols that are there.
        heavy_atoms: of the molecule; 0 where it is none.
        contains_scaffold: whether it does; None where none was asked for or it is no molecule.
    """

    smiles: str
    text: str
    valid: bool
    truncated: bool
    nll: float
    heavy_atoms: int
    contains_scaffold: bool | None = None

    @property
    def nats_per_heavy_atom(self) -> float | None:
        """The law's unit; None for what is no whole molecule."""
        return self.nll / self.heavy_atoms if self.valid and not self.truncated else None


def decode(tokenizer: Decoder, batch: Batch, scaffold: Scaffold | None = None) -> list[Row]:
    """Rows of a batch, in its order.

    Args:
        tokenizer: of the model.
        batch: what was drawn.
        scaffold: that each should contain; None where none was asked for.
    """
    rows = []
    for ids, nats in zip(batch.ids, batch.nll, strict=True):
        found = standardize(tokenizer.to_smiles(ids), ANY_LENGTH)
        smiles, atoms = (found.smiles, found.heavy_atoms) if isinstance(found, Molecule) else ("", 0)
        contains = scaffold.is_in(Chem.MolFromSmiles(smiles)) if scaffold is not None and smiles else None
        truncated = not ids or ids[-1] != tokenizer.eos_id
        text = tokenizer.decode(ids)
        rows.append(Row(smiles, text, bool(smiles), truncated, round(nats, 6), atoms, contains))
    return rows


def canonical(smiles: str) -> str | None:
    """The SMILES that a corpus would have of a molecule; None where it is empty or RDKit refuses it."""
    found = standardize(smiles, ANY_LENGTH)
    return found.smiles if isinstance(found, Molecule) else None
