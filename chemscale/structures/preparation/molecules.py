"""Which frames show the same molecule, whatever name a file gives them.

Frames of one name and formula are of one molecule. Names do not tell whether two are (a temperature, a file,
a number of a trajectory stand in them as well), so that frames of one formula and several names are compared
by their bonds. Where bonds cannot be told the formula decides, which divides no molecule.
"""

from __future__ import annotations

from functools import reduce
from math import gcd

import numpy as np
from ase.data import covalent_radii
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from chemscale.common.progress import ProgressBar
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
    _, formula, names = np.unique(formulas[first], return_inverse=True, return_counts=True)
    several = names[formula] > 1
    if not several.any():
        return named
    order = np.lexsort((geometry, which))
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)  # within the name
    looked = order[(place < SAMPLE) & several[which[order]]]
    pairs = _alike(which[looked], *_graphs(store, looked), formula)
    matrix = coo_matrix((np.ones(pairs.shape[1]), pairs), shape=(len(keys), len(keys)))
    _, molecule = connected_components(matrix, directed=False)
    smallest = np.full(len(keys), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, molecule, keys)
    return smallest[molecule][which]


def _graphs(store: FrameStore, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bonds of frames as ``bond_graph``, (k,), and whether they say anything, (k,)."""
    graphs, known = np.zeros(len(frames), np.uint64), np.zeros(len(frames), bool)
    with ProgressBar("bonds of names of one formula", len(frames), "frames", every=5.0) as progress:
        for place, frame in enumerate(frames.tolist()):
            graph = bond_graph(store.structure(frame))
            if graph is not None:
                graphs[place], known[place] = graph, True
            progress.advance(1)
    return graphs, known


def _alike(names: np.ndarray, graphs: np.ndarray, known: np.ndarray, formula: np.ndarray) -> np.ndarray:
    """Pairs of names that are of one molecule, (2, m): names of one formula with a graph in common.

    Where no frame of a name has one, all names of its formula are of one molecule.

    Args:
        names: (k,) number of each frame's name.
        graphs: (k,) of the frames.
        known: (k,) whether they say anything.
        formula: (N,) number of each name's formula.
    """
    clear, unclear = np.zeros(len(formula), bool), np.zeros(len(formula), bool)
    clear[names[known]] = True
    unclear[formula[names[~clear[names]]]] = True
    of = formula[names]
    graphs = np.where(unclear[of], np.uint64(0), graphs)
    told = np.flatnonzero(known | unclear[of])
    told = told[np.lexsort((graphs[told], of[told]))]
    one, other = told[:-1], told[1:]
    same = (of[one] == of[other]) & (graphs[one] == graphs[other])
    return np.stack([names[one[same]], names[other[same]]])


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
    senders, ends = senders[bonded], np.cumsum(np.bincount(receivers[bonded], minlength=n))
    if not _is_one_piece(senders.tolist(), ends.tolist()):
        return None
    starts = np.append(0, ends[:-1])
    label = _mixed(structure.numbers.astype(np.uint64))
    kinds = len(set(label.tolist()))
    for _ in range(min(n, ROUNDS)):
        # In one piece each of several atoms has a bond, and receivers rise.
        around = np.add.reduceat(_mixed(label)[senders], starts) if n > 1 else np.uint64(0)
        label = _mixed(label * np.uint64(3) + around)
        found = len(set(label.tolist()))
        if found == kinds:
            break  # no further round tells more atoms apart
        kinds = found
    return int(_mixed(label).sum(dtype=np.uint64))


def _is_one_piece(partners: list[int], ends: list[int]) -> bool:
    """Whether all atoms are joined by bonds.

    Args:
        partners: of the first atom, of the second, ….
        ends: where those of each atom end.
    """
    reached, seen = [0], {0}
    for atom in reached:
        for other in partners[ends[atom - 1] if atom else 0 : ends[atom]]:
            if other not in seen:
                seen.add(other)
                reached.append(other)
    return len(seen) == len(ends)


def _mixed(x: np.ndarray) -> np.ndarray:
    """Well-mixed 64-bit numbers of 64-bit numbers (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
