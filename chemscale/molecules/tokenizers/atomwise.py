"""A closed vocabulary of SMILES symbols, for SMILES itself and the notations that are written with them.

A symbol is an atom, a bond, a bracket, a ring closure or a dot, as the regular expression of Schwaller et al.
(2019, doi.org/10.1021/acscentsci.9b00576) cuts SMILES; ``%(123)`` of ring closures above 99 is one too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from chemscale.molecules.tokenizers.closed_vocabulary import ClosedVocabulary
from chemscale.molecules.tokenizers.converters import RULES, smiles_to_text, text_to_smiles
from chemscale.molecules.tokenizers.notation import (
    NOTATIONS,
    NotationError,
    Representation,
    TokenizerError,
    UnknownSymbolError,
    refuse_stereo,
)

PATTERN = r"\[[^\[\]]*\]|%\([0-9]+\)|%[0-9]{2}|Br|Cl|."
"""One symbol; the dot at its end takes whatever is none, so that nothing of a text is passed over."""
_PATTERN = re.compile(PATTERN, re.DOTALL)
_SYMBOL = re.compile(r"\[[^\[\]\s]+\]|%\([0-9]+\)|%[0-9]{2}|Br|Cl|[BCNOPSFIbcnops0-9()=#$:/\\.~*@?>+-]")
_OF_SELFIES = re.compile(r"\[[=#/\\-]?(?:Branch\d|Ring\d)\]|\[[=#/\\][^\[\]]+\]")


class AtomwiseTokenizer(ClosedVocabulary):
    """Ids of SMILES symbols: four specials, then the symbols in sorted order.

    Use ``from_symbols`` or ``load``. Immutable once made: threads and processes may share it. ``decode``
    gives every text that ``encode`` takes back byte for byte.

    Args:
        symbols: in the order of their ids, which begin at 4.
        representation: what they stand for: SMILES, DeepSMILES or SAFE.
    """

    pattern: ClassVar[str] = PATTERN

    @classmethod
    def from_symbols(cls, symbols: Iterable[str], notation: str, *, stereo: bool) -> AtomwiseTokenizer:
        """A tokenizer of exactly these symbols.

        Args:
            symbols: in any order.
            notation: smiles | deepsmiles | safe.
            stereo: whether they carry stereo.

        Raises:
            TokenizerError: no symbol, one that is not of SMILES, or another notation.
        """
        if notation not in RULES:
            raise TokenizerError(f"{notation!r}: {', '.join(RULES)} are written with symbols of SMILES.")
        ordered = sorted(set(symbols))
        if not any(symbol[0] == "[" or symbol.isalpha() for symbol in ordered if symbol):
            raise TokenizerError("A tokenizer needs at least one symbol of an atom.")
        for symbol in ordered:
            if not _SYMBOL.fullmatch(symbol):
                raise TokenizerError(f"{symbol!r} is not a symbol of SMILES, such as C, Cl, [nH], = or %10.")
        return cls(ordered, Representation(notation, "", (), stereo, tuple(sorted(RULES[notation].items()))))

    @staticmethod
    def _key(symbol: str) -> str:
        return symbol

    def _split(self, text: str) -> list[str]:
        if not text:
            raise NotationError("An empty text has no symbol.")
        return split_atomwise(text)

    def _refusal(self, text: str, part: str) -> TokenizerError:
        title = self.representation.title
        if _OF_SELFIES.search(text):
            return NotationError(
                f"{text[:60]!r} is SELFIES, this tokenizer is for {title}: decode it first (selfies.decoder)."
            )
        if not _SYMBOL.fullmatch(part):
            return NotationError(f"{text[:60]!r} is not {title}: {part!r} is none of its symbols.")
        way_out = ""
        if part == "(" and self.representation.notation == "deepsmiles":
            way_out = "DeepSMILES opens no bracket: if the text is SMILES, use from_smiles."
        return UnknownSymbolError(part, way_out)

    def _samples(self) -> list[str]:
        return ["".join(self.symbols)]

    @classmethod
    def _refuse_other(cls, representation: Representation, folder: Path) -> None:
        notation = representation.notation
        expected = tuple(sorted(RULES.get(notation, {}).items()))
        if not expected or representation.rules != expected:
            named = NOTATIONS.get(notation, notation)
            rules = ", ".join(f"{k}: {v}" for k, v in representation.rules) or "no rules"
            raise TokenizerError(
                f"{folder}: made for {named} ({rules}), which AtomwiseTokenizer does not read: "
                "load_tokenizer opens those of every notation."
            )

    def from_smiles(self, smiles: str) -> list[int]:
        """Ids of a molecule, without begin and end.

        The order of its atoms is that of the SMILES (of SAFE that of the package): write it as the model has
        seen molecules, canonical.

        Args:
            smiles: of the molecule.

        Raises:
            TokenizerError: stereo where the tokenizer has none, a molecule that the notation cannot express,
                its package missing, or what ``encode`` raises.
        """
        refuse_stereo(smiles, self.representation)
        return self.encode(smiles_to_text(smiles, self.representation.notation))

    def to_smiles(self, ids: Iterable[int]) -> str:
        """SMILES of ids, not canonical, and as they stand: nothing is mended, and RDKit may refuse it.

        Args:
            ids: of symbols.

        Returns:
            Empty for no symbol, and for what DeepSMILES cannot decode.

        Raises:
            TokenizerError: an id outside the vocabulary, or the notation's package is missing.
        """
        return text_to_smiles(self.decode(ids), self.representation.notation)


def split_atomwise(text: str) -> list[str]:
    """Symbols of a text; every character is in one of them, those that are none of SMILES by themselves.

    Args:
        text: in a notation of SMILES symbols.
    """
    return _PATTERN.findall(text)
