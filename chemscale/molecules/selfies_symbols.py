"""SELFIES symbols of a SMILES, as the selfies package gives them and several times faster.

The package makes an object of every token, atom and bond. Here one regular expression cuts the SMILES, each
distinct token is looked at once a process, and symbols are written in the order of the text. What decides
chemistry stays the package's own: how an atom is read and written, how many bonds it may have, whether it
takes part in the double bonds of aromatic rings, and where those lie (Krenn et al. 2020, Lo et al. 2023).

Whatever is not plain is left to the package: errors, odd spellings, releases that were not compared.
``CHEMSCALE_PLAIN_SELFIES=1`` leaves everything to it.
"""

from __future__ import annotations

import operator
import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version

import selfies

VERIFIED = ("2.1.2", "2.2.0")
"""Releases whose encoder was compared, symbol by symbol."""
IS_FAST = version("selfies") in VERIFIED and not os.environ.get("CHEMSCALE_PLAIN_SELFIES")
if IS_FAST:
    from selfies.grammar_rules import get_selfies_from_index
    from selfies.mol_graph import MolecularGraph
    from selfies.utils.matching_utils import find_perfect_matching
    from selfies.utils.smiles_utils import atom_to_smiles, smiles_to_atom

ENCODER_ERRORS = (selfies.EncoderError, RecursionError, LookupError, ValueError, AssertionError)
"""What the package raises for molecules: some that it does not foresee fail its assertions and look-ups."""
MAX_DEPTH = 100
"""Branches within branches: the package recurses, and fails from some 900 on."""
MAX_TOKENS = 50_000
"""Distinct tokens that a process keeps: corpora have hundreds, untrusted texts may have any number."""
CACHED = 1 << 14
"""Aromatic systems, branches and rings that a process keeps: 20 MB at most."""

_TOKEN = re.compile(r"[-=#/\\]?(?:\[[^\[\]]*\]|Br|Cl|[A-Za-z]|%[0-9]{2}|[0-9])|[().]")
_ODD = re.compile(
    r"\A(?![A-Za-z\[])"  # a bond, ring or bracket before the first atom
    r"|\.(?![A-Za-z\[])"
    r"|\((?![-=#/\\]?[A-Za-z\[])"
    r"|\)(?!\(|[-=#/\\]?[A-Za-z\[])"  # a chain that ends with a branch in brackets, a ring behind one
)
_ATOM, _RING, _OPEN, _CLOSE, _DOT = range(5)
_MARKS = {"(": _OPEN, ")": _CLOSE, ".": _DOT}
_BONDS = {"-": 1, "=": 2, "#": 3, "/": 4, "\\": 5}
_NONE, _DOUBLE, _TRIPLE, _UP = 0, 2, 3, 4
_TEXTS = ("", "", "=", "#", "/", "\\")
_ORDERS = (2, 2, 4, 6, 2, 2)
"""Of each bond, doubled: an aromatic bond is 3."""
_AROMATIC = 3
_BEHIND = 1 << 30
"""Where a bond to an atom further on stands among the neighbours of a centre: behind all rings."""


class _OddError(Exception):
    """A spelling that is left to the package."""


@dataclass(eq=False)
class _Kind:
    """What the token of an atom says, its bond aside.

    Args:
        text: of the token.
        aromatic: whether the atom is.
        capacity: bonds that it may have, doubled.
        symbols: its SELFIES symbol behind no bond and each of ``_BONDS``.
        mirrored: those of the mirror image; empty where the token names no chirality.
        alone: bonds, doubled, × 2¹⁶ + aromatic bonds → whether it has no double bond in an aromatic ring.
    """

    text: str
    aromatic: bool = False
    capacity: int = 0
    symbols: tuple[str, ...] = ()
    mirrored: tuple[str, ...] = ()
    alone: dict[int, bool] = field(default_factory=dict)


_Token = tuple[int, int, _Kind]
"""What it is, the bond before it, and the atom or the label of the ring."""


class _Tokens(dict[str, _Token]):
    """Tokens of SMILES and what they mean, each looked at when it is first met."""

    def __init__(self, constraints: dict[str, int]):
        super().__init__()
        self.constraints = constraints
        self._kinds: dict[str, _Kind] = {}

    def __missing__(self, text: str) -> _Token:
        if text in _MARKS:
            found = (_MARKS[text], _NONE, _Kind(text))
        else:
            bond = _BONDS.get(text[0], _NONE)
            bare = text[1:] if bond else text
            if bare not in self._kinds:
                self._kinds[bare] = _Kind(bare) if bare[0] in "%0123456789" else _kind(bare)
            found = (_ATOM if self._kinds[bare].symbols else _RING, bond, self._kinds[bare])
        self[text] = found
        return found


