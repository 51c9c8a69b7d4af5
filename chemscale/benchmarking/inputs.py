"""What works are done on, made on the spot where no file is given: molecules, and structures with forces."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from chemscale.benchmarking.works import Work
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.sources import Source
from chemscale.molecules.starter.recombine import starter_smiles
from chemscale.structures.sources.starter import MOLECULES as SMALL_MOLECULES
from chemscale.structures.sources.starter import force_field

MOLECULES, STRUCTURES = 2000, 384
SPREAD = 0.05
"""Å: standard deviation of each coordinate around the minimum of the force field."""


@dataclass(frozen=True)
class Inputs:
    """Files that every worker reads.

    Args:
        smiles: molecules, one a line.
        symbols: the same as rows of symbol ids, for codes without our preparation.
        structures: frames with energies and forces, extended XYZ.
        vocabulary: symbols of the tokenizer.
        description: where they are from.
    """

    smiles: Path
    symbols: Path
    structures: Path
    vocabulary: int
    description: dict[str, str]


def make_inputs(
    folder: Path, works: Sequence[Work], molecules: Path | None, structures: Path | None, *, quick: bool
) -> Inputs:
    """Write the files that works need.

    Args:
        folder: for them.
        works: that are to be done.
        molecules: a file of SMILES whose first ones are taken; None for starter molecules.
        structures: a file of structures with energies and forces; None for molecules near minima of MMFF94.
        quick: fewer of them.

    Raises:
        FileNotFoundError: a file that is not there.
        ValueError: structures without labels.
    """
    smiles, symbols, frames = (folder / name for name in ("molecules.smi", "symbols.json", "structures.xyz"))
    vocabulary, description = 0, {}
    if any(work.is_language for work in works):
        count = MOLECULES // 4 if quick else MOLECULES
        lines = first_molecules(molecules, count) if molecules else starter_smiles(count, workers=1)
        smiles.write_text("\n".join(lines) + "\n")
        corpus = build_corpus([smiles], folder / "corpus", workers=1)
        symbols.write_text(json.dumps({"molecules": shuffled_symbols(corpus)}))
        vocabulary = corpus.tokenizer.vocab_size
        description["molecules"] = str(molecules or f"{count:,} starter molecules")
    if any(work.unit == "atoms" for work in works):
        write_structures(frames, structures, STRUCTURES // 2 if quick else STRUCTURES)
        description["structures"] = str(structures or "starter molecules, MMFF94")
    return Inputs(smiles, symbols, frames, vocabulary, description)


def first_molecules(path: Path, count: int) -> list[str]:
    """The first SMILES of a file.

    Args:
        path: any file that ``prepare`` reads.
        count: at most so many.
    """
    return [smiles for _, smiles in itertools.islice(Source(path), count)]


def shuffled_symbols(corpus: Corpus) -> list[list[int]]:
    """Symbol ids of every training molecule, in one random order.

    Args:
        corpus: that they stand in.
    """
    order = np.random.default_rng(0).permutation(len(corpus.train))
    return [corpus.train.tokens(int(index)).tolist() for index in order]


def write_structures(to: Path, source: Path | None, count: int) -> None:
    """Structures with energies and forces in one random order.

    Args:
        to: extended XYZ to write.
        source: any file that ASE reads; None to make them.
        count: at most so many of the file.

    Raises:
        ValueError: structures without energies or forces.
    """
    read = ase.io.read(source, index=f":{count}") if source else made_structures(count)
    frames = read if isinstance(read, list) else [read]
    for frame in frames:
        found = frame.calc.results if frame.calc is not None else {}
        if not {"energy", "forces"} <= set(found):
            raise ValueError(f"--structures {source}: its structures need an energy and forces.")
    order = np.random.default_rng(0).permutation(len(frames))
    ase.io.write(to, [frames[int(index)] for index in order], format="extxyz")


def made_structures(count: int) -> list[ase.Atoms]:
    """Molecules near the minima of MMFF94, with its energies and forces.

    Args:
        count: in all, spread evenly over the starter's molecules.
    """
    random = np.random.default_rng(0)
    frames: list[ase.Atoms] = []
    field = functools.cache(force_field)
    for smiles, number in zip(itertools.cycle(SMALL_MOLECULES), range(count), strict=False):
        numbers, positions, calculator = field(smiles, 0)
        atoms = ase.Atoms(numbers, positions + random.normal(0, SPREAD, positions.shape))
        atoms.calc = calculator
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        frames.append(ase.Atoms(numbers, atoms.positions))
        frames[number].calc = SinglePointCalculator(frames[number], **labels)
    return frames
