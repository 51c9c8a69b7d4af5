"""What sampled molecules are, beside what was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from chemscale.molecules.conditions.asking import Value, asked_numbers, asked_scaffold
from chemscale.molecules.descriptors import DESCRIPTORS
from chemscale.molecules.preparation.conditions.measuring import condition_scaffold
from chemscale.molecules.tokenizers.conditioned import SCAFFOLD, ConditionedTokenizer
from chemscale.molecules.tokenizers.opening import AnyTokenizer


@dataclass(frozen=True)
class Achieved:
    """One condition, asked for and achieved.

    Args:
        name: of the condition.
        asked: the value; of a scaffold its SMILES.
        mean: of the molecules; None for a scaffold.
        deviation: standard deviation of the molecules; None for a scaffold.
        hits: how many lie in the bin, or have exactly the scaffold.
        molecules: of how many.
    """

    name: str
    asked: float | str
    mean: float | None
    deviation: float | None
    hits: int
    molecules: int

    @property
    def share(self) -> float:
        """Of molecules that are what was asked for; NaN for none at all."""
        return self.hits / self.molecules if self.molecules else math.nan

    def __str__(self) -> str:
        """One line for a terminal."""
        what = "with this scaffold" if self.mean is None else "in the bin"
        hits = f"{self.hits:,} of {self.molecules:,} {what} ({100 * self.share:.1f} %)"
        if self.mean is None:
            return f"{self.name}={self.asked}: {hits}"
        return f"{self.name}={self.asked:g}: mean {self.mean:.3g} ± {self.deviation:.2g}, {hits}"


def achieved(
    tokenizer: AnyTokenizer, conditions: Mapping[str, Value], smiles: Sequence[str]
) -> list[Achieved]:
    """Compare molecules with what was asked for, less columns of a user's file, which nothing computes.

    Args:
        tokenizer: of the model.
        conditions: as for ``prefix_ids``.
        smiles: of valid molecules.
    """
    if not isinstance(tokenizer, ConditionedTokenizer):
        return []
    molecules = [Chem.MolFromSmiles(text) for text in smiles]
    found = []
    for about, wanted in asked_numbers(tokenizer, conditions):
        if about.column or not molecules:
            continue
        of = DESCRIPTORS[about.name].of
        values = np.array([of(molecule) for molecule in molecules], dtype=np.float64)
        bins = np.searchsorted(np.array(about.edges), values, side="right")
        hits = int((bins == about.bin_of(wanted)).sum())
        found.append(
            Achieved(about.name, wanted, float(values.mean()), float(values.std()), hits, len(molecules))
        )
    scaffold = asked_scaffold(tokenizer, conditions)
    if scaffold is not None and molecules:
        hits = sum(condition_scaffold(molecule) == scaffold for molecule in molecules)
        found.append(Achieved(SCAFFOLD, scaffold, None, None, hits, len(molecules)))
    return found
