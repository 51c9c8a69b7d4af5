"""A tokenizer from its files, or from the symbols of a corpus, whichever notation it is for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from chemscale.molecules.tokenizers.atomwise import AtomwiseTokenizer
from chemscale.molecules.tokenizers.closed_vocabulary import recorded
from chemscale.molecules.tokenizers.conditioned import ConditionedTokenizer, Conditions
from chemscale.molecules.tokenizers.converters import RULES
from chemscale.molecules.tokenizers.interface import MoleculeTokenizer
from chemscale.molecules.tokenizers.notation import TokenizerError
from chemscale.molecules.tokenizers.published import ChemGPTTokenizer
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer

AnyTokenizer = MoleculeTokenizer
"""What ``load_tokenizer`` gives."""


def load_tokenizer(path: Path) -> AnyTokenizer:
    """Open a tokenizer of chemscale, of any notation, or a published one, with the conditions beside it.

    Args:
        path: a folder (of a corpus, a model or a download), or a ``tokenizer.json``.

    Raises:
        TokenizerError: it is neither.
    """
    base, file = _without_conditions(path), Path(path)
    conditions = Conditions.load(file.parent if file.name == "tokenizer.json" else file)
    return base if conditions is None else ConditionedTokenizer(base, conditions)


def _without_conditions(path: Path) -> MoleculeTokenizer:
    if _notation_of(path) in RULES:
        return AtomwiseTokenizer.load(path)
    try:
        return SelfiesTokenizer.load(path)
    except TokenizerError as ours:
        try:
            return ChemGPTTokenizer.load(path)
        except TokenizerError as published:
            if not Path(path).exists():
                raise TokenizerError(
                    f"{path}: no such file or folder. A tokenizer is a saved folder or its tokenizer.json; "
                    "names on a hub are not fetched."
                ) from None
            raise TokenizerError(
                f"No tokenizer that this chemscale reads. As one of its own: {ours} As one published with "
                f"ChemGPT: {published}"
            ) from None


def _notation_of(path: Path) -> str | None:
    """The notation that a saved tokenizer records; None where none is."""
    folder = Path(path)
    folder = folder.parent if folder.name == "tokenizer.json" else folder
    try:
        return str(recorded(folder)["notation"])
    except (OSError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def tokenizer_of(symbols: Iterable[str], notation: str, *, stereo: bool) -> AnyTokenizer:
    """A tokenizer of exactly these symbols.

    Args:
        symbols: in any order.
        notation: one of ``NOTATIONS``.
        stereo: whether they carry stereo.

    Raises:
        TokenizerError: no symbol of an atom, or one that is not of the notation.
    """
    if notation == "selfies":
        return SelfiesTokenizer.from_symbols(symbols, stereo=stereo)
    return AtomwiseTokenizer.from_symbols(symbols, notation, stereo=stereo)
