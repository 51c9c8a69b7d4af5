"""What a report says of a vocabulary: how many symbols carry the text, and which are hardly learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chemscale.molecules.corpus import Corpus
from chemscale.molecules.preparation.vocabulary import (
    RARE,
    SymbolCount,
    audit_vocabulary,
    dropped_symbols,
)
from chemscale.points.data_report.values import rounded

SHARES = (0.5, 0.9, 0.99, 0.999, 1.0)
SHOWN = 20
"""Symbols that a table names."""
PLACES = 400
"""Points of the curve at most."""


def describe_vocabulary(corpus: Corpus) -> dict[str, Any]:
    """Size, coverage and rare symbols of the vocabulary of a corpus.

    Every molecule is counted, once: the counts are kept beside the manifest (``vocabulary.csv``).

    Args:
        corpus: prepared.
    """
    counts = audit_vocabulary(corpus)
    ranked = sorted(counts, key=lambda c: (-c.training, c.id))
    rare = sorted(
        (c for c in counts if 0 < c.training_molecules < RARE), key=lambda c: (c.training_molecules, c.id)
    )
    unseen = sorted(
        (c for c in counts if not c.training and c.validation), key=lambda c: (-c.validation_molecules, c.id)
    )
    outside = dropped_symbols(corpus)
    return {
        "title": corpus.tokenizer.representation.title,
        "ids": corpus.tokenizer.vocab_size,
        "symbols": len(counts),
        "tokens": {
            "train": sum(c.training for c in counts),
            "validation": sum(c.validation for c in counts),
        },
        "coverage": _coverage(ranked),
        "commonest": [_row(c) for c in ranked[:SHOWN] if c.training],
        "rare_below": RARE,
        "rare": {"symbols": len(rare), "first": [_row(c) for c in rare[:SHOWN]]},
        "only_in_validation": {
            "symbols": len(unseen),
            "tokens": sum(c.validation for c in unseen),
            "first": [_row(c) for c in unseen[:SHOWN]],
        },
        "in_no_molecule": sum(not c.training and not c.validation for c in counts),
        "outside": {
            "symbols": len(outside),
            "first": [{"symbol": s, "molecules": n} for s, n in list(outside.items())[:SHOWN]],
        },
    }


def _row(count: SymbolCount) -> dict[str, Any]:
    return {
        "symbol": count.symbol,
        "training": count.training,
        "training_molecules": count.training_molecules,
        "validation_molecules": count.validation_molecules,
    }


def _coverage(ranked: Sequence[SymbolCount]) -> dict[str, Any]:
    """Share of the tokens of each part that the k commonest training symbols are."""
    columns = {
        "train": np.array([c.training for c in ranked], float),
        "validation": np.array([c.validation for c in ranked], float),
    }
    covered = {part: np.cumsum(of) / max(1.0, float(of.sum())) for part, of in columns.items()}
    known = int((columns["train"] > 0).sum())
    places = np.unique(np.geomspace(1, max(1, known), min(PLACES, max(1, known))).astype(int))
    return {
        "symbols": [int(k) for k in places],
        **{part: [rounded(curve[k - 1]) for k in places] for part, curve in covered.items()},
        "needed": [
            {"share": share, "symbols": int(np.searchsorted(covered["train"], share - 1e-12)) + 1}
            for share in SHARES
        ],
    }
