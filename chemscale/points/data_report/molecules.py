"""Statistics of a corpus of molecules."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import chemical_symbols
from rdkit import Chem, rdBase

from chemscale.molecules.corpus import SPLITS, Corpus, Split
from chemscale.molecules.descriptors import DESCRIPTORS
from chemscale.molecules.preparation.standardize import Reason
from chemscale.points.data_report.descriptions import (
    CHEAP,
    COSTLY,
    PartDescription,
    describe_parts,
)
from chemscale.points.data_report.values import Values, distribution, listed
from chemscale.points.data_report.vocabulary import describe_vocabulary

SCHEMA_VERSION = 1
AT_ONCE = 1 << 20
"""Molecules whose lengths are counted together."""
LONGEST = (1 << 17) + 1
"""Positions at most: a prefix and symbols, of 16 bits each, and the end; and 0."""
CLIPPED = 500
"""Characters of an example that are shown, and up to which it is drawn."""
ORDER = (
    "weight", "logP", "QED", "SA", "TPSA", "rings", "aromatic_rings", "largest_ring",
    "rotatable_bonds", "donors", "acceptors", "fsp3", "charge",
)  # fmt: skip
"""Descriptors as the page has them; others come after."""
NO_MOLECULE = {
    Reason.COMMENT.value, Reason.RAGGED.value, Reason.NUL.value, Reason.RECORD.value,
    Reason.SELFIES.value, Reason.EMPTY.value,
}  # fmt: skip
"""Reasons whose text is not a SMILES, even if one could take it for one."""


def describe_corpus(corpus: Corpus, block: int, workers: int) -> dict[str, Any]:
    """Everything that the report of a corpus says, as JSON can hold it.

    Args:
        corpus: prepared.
        block: positions of a block of training (``data.block``).
        workers: processes.
    """
    manifest, counts = corpus.manifest, corpus.manifest["counts"]
    parts = {name: getattr(corpus, name) for name in SPLITS}
    positions = {name: _counted(split, "positions") for name, split in parts.items()}
    vocabulary = describe_vocabulary(corpus)
    described = describe_parts(corpus.path, parts, workers)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "molecules",
        "name": corpus.path.name,
        "hash": corpus.hash,
        "counts": {key: counts[key] for key in ("rows", "kept", *SPLITS)},
        "duplicates": counts["dropped"].get(Reason.DUPLICATE.value, 0),
        "dropped": _dropped(manifest),
        "sources": manifest.get("sources", []),
        "without_rows": manifest.get("without_rows", []),
        "policy": {k: v for k, v in manifest["policy"].items() if k != "selfies_constraints"},
        "tools": manifest.get("tools", {}),
        "block": {
            "positions": block,
            "longest": {name: _last(found) for name, found in positions.items()},
            "longer": {name: int(found[block + 1 :].sum()) for name, found in positions.items()},
            "tokens": {name: int(found @ np.arange(len(found))) for name, found in positions.items()},
        },
        "distributions": [*_exact(parts, positions), *_described(described)],
        "sample": {
            name: {
                "molecules": part.molecules,
                "described": part.described,
                "costly": part.costly,
                "unreadable": part.unreadable,
                "several_fragments": part.several,
            }
            for name, part in described.items()
        },
        "costly": list(COSTLY),
        "elements": _elements(described),
        "vocabulary": vocabulary,
        "conditions": manifest.get("condition_values", {}),
    }


def _counted(split: Split, what: str) -> np.ndarray:
    """How often each number of positions or heavy atoms occurs, (m,)."""
    total = np.zeros(LONGEST, np.int64)
    for first in range(0, len(split), AT_ONCE):
        rows = slice(first, first + AT_ONCE)
        numbers = (split.heavy_atoms if what == "heavy_atoms" else split.lengths)[rows].astype(np.int64)
        if what == "positions":
            numbers = numbers + 1 if split.prefixes is None else numbers + 1 + split.prefixes.lengths[rows]
        total += np.bincount(numbers, minlength=LONGEST)
    return total


def _last(counts: np.ndarray) -> int:
    found = np.flatnonzero(counts)
    return int(found[-1]) if len(found) else 0


def _exact(parts: dict[str, Split], positions: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Lengths and heavy atoms of every molecule."""
    quantities = {
        "positions": ("length", "positions in a block: symbols, the end, and what stands before them"),
        "heavy_atoms": ("heavy atoms", DESCRIPTORS["heavy_atoms"].meaning),
    }
    found = []
    for what, (name, meaning) in quantities.items():
        of = positions if what == "positions" else {p: _counted(split, what) for p, split in parts.items()}
        values = {part: Values.counted(counts) for part, counts in of.items()}
        found.append(_with_totals(distribution(name, meaning, values, whole=True, independent=True), parts))
    return listed(found)


def _described(described: dict[str, PartDescription]) -> list[dict[str, Any]]:
    """Descriptors of the sample."""
    found = []
    for name in sorted((*CHEAP, *COSTLY), key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER)):
        about = DESCRIPTORS[name]
        values = {part: of.values[name] for part, of in described.items()}
        made = distribution(name, about.meaning, values, whole=about.whole, independent=True)
        found.append(_with_totals(made, {part: range(of.molecules) for part, of in described.items()}))
    return listed(found)


def _with_totals(made: dict[str, Any] | None, parts: dict[str, Any]) -> dict[str, Any] | None:
    """A distribution that says of how many molecules of each part it is a sample."""
    if made is not None:
        for part, about in made["parts"].items():
            about["of"] = len(parts[part])
    return made


def _elements(described: dict[str, PartDescription]) -> list[dict[str, Any]]:
    """Molecules of the sample that have each element, and its atoms, the commonest first."""
    total = sum(part.with_element for part in described.values())
    rows = [int(z) for z in np.argsort(-np.asarray(total), kind="stable") if total[z]]
    return [
        {
            "element": chemical_symbols[z],
            "parts": {
                name: {"molecules": int(part.with_element[z]), "atoms": int(part.atoms[z])}
                for name, part in described.items()
            },
        }
        for z in rows
    ]


def _dropped(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Reasons with their counts, most first, and the examples that the manifest keeps."""
    counts = manifest["counts"]
    return [
        {
            "reason": reason,
            "rows": rows,
            "share": rows / max(1, counts["rows"]),
            "examples": [_example(reason, row) for row in manifest["examples"].get(reason, [])],
        }
        for reason, rows in sorted(counts["dropped"].items(), key=lambda item: (-item[1], item[0]))
    ]


def _example(reason: str, row: dict[str, Any]) -> dict[str, Any]:
    text = str(row["smiles"])
    return {
        "file": row.get("file", ""),
        "line": row.get("line", row["row"]),
        "text": text[:CLIPPED],
        "characters": len(text),
        "detail": str(row.get("detail") or "")[:CLIPPED] or problem_of(reason, text),
    }


def may_be_drawn(reason: str, text: str) -> bool:
    """Whether a dropped row's text is a SMILES that is small enough to draw.

    Args:
        reason: why it was dropped.
        text: of the row.
    """
    return reason not in NO_MOLECULE and 0 < len(text) < CLIPPED


def problem_of(reason: str, text: str) -> str:
    """What RDKit has against an unparsable SMILES whose grammar is right; empty where it says nothing.

    Args:
        reason: why it was dropped.
        text: of the row.
    """
    if reason != Reason.UNPARSABLE.value or not may_be_drawn(reason, text):
        return ""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(text, sanitize=False)
        if molecule is None:
            return "not the grammar of SMILES"
        return "; ".join(p.Message() for p in Chem.DetectChemistryProblems(molecule)[:2])
