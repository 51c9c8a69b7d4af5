"""Memory that takes the reward away from what was found before, so that an agent goes on searching.

Blaschke, Engkvist, Bajorath and Chen, J. Cheminf. 12, 68 (2020): molecules above a least score are put into
buckets by their scaffold; one that was there before, or whose bucket is full, has no reward.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rdkit import Chem

from chemscale.molecules.descriptors import scaffold


class DiversityFilter:
    """Buckets of scaffolds, and the molecules in them.

    What it holds follows from the scored molecules alone: ``remember`` them, and it is as it was.

    Args:
        bucket: molecules of one scaffold that have a reward. Molecules without a ring share one bucket.
        min_score: from which on a molecule is put into a bucket.
    """

    def __init__(self, bucket: int, min_score: float):
        self.bucket, self.min_score = bucket, min_score
        self.seen: dict[str, str] = {}
        """Scaffold of each molecule that was put into a bucket."""
        self.sizes: Counter[str] = Counter()

    def remember(self, smiles: str, score: float) -> str | None:
        """Put a molecule into its bucket; its scaffold, or None where it does not belong into one.

        Args:
            smiles: canonical.
            score: of it.
        """
        if score < self.min_score or smiles in self.seen:
            return None
        self.seen[smiles] = key = scaffold(Chem.MolFromSmiles(smiles))
        self.sizes[key] += 1
        return key

    def rebuild(self, scored: Iterable[tuple[str, float]]) -> None:
        """Remember molecules of an earlier session."""
        for smiles, score in scored:
            self.remember(smiles, score)

    def rewards(self, smiles: Sequence[str], scores: Sequence[float]) -> tuple[list[float], set[str]]:
        """Rewards of molecules in the order of their draw, and those that have none because a bucket is full.

        The latter may have been rewarded earlier: nothing should learn from them again.

        Args:
            smiles: canonical; empty where there is no molecule.
            scores: of each.
        """
        rewards, full = [], set[str]()
        for each, score in zip(smiles, scores, strict=True):
            if not each or score < self.min_score:
                rewards.append(score)
                continue
            is_new = self.remember(each, score) is not None
            size = self.sizes[self.seen[each]]
            if size > self.bucket or (size == self.bucket and not is_new):
                full.add(each)
            rewards.append(score if is_new and each not in full else 0.0)
        return rewards, full
