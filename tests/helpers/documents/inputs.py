"""The files that a reader has and CI makes: molecules, frames, and tables of somebody's runs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import selfies
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from chemscale.molecules.starter.recombine import starter_smiles
from chemscale.molecules.tokenizers.notation import to_version_1
from chemscale.structures.sources.starter import StarterFrames, write_starter
from tests.helpers.published import published_like
from tests.helpers.published_models import downloaded

MOLECULES = 600
FRAMES = 120


def make_inputs(folder: Path) -> None:
    """``my.csv``, ``my_molecules.csv``, ``my.extxyz``, ``molecules.xyz``, tables; a ``ChemGPT-4.7M``."""
    smiles = starter_smiles(MOLECULES, workers=1)
    for name in ("my.csv", "my_molecules.csv"):
        rows = [("id", "smiles"), *((f"mol{n}", text) for n, text in enumerate(smiles))]
        table(folder / name, rows)
    downloaded(folder / "ChemGPT-4.7M", published_like("1", old_symbols(smiles)))
    labelled = frames(folder / ".frames.npz")
    write(folder / "my.extxyz", labelled, format="extxyz")
    bare = [Atoms(numbers=atoms.numbers, positions=atoms.positions) for atoms in labelled[:10]]
    write(folder / "molecules.xyz", bare, format="extxyz")
    runs = some_runs()
    for name in ("runs.csv", "anyones_runs.csv"):
        table(folder / name, [("params", "tokens", "val_loss"), *((n, d, loss) for n, d, _, loss in runs)])
    head = ("Name", "State", "summary.parameters", "summary.flops", "summary.loss")
    rows = [(f"run{k}", "finished", n, c, loss) for k, (n, _, c, loss) in enumerate(runs)]
    table(folder / "wandb_export.csv", [head, *rows])


def old_symbols(smiles: list[str]) -> list[str]:
    """What molecules without stereo are made of in SELFIES 1, the line of the published models."""
    new = {
        symbol
        for text in smiles
        if "@" not in text
        for symbol in selfies.split_selfies(selfies.encoder(text))
    }
    return sorted(old for symbol in new if (old := to_version_1(symbol)))


def frames(path: Path) -> list[Atoms]:
    """Starter frames with GFN2-xTB labels, in random order."""
    write_starter(path, FRAMES, workers=1)
    found = []
    for block in StarterFrames(path).blocks():
        for energy, positions, forces in zip(block.energies, block.positions, block.forces, strict=True):
            atoms = Atoms(numbers=block.numbers, positions=positions)
            atoms.calc = SinglePointCalculator(atoms, energy=float(energy), forces=forces)
            found.append(atoms)
    path.unlink()
    order = np.random.default_rng(0).permutation(len(found))
    return [found[n] for n in order]


def some_runs() -> list[tuple[float, float, float, float]]:
    """Parameters, tokens, FLOPs and losses of a known law with 1 % of noise."""
    rng = np.random.default_rng(0)
    sizes, horizons = [1e5, 3e5, 1e6, 3e6, 1e7], [1e7, 3e7, 1e8, 3e8, 1e9]
    return [
        (n, d, 6 * n * d, (0.8 + 60 * n**-0.4 + 150 * d**-0.38) * np.exp(0.01 * rng.standard_normal()))
        for n in sizes
        for d in horizons
    ]


def table(path: Path, rows: list[tuple]) -> None:
    """A CSV."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
