"""What each symbol of a SELFIES does while it is read: which are atoms and rings, and which are only lengths.

``[C]`` behind ``[Branch1]`` is a number, behind ``[F]`` it is nothing: a symbol's meaning follows from those
before it. Here they are read one by one by the rules of selfies 2 (Lo et al., Digital Discovery 2, 897,
2023), whose own functions say what bonds a symbol takes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from selfies import grammar_rules as rules
from selfies.constants import INDEX_CODE

from chemscale.molecules.tokenizers.notation import (
    Representation,
    TokenizerError,
    check_selfies,
    to_version_2,
)

NOWHERE_ENDS = 1 << 60
SATURATED = -1


class Vocabulary(Protocol):
    """What is needed of a tokenizer."""

    representation: Representation

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        ...

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that molecules are made of."""
        ...

    def token(self, number: int) -> str:
        """Text of one id."""
        ...


@dataclass(frozen=True)
class Symbol:
    """What a symbol is when it is not read as a number.

    Args:
        kind: atom, branch, ring, dot, or nothing.
        bonds: it asks for so many.
        capacity: bonds of an atom.
        numbers: symbols behind a branch or ring that are read as its length.
        heavy: whether an atom is not hydrogen.
        value: as a digit of a length.
    """

    kind: str
    bonds: int = 0
    capacity: int = 0
    numbers: int = 0
    heavy: bool = False
    value: int = 0


@dataclass(frozen=True)
class State:
    """Where the reading of a SELFIES stands.

    Args:
        heavy_atoms: so far.
        rings: symbols that asked for a ring so far; a few of them make none.
        frames: the main chain and the branches within each other: where each ends, and the bonds that are
            left for its next atom (0 before the first, ``SATURATED`` when it takes no more).
        position: symbols read of this fragment.
        pending: symbols that are still to be read as a number.
        number: read so far.
        branch: bonds within a branch that begins behind the number; 0 if it is a ring's.
    """

    heavy_atoms: int = 0
    rings: int = 0
    frames: tuple[tuple[int, int], ...] = ((NOWHERE_ENDS, 0),)
    position: int = 0
    pending: int = 0
    number: int = 0
    branch: int = 0

    @property
    def bonds(self) -> int:
        """Left for the next atom."""
        return self.frames[-1][1]


class Derivation:
    """Reads ids one by one; states are values, so that sequences may share them.

    Args:
        tokenizer: of SELFIES.

    Raises:
        TokenizerError: a tokenizer of another notation, or selfies set to other constraints.
    """

    def __init__(self, tokenizer: Vocabulary):
        notation = tokenizer.representation.notation
        if notation != "selfies":
            raise TokenizerError(
                f"Atoms and rings are counted while SELFIES are written; this model writes {notation}. Leave "
                "--max-heavy-atoms and --max-rings out, and filter what is generated."
            )
        check_selfies(tokenizer.representation)
        known = set(tokenizer.symbols)
        names = (tokenizer.token(i) for i in range(tokenizer.vocab_size))
        self.symbols = [
            symbol_of(to_version_2(name)) if name in known else Symbol("nothing") for name in names
        ]

    def advance(self, state: State, number: int) -> State:
        """The state behind one more id.

        Args:
            state: before it.
            number: the id.
        """
        return _ended(self._advance(state, self.symbols[number]))

    def _advance(self, state: State, symbol: Symbol) -> State:
        if symbol.kind == "nothing":
            return state
        if symbol.kind == "dot":  # every fragment begins anew
            return State(state.heavy_atoms, state.rings)
        state = replace(state, position=state.position + 1)
        if state.pending:
            return _count(state, symbol.value)
        if not self.is_read(state, symbol):
            return state
        if symbol.kind == "atom":
            order, left = rules.next_atom_state(symbol.bonds, symbol.capacity, state.bonds)
            added = order > 0 or state.bonds == 0
            return _with_bonds(replace(state, heavy_atoms=state.heavy_atoms + (added and symbol.heavy)), left)
        if symbol.kind == "ring":
            _, left = rules.next_ring_state(symbol.bonds, state.bonds)
            begun = replace(state, rings=state.rings + 1, pending=symbol.numbers, number=0, branch=0)
            return _with_bonds(begun, left)
        within, left = rules.next_branch_state(symbol.bonds, state.bonds)
        return _with_bonds(replace(state, pending=symbol.numbers, number=0, branch=within), left)

    @staticmethod
    def is_read(state: State, symbol: Symbol) -> bool:
        """Whether a symbol would do what its kind does: not as a number, nor where no bond is left for it.

        Args:
            state: before it.
            symbol: the next one.
        """
        least = {"atom": 0, "ring": 1, "branch": 2}.get(symbol.kind)
        return least is not None and not state.pending and state.bonds >= least


def _with_bonds(state: State, left: int | None) -> State:
    frame = (state.frames[-1][0], SATURATED if left is None else left)
    return replace(state, frames=(*state.frames[:-1], frame))


def _count(state: State, value: int) -> State:
    """Read a symbol as a digit; a branch begins behind the last one."""
    number, pending = state.number * len(INDEX_CODE) + value, state.pending - 1
    state = replace(state, number=number, pending=pending)
    if pending or not state.branch:
        return state
    inner = (state.position + number + 1, state.branch)
    return replace(state, frames=(*state.frames, inner), branch=0)


def _ended(state: State) -> State:
    """Leave the branches that end here."""
    frames = state.frames
    while not state.pending and frames[-1][0] <= state.position:
        frames = frames[:-1]
    return state if frames is state.frames else replace(state, frames=frames)


@lru_cache(maxsize=4096)
def symbol_of(name: str) -> Symbol:
    """What a symbol of SELFIES 2 is.

    Args:
        name: such as ``[=C]``, or the dot.
    """
    value = INDEX_CODE.get(name, 0)
    if name == ".":
        return Symbol("dot")
    if name == "[nop]":
        return Symbol("nothing")
    if branch := rules.process_branch_symbol(name):
        return Symbol("branch", branch[0], numbers=branch[1], value=value)
    if ring := rules.process_ring_symbol(name):
        return Symbol("ring", ring[0], numbers=ring[1], value=value)
    if atom := rules.process_atom_symbol(name):
        (bonds, _), made = atom
        heavy = made.element != "H"
        return Symbol("atom", bonds, made.bonding_capacity, heavy=heavy, value=value)
    return Symbol("nothing")