def _kind(text: str) -> _Kind:
    atom = smiles_to_atom(text)
    if atom is None:
        raise _OddError
    aromatic, atom.is_aromatic = atom.is_aromatic, False
    symbols = _symbols_of_atom(atom)
    mirrored: tuple[str, ...] = ()
    if atom.chirality is not None:
        atom.invert_chirality()
        mirrored = _symbols_of_atom(atom)
    return _Kind(text, aromatic, 2 * atom.bonding_capacity, symbols, mirrored)


def _symbols_of_atom(atom: object) -> tuple[str, ...]:
    return tuple(f"[{bond}{atom_to_smiles(atom, brackets=False)}]" for bond in _TEXTS)


@dataclass
class _Graph:
    """A molecule as it is read.

    Args:
        kinds: of its atoms.
        parents: the atom before each in its chain; -1 for none.
        bonds: the bond to it.
        orders: sum over the bonds of each, doubled.
        aromatic: aromatic neighbours of each aromatic atom, by the order of the bonds in the text.
        rings: first and last atom of each ring closure and the bonds at their labels.
        centres: of each chiral atom, where its neighbours stand: 0 for a ring that ends there, 1 + the other
            end for one that begins there, ``_BEHIND`` for others.
        order: atoms, -1 and -2 for the ends of a branch, -3 for a dot, -4 - i for ring i, as written.
    """

    kinds: list[_Kind] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    bonds: list[int] = field(default_factory=list)
    orders: list[int] = field(default_factory=list)
    aromatic: dict[int, list[int]] = field(default_factory=dict)
    rings: list[tuple[int, int, int, int]] = field(default_factory=list)
    centres: dict[int, list[int]] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)


_tokens = _Tokens({})


def selfies_symbols(smiles: str) -> list[str]:
    """Symbols of ``selfies.encoder(smiles)`` under the constraints that are set.

    Args:
        smiles: of a molecule.

    Raises:
        EncoderError: SELFIES cannot express it. The package raises others of ``ENCODER_ERRORS`` too.
    """
    if IS_FAST:
        try:
            return _symbols(smiles)
        except _OddError:
            pass
    return list(selfies.split_selfies(selfies.encoder(smiles)))


def _symbols(smiles: str) -> list[str]:
    global _tokens
    constraints = selfies.get_semantic_constraints()
    if constraints != _tokens.constraints or len(_tokens) > MAX_TOKENS:
        _tokens = _Tokens(constraints)
    texts = _TOKEN.findall(smiles)
    if _ODD.search(smiles) or "".join(texts) != smiles:
        raise _OddError
    graph = _read(texts)
    mates = _double_bonds(graph) if graph.aromatic else {}
    if any(map(operator.gt, graph.orders, [kind.capacity for kind in graph.kinds])):
        raise _OddError
    return _write(graph, mates)


def _read(texts: list[str]) -> _Graph:
    """The molecule of tokens."""
    graph = _Graph()
    kinds, parents, bonds, orders = graph.kinds, graph.parents, graph.bonds, graph.orders
    aromatic, centres, order = graph.aromatic, graph.centres, graph.order
    open_rings: dict[str, tuple[int, int, int]] = {}
    branches: list[int] = []
    number, last = 0, -1
    for what, bond, kind in map(_tokens.__getitem__, texts):
        if what == _ATOM:
            amount = _ORDERS[bond]
            if kind.aromatic:
                aromatic[number] = []
                if bond == _NONE and last in aromatic:
                    amount = _AROMATIC
                    aromatic[last].append(number)
                    aromatic[number].append(last)
            if last < 0:
                orders.append(0)
            else:
                orders[last] += amount
                orders.append(amount)
                if last in centres:
                    centres[last].append(_BEHIND)
            if kind.mirrored:
                centres[number] = []
            kinds.append(kind)
            parents.append(last)
            bonds.append(bond)
            order.append(number)
            last = number
            number += 1
        elif what == _RING:
            if kind.text in open_rings:
                order.append(-4 - len(graph.rings))
                _close_ring(graph, open_rings.pop(kind.text), last, bond)
            else:
                place = len(centres[last]) if last in centres else -1
                open_rings[kind.text] = (last, bond, place)
                if place >= 0:
                    centres[last].append(_BEHIND)
        elif what == _OPEN:
            branches.append(last)
            order.append(-1)
        elif what == _CLOSE and branches:
            last = branches.pop()
            order.append(-2)
        elif what == _CLOSE or branches or open_rings:
            raise _OddError
        else:
            last = -1
            order.append(-3)
        if len(branches) > MAX_DEPTH:
            raise _OddError
    if branches or open_rings:
        raise _OddError
    return graph


