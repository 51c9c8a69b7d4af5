"""Stated, hashed splits: which molecules are trained on, which choose the strength, which are tested."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from rdkit import Chem

from chemscale.common.files import atomic_write
from chemscale.molecules.descriptors import scaffold
from chemscale.probing.data import LabelledMolecules, ProbeError

PARTS = ("train", "validation", "test")
FRACTIONS = (0.8, 0.1, 0.1)
RULES = {
    "scaffold": "Bemis-Murcko scaffolds, largest first, into train, validation, test (MoleculeNet, DeepChem)",
    "scaffold-shuffled": "the same, large scaffolds into train, the others dealt out by the seed (Yang 2019)",
    "random": "molecules dealt out by the seed; equal molecules stay together",
}


@dataclass(frozen=True)
class Split:
    """One division of molecules into parts.

    Args:
        rule: one of ``RULES``, or the name of an index file.
        seed: of the rule; 0 where nothing is drawn.
        parts: (n,) 0 train, 1 validation, 2 test.
        content: what is hashed beside the parts: the molecules, in order.
    """

    rule: str
    seed: int
    parts: np.ndarray
    content: str

    @cached_property
    def id(self) -> str:
        """Hash of which molecule stands in which part: two scores with one id are of one split."""
        text = json.dumps([self.content, self.parts.tolist()])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def members(self, part: int) -> np.ndarray:
        """Indices of the molecules of a part.

        Args:
            part: 0 train, 1 validation, 2 test.
        """
        return np.flatnonzero(self.parts == part)


def scaffolds(smiles: Sequence[str]) -> list[str]:
    """Bemis-Murcko scaffolds without stereo; empty for molecules without a ring.

    Args:
        smiles: canonical.
    """
    known: dict[str, str] = {}
    for text in smiles:
        if text not in known:
            known[text] = scaffold(Chem.MolFromSmiles(text))
    return [known[text] for text in smiles]


def draws(rule: str) -> bool:
    """Whether a rule depends on the seed."""
    return rule in ("scaffold-shuffled", "random")


def make_split(data: LabelledMolecules, rule: str, seed: int, of: Sequence[str]) -> Split:
    """Divide molecules by a rule, 80 : 10 : 10.

    Args:
        data: the molecules.
        rule: one of ``RULES``, or an index file that an earlier probe wrote.
        seed: of the rule.
        of: scaffold of each molecule.

    Raises:
        ProbeError: no such rule, an index file of other molecules, or too few molecules for three parts.
    """
    content = hashlib.sha256("\n".join(data.smiles).encode()).hexdigest()
    if rule in RULES:
        seed = seed if draws(rule) else 0
        parts = _filled(_groups(data.smiles, rule, seed, of), len(data))
    else:
        parts = _read(Path(rule), seed, data)
        rule = Path(rule).name
    for part, name in enumerate(PARTS):
        if not (parts == part).any():
            raise ProbeError(
                f"The {rule} split of {len(data)} molecules leaves nothing for {name}: too few molecules or "
                "too few scaffolds. Take more molecules, or --split random."
            )
    return Split(rule, seed, parts, content)


def _groups(smiles: Sequence[str], rule: str, seed: int, of: Sequence[str]) -> list[list[int]]:
    """Groups that stay together, in the order in which they are dealt out."""
    members: dict[str, list[int]] = {}
    for i, key in enumerate(smiles if rule == "random" else of):
        members.setdefault(key, []).append(i)
    groups = list(members.values())
    if rule == "scaffold":
        return sorted(groups, key=lambda group: (len(group), group[0]), reverse=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    shuffled = [groups[i] for i in order]
    if rule == "random":
        return shuffled
    large = FRACTIONS[2] * len(smiles) / 2
    return [g for g in shuffled if len(g) > large] + [g for g in shuffled if len(g) <= large]


def _filled(groups: list[list[int]], n: int) -> np.ndarray:
    """Groups filled into train until it is full, then validation, then test: DeepChem's rule."""
    parts = np.full(n, 2, dtype=np.int8)
    train = validation = 0
    for group in groups:
        if train + len(group) <= FRACTIONS[0] * n:
            parts[group] = 0
            train += len(group)
        elif train + validation + len(group) <= (FRACTIONS[0] + FRACTIONS[1]) * n:
            parts[group] = 1
            validation += len(group)
    return parts


def write_index(path: Path, data: LabelledMolecules, splits: Sequence[Split], of: Sequence[str]) -> None:
    """Write which row of the file stands in which part, one column a split.

    Args:
        path: of the CSV file.
        data: the molecules.
        splits: of them.
        of: scaffold of each molecule.
    """
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "SMILES", "scaffold", *(f"seed_{split.seed}" for split in splits)])
        for i, row in enumerate(data.rows):
            parts = (PARTS[split.parts[i]] for split in splits)
            writer.writerow([int(row), data.smiles[i], of[i], *parts])


def _read(path: Path, seed: int, data: LabelledMolecules) -> np.ndarray:
    if not path.is_file():
        raise ProbeError(f"--split {path}: choose {', '.join(RULES)}, or an index file that a probe wrote.")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ProbeError(f"{path}: not a CSV file ({error}).") from None
    names = list(lines[0]) if lines else []
    columns = [name for name in (f"seed_{seed}", "part", "split") if name in names]
    columns += [name for name in names if name.startswith("seed_")][:1]
    if "row" not in names or not columns:
        raise ProbeError(f"{path}: no index file, which has the columns row and part (or seed_0, seed_1, …).")
    short = {"valid": "validation", "val": "validation", "dev": "validation"}
    known: dict[int, int] = {}
    for number, line in enumerate(lines, start=2):
        text, part = line["row"] or "", str(line[columns[0]]).strip().lower()
        part = short.get(part, part)
        if not text.strip().isdecimal() or part not in PARTS:
            raise ProbeError(
                f"{path}, line {number}: row {text!r} in part {part!r}; rows are numbers from 1, parts are "
                f"{', '.join(PARTS)}."
            )
        known[int(text)] = PARTS.index(part)
    if missing := [int(row) for row in data.rows if int(row) not in known]:
        raise ProbeError(
            f"{path}: {len(missing)} of {len(data)} molecules stand in no part (row {missing[0]} first): "
            "this index is of another file."
        )
    return np.array([known[int(row)] for row in data.rows], dtype=np.int8)
