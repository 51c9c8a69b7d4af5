"""Which frames show the same molecule, whatever name a file gives them.

Frames of one name and formula are of one molecule. Names do not tell whether two are (a temperature, a file,
a number of a trajectory stand in them as well), so that frames of one formula and several names are compared
by their bonds. Where bonds cannot be told the formula decides, which divides no molecule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import reduce
from math import gcd

import numpy as np
from ase.data import covalent_radii
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from chemscale.structures.blocks import Block
from chemscale.structures.graphs import Structure
from chemscale.structures.neighbours import neighbour_list
from chemscale.structures.preparation.splits import hash64
from chemscale.structures.store import FrameStore

BOND = 1.3
"""Atoms are bonded within this multiple of the sum of their covalent radii: no frame of 7,955 from molecular
dynamics at 300 to 500 K loses or gains a bond between 1.25 and 1.35 (docs/lab-notes.md)."""
SAMPLE = 8
"""Frames of one name whose bonds are looked at."""
ROUNDS = 16
"""Bonds over which an atom sees its surroundings in the hash of a graph."""


def name_and_formula(block: Block) -> tuple[int, int]:
    """Hash of a block's name and composition, and of its composition alone.

    The composition of a crystal is its reduced formula: a supercell is the same crystal.

    Args:
        block: frames of one name.
    """
    ordered = np.sort(block.numbers)
    named = hash64(block.name.encode() + bytes(ordered))
    if block.pbc is None or not block.pbc.any():
        return named, hash64(b"molecule" + bytes(ordered))
    counts = np.bincount(ordered)
    return named, hash64(b"crystal" + str((counts // reduce(gcd, counts.tolist())).tolist()).encode())


def molecules_of(
    store: FrameStore, named: np.ndarray, formulas: np.ndarray, geometry: np.ndarray
) -> np.ndarray:
    """Hash of each frame's molecule, (F,): ``named`` where no other name is of the same molecule.

    Args:
        store: where frames are read from.
        named: (F,) hash of each frame's name and composition.
        formulas: (F,) hash of each frame's composition.
        geometry: (F,) hash of each frame's geometry, by which frames are drawn.
    """
    keys, first, which, counts = np.unique(named, return_index=True, return_inverse=True, return_counts=True)
    by_formula: dict[int, list[int]] = defaultdict(list)
    for number, frame in enumerate(first):
        by_formula[int(formulas[frame])].append(number)
    several = [numbers for numbers in by_formula.values() if len(numbers) > 1]
    if not several:
        return named
    drawn = np.split(np.lexsort((geometry, which)), np.cumsum(counts)[:-1])
    alike = [pair for numbers in several for pair in _alike(store, {n: drawn[n] for n in numbers})]
    if not alike:
        return named
    pairs = np.array(alike).T
    matrix = coo_matrix((np.ones(len(alike)), pairs), shape=(len(keys), len(keys)))
    _, molecule = connected_components(matrix, directed=False)
    smallest = np.full(len(keys), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, molecule, keys)
    return smallest[molecule][which]


def _alike(store: FrameStore, frames: dict[int, np.ndarray]) -> Iterator[tuple[int, int]]:
    """Pairs of names that are of one molecule, among names of one formula.

    Args:
        store: where frames are read from.
        frames: of each name, in an order of their own.
    """
    seen: dict[int, int] = {}
    unclear = False
    for name, members in frames.items():
        graphs = {bond_graph(store.structure(int(frame))) for frame in members[:SAMPLE]} - {None}
        unclear |= not graphs
        for graph in graphs:
            assert graph is not None
            yield seen.setdefault(graph, name), name
    if unclear:
        yield from ((min(frames), name) for name in frames)


def bond_graph(structure: Structure, bond: float = BOND) -> int | None:
    """Hash of a molecule's elements and bonds, the same in any order of atoms and in any conformation.

    Args:
        structure: n atoms.
        bond: as `BOND`.

    Returns:
        None where the bonds say nothing: of a crystal, whose cell is a choice, and of what falls apart.
    """
    n = len(structure.numbers)
    if structure.pbc is not None:
        return None
    radii = covalent_radii[structure.numbers]
    (senders, receivers), _ = neighbour_list(structure.positions, 2 * bond * float(radii.max()))
    vectors = structure.positions[senders] - structure.positions[receivers]
    bonded = np.linalg.norm(vectors, axis=1) <= bond * (radii[senders] + radii[receivers])
    bonds = coo_matrix((np.ones(int(bonded.sum())), (receivers[bonded], senders[bonded])), shape=(n, n))
    if connected_components(bonds, directed=False)[0] > 1:
        return None
    label = _mixed(structure.numbers.astype(np.uint64))
    with np.errstate(over="ignore"):
        for _ in range(min(n, ROUNDS)):
            around = np.zeros(n, np.uint64)
            np.add.at(around, bonds.row, _mixed(label)[bonds.col])
            label = _mixed(label * np.uint64(3) + around)
        return int(_mixed(label).sum(dtype=np.uint64))


def _mixed(x: np.ndarray) -> np.ndarray:
    """Well-mixed 64-bit numbers of 64-bit numbers (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
