"""What of a frame tells whether another one shows the same: geometry, composition, molecule."""

from __future__ import annotations

import numpy as np

from chemscale.structures.blocks import Block
from chemscale.structures.graphs import Structure
from chemscale.structures.lint.evidence.geometry import fingerprints
from chemscale.structures.lint.evidence.lattices import Lattices
from chemscale.structures.preparation.molecules import bond_graph, name_and_formula


def geometry_prints(block: Block) -> np.ndarray:
    """Two hashes of each geometry, (k, 2); frames that share one have the same distances within 10⁻³ Å.

    Few distances agree by chance: those of three atoms have to within 10⁻⁴ Å, that of two within 10⁻⁶ Å.
    Hashes are the same for turned, moved, mirrored, wrapped and reordered copies. Charge and multiplicity do
    not enter: many sets do not state them.

    Args:
        block: k frames.
    """
    lattices = None
    if block.cells is not None and block.pbc is not None and block.pbc.any():
        lattices = Lattices(block.cells, block.pbc)
    return fingerprints(block.numbers, block.positions, lattices)


def among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether each value is one of those known, (k,); unlike ``np.isin`` it does not sort them at each call.

    Args:
        values: (k,).
        known: (m,) rising.
    """
    if not len(known):
        return np.zeros(len(values), bool)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return known[places] == values


def formula_of(block: Block) -> int:
    """Hash of the composition of a block; that of a crystal is its reduced formula."""
    return name_and_formula(block)[1]


def is_periodic(block: Block) -> bool:
    """Whether a block is of crystals."""
    return block.pbc is not None and bool(block.pbc.any())


def graph_of(block: Block, frame: int) -> int | None:
    """Hash of the bonds of a frame; None where they say nothing (crystals, what falls apart).

    Args:
        block: that it is in.
        frame: its place in the block.
    """
    if is_periodic(block):
        return None
    return bond_graph(Structure(block.numbers, block.positions[frame]))
