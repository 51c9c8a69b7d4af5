"""A closed vocabulary of SELFIES symbols, and the Hugging Face files that give the same ids."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import selfies

from chemscale.molecules.tokenizers.closed_vocabulary import ClosedVocabulary
from chemscale.molecules.tokenizers.hugging_face import (
    MAX_LENGTH,
    SPECIALS,
    SYMBOL_PATTERN,
    hf_tokenizer,
    write_folder,
    write_text,
)
from chemscale.molecules.tokenizers.notation import (
    NotationError,
    Representation,
    TokenizerError,
    UnknownSymbolError,
    is_version_1,
    refusal,
    selfies_to_smiles,
    smiles_to_selfies,
    split,
)

__all__ = [
    "MAX_LENGTH",
    "SPECIALS",
    "SYMBOL_PATTERN",
    "NotationError",
    "Representation",
    "SelfiesTokenizer",
    "TokenizerError",
    "UnknownSymbolError",
    "hf_tokenizer",
    "write_folder",
    "write_text",
]


class SelfiesTokenizer(ClosedVocabulary):
    """Ids of SELFIES symbols: four specials, then the symbols in sorted order.

    Use ``from_symbols`` or ``load``. Immutable once made: threads and processes may share it.

    Args:
        symbols: in the order of their ids, which begin at 4.
        representation: what they stand for.
    """

    @classmethod
    def from_symbols(
        cls, symbols: Iterable[str], *, stereo: bool, constraints: dict[str, int] | None = None
    ) -> SelfiesTokenizer:
        """A tokenizer of exactly these symbols.

        Args:
            symbols: of SELFIES 2, in any order.
            stereo: whether they carry stereo.
            constraints: bonding capacities; None for the default preset of ``selfies``.

        Raises:
            TokenizerError: no symbol, or one that is not of SELFIES 2.
        """
        ordered = sorted(set(symbols))
        if not set(ordered) - {"."}:
            raise TokenizerError("A tokenizer needs at least one symbol of an atom.")
        for symbol in ordered:
            if symbol != "." and not re.fullmatch(r"\[[^\[\]\s]+\]", symbol):
                raise TokenizerError(f"{symbol!r} is not a SELFIES symbol, such as [C] or [=Branch1].")
            if is_version_1(symbol):
                raise NotationError(f"{symbol} is a symbol of SELFIES 1: encode with selfies 2.")
        capacities = constraints if constraints is not None else selfies.get_preset_constraints("default")
        return cls(ordered, Representation("selfies", "2", tuple(sorted(capacities.items())), stereo))

    @staticmethod
    def _key(symbol: str) -> str:
        # Looking up "[C" instead of "[C]" lets encode split at "]" without putting it back.
        return symbol.removesuffix("]")

    def _split(self, text: str) -> list[str]:
        return split(text)

    def _refusal(self, text: str, part: str) -> TokenizerError:
        return refusal(text, part, self.representation.selfies_version)

    def _samples(self) -> list[str]:
        atoms = [s for s in self.symbols if s != "."]
        return ["".join(atoms), *([f"{atoms[0]}.{atoms[0]}"] if "." in self.symbols else [])]

    @classmethod
    def _refuse_other(cls, representation: Representation, folder: Path) -> None:
        if (representation.notation, representation.selfies_version) != ("selfies", "2"):
            raise TokenizerError(
                f"{folder}: made for {representation.notation} {representation.selfies_version}, not "
                "for SELFIES 2. Published ChemGPT tokenizers load with ChemGPTTokenizer, others "
                "with load_tokenizer."
            )

    def from_smiles(self, smiles: str) -> list[int]:
        """Ids of a molecule, without begin and end.

        Args:
            smiles: of the molecule.

        Raises:
            TokenizerError: stereo where the tokenizer has none, a molecule that SELFIES cannot express,
                selfies set to other constraints, or what ``encode`` raises.
        """
        return self.encode(smiles_to_selfies(smiles, self.representation))

    def to_smiles(self, ids: Iterable[int]) -> str:
        """SMILES of ids as SELFIES decodes them, not canonical; empty where they are no molecule.

        Args:
            ids: of symbols.

        Raises:
            TokenizerError: an id outside the vocabulary, or selfies set to other constraints.
        """
        return selfies_to_smiles(self.decode(ids), self.representation)
