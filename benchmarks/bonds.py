"""How often frames of one molecule show other bonds than most of its frames, by what counts as a bond.

python benchmarks/bonds.py FILE …    # files that data=structures reads, each name in them one molecule
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from chemscale.structures.graphs import Structure
from chemscale.structures.preparation.molecules import BOND, bond_graph
from chemscale.structures.sources.combined import open_sources

LENGTHS = (1.15, 1.2, 1.25, BOND, 1.35, 1.4)
MAX_FRAMES = 400
"""Of each block."""


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        molecules: dict[tuple[str, bytes], list[Structure]] = defaultdict(list)
        for block in open_sources([path], {}).blocks():
            kind = block.name, bytes(np.sort(block.numbers))
            molecules[kind] += [Structure(block.numbers, p) for p in block.positions[:MAX_FRAMES]]
        frames = sum(map(len, molecules.values()))
        formulas = len({formula for _, formula in molecules})
        print(f"{path.name}: {frames:,} frames of {len(molecules)} names and {formulas} formulas")
        for length in LENGTHS:
            other = apart = 0
            for members in molecules.values():
                graphs = Counter(bond_graph(member, length) for member in members)
                other += len(members) - max(graphs.values())
                apart += graphs[None]
            print(f"  {length:.2f} of the covalent radii: {other} frames differ, {apart} fall apart")


if __name__ == "__main__":
    main()
