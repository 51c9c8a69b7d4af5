"""A vocabulary that goes on where another one ends: its ids stay, new symbols come after them."""

from __future__ import annotations

from dataclasses import replace

from chemscale.molecules.tokenizers.closed_vocabulary import ClosedVocabulary
from chemscale.molecules.tokenizers.conditioned import ConditionedTokenizer
from chemscale.molecules.tokenizers.notation import TokenizerError
from chemscale.molecules.tokenizers.opening import AnyTokenizer


def grow(tokenizer: AnyTokenizer, other: AnyTokenizer) -> AnyTokenizer:
    """The tokenizer with the symbols of another one after its own; itself where it lacks none.

    Args:
        tokenizer: whose ids stay as they are.
        other: of the molecules that are to be written, in the same notation; conditions of it do not count.

    Raises:
        TokenizerError: the vocabulary is closed (a published one, or one with conditions, whose ids stand
            behind those of the symbols), or the notations differ.
    """
    other = other.base if isinstance(other, ConditionedTokenizer) else other
    new = [symbol for symbol in other.symbols if tokenizer.symbol_id(symbol) is None]
    if not new:
        return tokenizer
    if not isinstance(tokenizer, ClosedVocabulary) or not isinstance(other, ClosedVocabulary):
        kind = "one with conditions" if isinstance(tokenizer, ConditionedTokenizer) else "a published one"
        raise TokenizerError(
            f"model.new_symbols=grow: the vocabulary of model.from is {kind} and cannot take "
            f"{', '.join(new[:5])}{' …' if len(new) > 5 else ''}. model.new_symbols=drop leaves out the "
            "molecules that hold them."
        )
    mine, theirs = tokenizer.representation, other.representation
    if replace(mine, stereo=theirs.stereo) != theirs:
        raise TokenizerError(
            "model.new_symbols=grow: model.from was trained in another notation, or with other bonding "
            "capacities, than these molecules are written in. model.new_symbols=drop keeps to its own."
        )
    # Stereo symbols may be among the new ones: what the symbols stand for is then that of the molecules.
    return type(tokenizer)((*tokenizer.symbols, *new), theirs if theirs.stereo else mine)
