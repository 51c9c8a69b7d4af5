"""What was generated: decoded, counted and written down."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from chemscale.common.files import atomic_path
from chemscale.molecules.preparation.standardize import MAX_SYMBOLS, Molecule, Policy, standardize

ANY_LENGTH = Policy(max_symbols=MAX_SYMBOLS)


class Decoder(Protocol):
    """What is needed of a tokenizer; ours and the published ones both have it."""

    eos_id: int

    def decode(self, ids: Iterable[int]) -> str:
        """SELFIES of ids."""
        ...

    def to_smiles(self, ids: Iterable[int]) -> str:
        """SMILES of ids; empty where they are no molecule."""
        ...


@dataclass
class Drawn:
    """One generated sequence.

    Args:
        smiles: canonical; empty where it is no molecule.
        selfies: what was generated.
        valid: whether it is a molecule.
        truncated: whether it lacks an end symbol.
    """

    smiles: str
    selfies: str
    valid: bool
    truncated: bool


@dataclass
class Sample:
    """Generated molecules and their counts.

    Args:
        tokenizer: that decodes them.
        molecules: what was generated so far.
    """

    tokenizer: Decoder
    molecules: list[Drawn] = field(default_factory=list)

    def add(self, sequences: Iterable[list[int]]) -> None:
        """Decode sequences and keep them.

        Args:
            sequences: of ids; one without an end symbol was truncated.
        """
        for ids in sequences:
            truncated = not ids or ids[-1] != self.tokenizer.eos_id
            selfies = self.tokenizer.decode(ids)
            smiles = canonical(self.tokenizer.to_smiles(ids))
            self.molecules.append(Drawn(smiles or "", selfies, bool(smiles), truncated))

    def summary(self) -> list[str]:
        """Lines on validity, uniqueness among the valid, and truncation."""
        n = len(self.molecules)
        valid = [m.smiles for m in self.molecules if m.valid]
        truncated = sum(m.truncated for m in self.molecules)

        def share(part: int, whole: int) -> str:
            return f"{part:,} of {whole:,} ({100 * part / max(1, whole):.1f} %)"

        return [
            f"valid      {share(len(valid), n)}  (RDKit reads the decoded SMILES; SELFIES make most so)",
            f"unique     {share(len(set(valid)), len(valid))} of the valid",
            f"truncated  {share(truncated, n)}",
        ]


def canonical(smiles: str) -> str | None:
    """The SMILES that a corpus would have of a molecule; None where it is empty or RDKit refuses it."""
    found = standardize(smiles, ANY_LENGTH)
    return found.smiles if isinstance(found, Molecule) else None


def write_csv(path: Path, sample: Sample) -> None:
    """Write one row a molecule: SMILES, SELFIES, valid, truncated.

    Args:
        path: of the file.
        sample: what was generated.
    """
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["SMILES", "SELFIES", "valid", "truncated"])
        for m in sample.molecules:
            writer.writerow([m.smiles, m.selfies, int(m.valid), int(m.truncated)])
