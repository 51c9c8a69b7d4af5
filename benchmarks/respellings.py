"""Rows that remain of one molecule spelled in several ways, and what a row costs.

Each molecule of the file is spelled in another order of atoms, with Kekulé bonds, with hydrogens written out
and with atom maps. Counted are the rows of a corpus: by RDKit's canonical SMILES of each spelling without
its maps, written once, and by ``standardize``.

python benchmarks/respellings.py FILE [--rows 10000] [--stereo strip] [--salts largest] [--charge neutralize]
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rdkit import Chem, rdBase

from chemscale.molecules.preparation.standardize import Molecule, Policy, standardize


def spellings(smiles: str, rng: random.Random) -> Iterator[str]:
    """The same molecule in four ways.

    Args:
        smiles: of the molecule.
        rng: for the maps.
    """
    for way in ("order", "Kekulé", "hydrogens", "maps"):
        molecule = Chem.MolFromSmiles(smiles)
        if way == "hydrogens":
            molecule = Chem.AddHs(molecule)
        if way == "maps":
            for atom in molecule.GetAtoms():
                atom.SetAtomMapNum(rng.randrange(1, 999))
        if way == "Kekulé":
            Chem.Kekulize(molecule, clearAromaticFlags=True)
        yield Chem.MolToSmiles(molecule, doRandom=True, kekuleSmiles=way == "Kekulé")


def written_once(text: str) -> str | None:
    """RDKit's canonical SMILES.

    Args:
        text: SMILES.
    """
    molecule = Chem.MolFromSmiles(text)
    return None if molecule is None else Chem.MolToSmiles(molecule)


def count(title: str, row_of: Callable[[str], str | None], groups: list[list[str]]) -> None:
    """Print how many rows the molecules become.

    Args:
        title: of the line.
        row_of: SMILES of a spelling's row, None where it is dropped.
        groups: the spellings of each molecule, the one in the file first.
    """
    started = time.process_time()
    rows = [[row_of(text) for text in group] for group in groups]
    seconds = time.process_time() - started
    kept = {group[0] for group in rows} - {None}
    spelled = {row for group in rows for row in group} - {None}
    several = sum(len(set(group)) > 1 for group in rows)
    print(
        f"{title:12} {len(kept):,} rows of the file, {len(spelled):,} with all spellings; {several:,} "
        f"molecules with several rows; {1e6 * seconds / sum(map(len, groups)):.0f} µs a spelling"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=10_000)
    for key, default in (("stereo", "keep"), ("salts", "keep"), ("charge", "keep")):
        parser.add_argument(f"--{key}", default=default)
    options = parser.parse_args()
    policy = Policy(options.stereo, options.salts, options.charge)
    opener = gzip.open if options.file.suffix == ".gz" else open
    with opener(options.file, "rt") as file:
        lines = [line.split()[0] for line in itertools.islice(file, options.rows)]
    rng = random.Random(0)
    with rdBase.BlockLogs():
        known = [line for line in lines if Chem.MolFromSmiles(line) is not None]
        groups = [[line, *spellings(line, rng)] for line in known]
        count("written once", written_once, groups)

    def row_of(text: str) -> str | None:
        found = standardize(text, policy)
        return found.smiles if isinstance(found, Molecule) else None

    count("standardize", row_of, groups)


if __name__ == "__main__":
    main()
