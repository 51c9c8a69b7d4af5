"""What a report needs of each molecule of a sample, computed by processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from chemscale.common.parallel import ordered_map
from chemscale.common.progress import ProgressBar
from chemscale.molecules.corpus import Split
from chemscale.molecules.descriptors import DESCRIPTORS
from chemscale.molecules.tokenizers.opening import AnyTokenizer, load_tokenizer
from chemscale.points.data_report.values import Values, sample

SAMPLE = 50_000
"""Molecules of each part that are described; all of them where there are no more."""
COSTLY_SAMPLE = 10_000
"""Of them, those that have the descriptors of a millisecond."""
COSTLY = ("logP", "QED", "SA")
CHEAP = tuple(name for name in DESCRIPTORS if name not in (*COSTLY, "heavy_atoms"))
CHUNK = 200
"""Molecules of a task."""
ELEMENTS = 119


@dataclass(frozen=True)
class Task:
    """Molecules that are described together.

    Args:
        folder: of their tokenizer.
        ids: of the symbols of each.
        costly: whether they have the costly descriptors too.
    """

    folder: Path
    ids: tuple[np.ndarray, ...]
    costly: bool


@dataclass
class Described:
    """Descriptors of molecules, and the elements in them.

    Args:
        values: of each descriptor, (n,); NaN where RDKit gives none.
        with_element: (119,) molecules that have each element.
        atoms: (119,) atoms of each element, hydrogens apart from explicit ones not counted.
        unreadable: molecules that RDKit could not read again.
        several: molecules of several fragments.
        looked_at: molecules in all.
        costly: molecules that were to have the costly descriptors.
    """

    values: dict[str, np.ndarray]
    with_element: np.ndarray
    atoms: np.ndarray
    unreadable: int
    several: int
    looked_at: int
    costly: int


@dataclass
class PartDescription:
    """What is known of the sample of one part.

    Args:
        molecules: of the part.
        described: of the sample.
        costly: of them, with the costly descriptors.
        values: of each descriptor.
        with_element: as in ``Described``.
        atoms: likewise.
        unreadable: likewise.
        several: likewise.
    """

    molecules: int
    described: int = 0
    costly: int = 0
    values: dict[str, Values] = field(default_factory=lambda: {name: Values() for name in (*CHEAP, *COSTLY)})
    with_element: np.ndarray = field(default_factory=lambda: np.zeros(ELEMENTS, np.int64))
    atoms: np.ndarray = field(default_factory=lambda: np.zeros(ELEMENTS, np.int64))
    unreadable: int = 0
    several: int = 0

    def add(self, found: Described) -> None:
        """Add the molecules of a task."""
        for name, values in found.values.items():
            self.values[name].add(values)
        self.with_element += found.with_element
        self.atoms += found.atoms
        self.described += found.looked_at
        self.costly += found.costly
        self.unreadable += found.unreadable
        self.several += found.several


def describe_parts(folder: Path, parts: dict[str, Split], workers: int) -> dict[str, PartDescription]:
    """Descriptors and elements of a random sample of each part.

    Args:
        folder: of the corpus.
        parts: by name.
        workers: processes; the result depends on them in nothing.
    """
    draws = {name: sample(len(split), SAMPLE) for name, split in parts.items()}
    found = {name: PartDescription(len(split)) for name, split in parts.items()}
    owners: list[str] = []

    def tasks() -> Iterator[Task]:
        for name, drawn in draws.items():
            for task in _tasks(folder, parts[name], drawn):
                owners.append(name)
                yield task

    with ProgressBar("describe", sum(map(len, draws.values())), "molecules") as progress:
        for number, done in enumerate(ordered_map(describe, tasks(), workers)):
            found[owners[number]].add(done)
            progress.advance(done.looked_at)
    return found


def _tasks(folder: Path, split: Split, drawn: np.ndarray) -> Iterator[Task]:
    """Tasks over drawn molecules; the first ones of the draw have the costly descriptors too."""
    for members, costly in ((drawn[:COSTLY_SAMPLE], True), (drawn[COSTLY_SAMPLE:], False)):
        members = np.sort(members)  # in the order of the file
        for start in range(0, len(members), CHUNK):
            tokens, lengths = split.gather(members[start : start + CHUNK])
            yield Task(folder, tuple(np.split(tokens, np.cumsum(lengths)[:-1])), costly)


@lru_cache(maxsize=1)
def _tokenizer(folder: Path) -> AnyTokenizer:
    return load_tokenizer(folder)


def describe(task: Task) -> Described:
    """Descriptors and elements of the molecules of a task."""
    tokenizer = _tokenizer(task.folder)
    names = (*CHEAP, *COSTLY) if task.costly else CHEAP
    rows: list[list[float]] = []
    with_element, atoms = np.zeros(ELEMENTS, np.int64), np.zeros(ELEMENTS, np.int64)
    unreadable = several = 0
    with rdBase.BlockLogs():
        for ids in task.ids:
            smiles = tokenizer.to_smiles(ids.tolist())
            molecule = Chem.MolFromSmiles(smiles) if smiles else None
            if molecule is None:
                unreadable += 1
                continue
            rows.append([_number(name, molecule) for name in names])
            several += "." in smiles
            counts = np.bincount([a.GetAtomicNum() for a in molecule.GetAtoms()], minlength=ELEMENTS)
            with_element += counts > 0
            atoms += counts
    table = np.array(rows, dtype=float).reshape(-1, len(names))
    values = dict(zip(names, table.T, strict=True))
    costly = len(task.ids) if task.costly else 0
    return Described(values, with_element, atoms, unreadable, several, len(task.ids), costly)


def _number(name: str, molecule: Chem.Mol) -> float:
    try:
        return DESCRIPTORS[name].of(molecule)
    except (ValueError, RuntimeError):  # RDKit has no rule for it
        return float("nan")
