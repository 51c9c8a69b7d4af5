"""What everything that reads or writes molecules as text asks of a tokenizer, whatever its notation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from chemscale.molecules.tokenizers.notation import Representation


class MoleculeTokenizer(Protocol):
    """Ids of the symbols of molecules as text; ours and the published ones have this, and so may yours.

    ``encode`` and ``decode`` speak the tokenizer's notation (``representation.notation``), ``from_smiles``
    and ``to_smiles`` translate. A molecule is ``bos symbols eos``; here ids go without begin and end.
    """

    pad_id: int
    bos_id: int
    eos_id: int
    unk_id: int
    representation: Representation
    """What the ids stand for; recorded in the files, and enforced where text comes in."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, specials included."""
        ...

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols in the order of their ids, without specials."""
        ...

    @property
    def hash(self) -> str:
        """Hash of the vocabulary and of what it stands for."""
        ...

    def token(self, number: int) -> str:
        """Text of one id, specials too.

        Args:
            number: the id.
        """
        ...

    def symbol_id(self, symbol: str) -> int | None:
        """Id of one symbol; None where it is outside the vocabulary.

        Args:
            symbol: of the notation.
        """
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of the symbols of a text.

        Args:
            text: in the notation of the tokenizer, which need not be a whole molecule.

        Raises:
            NotationError: the text is in another notation.
            UnknownSymbolError: a symbol is outside the vocabulary.
        """
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; the end symbol ends it, other specials are left out.

        Args:
            ids: of symbols.

        Raises:
            TokenizerError: an id outside the vocabulary.
        """
        ...

    def from_smiles(self, smiles: str) -> list[int]:
        """Ids of a molecule.

        Args:
            smiles: of it; models were trained on canonical ones (``standardize``) and what follows of them.

        Raises:
            TokenizerError: the notation cannot express it, or what ``encode`` raises.
        """
        ...

    def to_smiles(self, ids: Iterable[int]) -> str:
        """SMILES of ids, not canonical, and not yet read by RDKit, which may refuse it.

        Args:
            ids: of symbols.

        Returns:
            Empty where the notation itself makes no SMILES of them.

        Raises:
            TokenizerError: an id outside the vocabulary.
        """
        ...

    def save(self, folder: Path, *, max_length: int = ..., padding_side: str = ...) -> None:
        """Write the files that ``load_tokenizer`` and ``AutoTokenizer`` open with the same ids.

        Args:
            folder: of the files; it is made.
            max_length: positions of the model that it is for.
            padding_side: right | left, where ``transformers`` pads a batch.
        """
        ...