def _close_ring(graph: _Graph, begin: tuple[int, int, int], last: int, bond: int) -> None:
    """Bond an atom to the one where its ring was opened."""
    first, other, place = begin
    fits = bond == other or not bond or not other or (bond >= _UP and other >= _UP)
    is_bonded = first == last or graph.parents[last] == first
    if not fits or is_bonded or any(ring[:2] == (first, last) for ring in graph.rings):
        raise _OddError
    amount = max(_ORDERS[other], _ORDERS[bond])
    if bond == other == _NONE and first in graph.aromatic and last in graph.aromatic:
        amount = _AROMATIC
        graph.aromatic[first].append(last)
        graph.aromatic[last].append(first)
    graph.orders[first] += amount
    graph.orders[last] += amount
    if place >= 0:
        graph.centres[first][place] = 1 + last
    if last in graph.centres:
        graph.centres[last].append(0)
    graph.rings.append((first, last, other, bond))


def _double_bonds(graph: _Graph) -> dict[int, int]:
    """Atoms that the double bonds of aromatic rings join; orders are brought up to date."""
    kinds, orders, aromatic = graph.kinds, graph.orders, graph.aromatic
    kept = []
    for atom, near in aromatic.items():
        alone, key = kinds[atom].alone, (orders[atom] << 16) + len(near)
        if key not in alone:
            alone[key] = _is_alone(kinds[atom].text, orders[atom] / 2, len(near))
        if not alone[key]:
            kept.append(atom)
    label = {atom: i for i, atom in enumerate(kept)}
    joined = tuple([tuple([label[n] for n in aromatic[atom] if n in label]) for atom in kept])
    matching = _matching(joined)
    if matching is None:
        raise _OddError
    for atom, near in aromatic.items():
        orders[atom] -= len(near)
    mates = {}
    for atom, mate in zip(kept, matching, strict=True):
        mates[atom] = kept[mate]
        orders[atom] += 2
    return mates


def _is_alone(text: str, bonds: float, aromatic: int) -> bool:
    """Whether the package leaves an atom out of the double bonds of aromatic rings.

    Args:
        text: of its token.
        bonds: sum of their orders, an aromatic one counted 1.5.
        aromatic: bonds of them that are.
    """
    graph = MolecularGraph()
    graph.add_atom(smiles_to_atom(text))
    graph._delocal_subgraph[0] = [0] * aromatic
    graph._bond_counts[0] = bonds
    return bool(graph._prune_from_ds(0))


@lru_cache(CACHED)
def _matching(graph: tuple[tuple[int, ...], ...]) -> tuple[int, ...] | None:
    found = find_perfect_matching(graph)
    return None if found is None else tuple(found)


def _write(graph: _Graph, mates: dict[int, int]) -> list[str]:
    """The symbols of a molecule."""
    texts = [kind.symbols for kind in graph.kinds]
    for atom, places in graph.centres.items():
        if _is_odd(places):
            texts[atom] = graph.kinds[atom].mirrored
    bonds, parents = graph.bonds, graph.parents
    for atom, mate in mates.items():
        if parents[atom] == mate:
            bonds[atom] = _DOUBLE
    symbols: list[str] = []
    outer: list[list[str]] = []
    for item in graph.order:
        if item >= 0:
            symbols.append(texts[item][bonds[item]])
        elif item == -1:
            outer.append(symbols)
            symbols = []
        elif item == -2:
            branch, symbols = symbols, outer.pop()
            symbols += _branch(branch[0][1], len(branch))
            symbols += branch
        elif item == -3:
            symbols.append(".")
        else:
            first, last, begin, end = graph.rings[-4 - item]
            bond = "=" if mates.get(first, -1) == last else _ring_bond(begin, end)
            symbols += _ring(bond, last - first)
    return symbols


def _is_odd(places: list[int]) -> bool:
    """Whether an odd number of exchanges sorts the neighbours of a centre: SELFIES shows its mirror image."""
    return sum(a > b for i, a in enumerate(places) for b in places[i + 1 :]) % 2 == 1


def _ring_bond(begin: int, end: int) -> str:
    """How the symbol of a ring begins, by the bonds at its labels."""
    if max(_ORDERS[begin], _ORDERS[end]) > 2:
        return _TEXTS[_TRIPLE if _TRIPLE in (begin, end) else _DOUBLE]
    if begin < _UP and end < _UP:
        return ""
    return (_TEXTS[begin] or "-") + (_TEXTS[end] or "-")


@lru_cache(CACHED)
def _branch(first: str, size: int) -> tuple[str, ...]:
    """Symbols before a branch, by what its first symbol begins with and how many it has."""
    length = get_selfies_from_index(size - 1)
    return (f"[{first if first in '=#' else ''}Branch{len(length)}]", *length)


@lru_cache(CACHED)
def _ring(bond: str, size: int) -> tuple[str, ...]:
    length = get_selfies_from_index(size - 1)
    return (f"[{bond}Ring{len(length)}]", *length)
