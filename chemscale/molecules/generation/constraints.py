"""Constraints on what is generated, as logits processors: for our sampler, and for any model of transformers.

Each is called with the ids so far and the scores of the next one, as ``transformers.LogitsProcessor``. They
forbid symbols and never the last way out: where nothing else is left, the molecule may end. Rows may come in
any order and leave: what is known of a row is found by its ids.

Shapes: B sequences, L ids of each, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from chemscale.molecules.tokenizers.derivation import Derivation, State, Vocabulary
from chemscale.molecules.tokenizers.notation import UnknownSymbolError


class Tokenizer(Vocabulary, Protocol):
    """What is needed of a tokenizer; those of every notation have it."""

    pad_id: int
    bos_id: int
    eos_id: int

    def symbol_id(self, symbol: str) -> int | None:
        """Id of a symbol."""
        ...


class Forbidden:
    """No such symbols.

    Args:
        tokenizer: of the model.
        symbols: by name, such as ``[Br]``.

    Raises:
        UnknownSymbolError: a symbol that the vocabulary lacks, by its name.
    """

    def __init__(self, tokenizer: Tokenizer, symbols: Iterable[str]):
        self.eos_id = tokenizer.eos_id
        self.ids: list[int] = []
        for symbol in symbols:
            if (found := tokenizer.symbol_id(symbol)) is None:
                raise UnknownSymbolError(symbol, "So it is never written: leave it out of --forbid.")
            self.ids.append(found)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores with -inf for the symbols, (B, V) → (B, V)."""
        return with_a_way_out(scores, scores.index_fill(1, _ids(self.ids, scores), -torch.inf), self.eos_id)


class MinimumLength:
    """No end before so many symbols.

    Args:
        tokenizer: of the model.
        symbols: of a molecule at least, a prompt's included and the end not.
        skip: ids behind the begin symbol that belong to no molecule (conditions).
    """

    def __init__(self, tokenizer: Tokenizer, symbols: int, skip: int = 0):
        self.tokenizer, self.symbols, self.skip = tokenizer, symbols, skip

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores with -inf for the end of what is too short, (B, V) → (B, V)."""
        eos = self.tokenizer.eos_id
        specials = (input_ids == self.tokenizer.pad_id) | (input_ids == self.tokenizer.bos_id)
        short = (~specials).sum(1) - self.skip < self.symbols
        changed = scores.clone()
        changed[short, eos] = -torch.inf
        return with_a_way_out(scores, changed, eos)


class Limits:
    """At most so many heavy atoms and rings, counted as SELFIES are read.

    Atoms are counted exactly. A symbol that asks for a ring counts as one even where selfies then makes none
    (between atoms that have no bond left, or twice between the same two), so a molecule may have fewer.

    Args:
        tokenizer: of the model.
        heavy_atoms: at most; None for any number.
        rings: at most; None for any number.
        skip: ids behind the begin symbol that belong to no molecule (conditions).

    Raises:
        ValueError: no heavy atom at all, or a negative number of rings.
        TokenizerError: a tokenizer of another notation than SELFIES.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        heavy_atoms: int | None = None,
        rings: int | None = None,
        skip: int = 0,
    ):
        if heavy_atoms is not None and heavy_atoms < 1:
            raise ValueError(f"--max-heavy-atoms {heavy_atoms}: must be at least 1.")
        if rings is not None and rings < 0:
            raise ValueError(f"--max-rings {rings}: must not be negative.")
        self.tokenizer, self.heavy_atoms, self.rings, self.skip = tokenizer, heavy_atoms, rings, skip
        self.derivation = Derivation(tokenizer)
        symbols = self.derivation.symbols
        self._heavy = [i for i, s in enumerate(symbols) if s.kind == "atom" and s.heavy]
        self._ring = [i for i, s in enumerate(symbols) if s.kind == "ring"]
        self._branch = [i for i, s in enumerate(symbols) if s.kind == "branch"]
        self._dot = [i for i, s in enumerate(symbols) if s.kind == "dot"]
        self._states: dict[tuple[int, ...], State] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores with -inf for what would be too much, (B, V) → (B, V)."""
        states: dict[tuple[int, ...], State] = {}
        full: list[int] = []  # rows that may hold no more fragments,
        atoms: list[int] = []  # whose next symbol would be an atom too many,
        rings: list[int] = []  # or a ring too many
        for row, ids in enumerate(input_ids.tolist()):
            key = tuple(ids)
            state = states[key] = self._state(key)
            is_full = self.heavy_atoms is not None and state.heavy_atoms >= self.heavy_atoms
            full += [row] * is_full
            if state.pending or state.bonds < 0:  # what comes next is a number, or is not read
                continue
            atoms += [row] * is_full
            rings += [row] * (self.rings is not None and state.rings >= self.rings)
        self._states = states
        changed = scores.clone()
        for rows, symbols in ((full, self._dot), (atoms, self._heavy + self._branch), (rings, self._ring)):
            changed[_ids(rows, scores)[:, None], _ids(symbols, scores)] = -torch.inf
        return with_a_way_out(scores, changed, self.tokenizer.eos_id)

    def _state(self, ids: tuple[int, ...]) -> State:
        """After these ids: one step from what the last call knew, or read from the beginning."""
        before = self._states.get(ids[:-1])
        if before is not None and len(molecule_of(ids[:-1], self.tokenizer, 0)) >= self.skip:
            ended = ids[-1] in (self.tokenizer.pad_id, self.tokenizer.bos_id)
            return before if ended else self.derivation.advance(before, ids[-1])
        state = State()
        for number in molecule_of(ids, self.tokenizer, self.skip):
            state = self.derivation.advance(state, number)
        return state


def molecule_of(ids: Sequence[int], tokenizer: Tokenizer, skip: int) -> list[int]:
    """Ids of the molecule so far, without begin, padding and conditions.

    Args:
        ids: of one row, padded on either side.
        tokenizer: of the model.
        skip: ids behind the begin symbol that belong to no molecule.
    """
    return [i for i in ids if i not in (tokenizer.pad_id, tokenizer.bos_id)][skip:]


def with_a_way_out(before: Tensor, after: Tensor, eos_id: int) -> Tensor:
    """Scores after a constraint; rows that it left without any symbol may only end.

    Args:
        before: (B, V) scores as they came.
        after: (B, V) of which more are -inf.
        eos_id: of the end.
    """
    stuck = (after == -torch.inf).all(1) & ~(before == -torch.inf).all(1)
    end = torch.where(before[:, eos_id].isneginf(), 0.0, before[:, eos_id])
    after[:, eos_id] = torch.where(stuck, end, after[:, eos_id])
    return after


def _ids(numbers: list[int], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64, device=like.device)
