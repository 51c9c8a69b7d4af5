"""What our tokenizers have in common: four specials, then symbols in sorted order, and nothing else."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from chemscale.molecules.tokenizers import hugging_face
from chemscale.molecules.tokenizers.hugging_face import MAX_LENGTH, SPECIALS, SYMBOL_PATTERN
from chemscale.molecules.tokenizers.notation import Representation, TokenizerError, content_hash


class ClosedVocabulary(ABC):
    """Ids of symbols: four specials, then the symbols in sorted order.

    Immutable once made: threads and processes may share it.

    Args:
        symbols: in the order of their ids, which begin at 4.
        representation: what they stand for.
    """

    pad_id, bos_id, eos_id, unk_id = range(4)
    pattern: ClassVar[str] = SYMBOL_PATTERN
    """Regular expression of one symbol, for the Hugging Face files."""

    def __init__(self, symbols: Sequence[str], representation: Representation):
        self.symbols = tuple(symbols)
        self.representation = representation
        self._tokens = (*SPECIALS, *self.symbols)
        self._ids = {self._key(t): i for i, t in enumerate(self._tokens) if i >= len(SPECIALS)}

    @staticmethod
    @abstractmethod
    def _key(symbol: str) -> str:
        """What ``_split`` gives for a symbol."""

    @abstractmethod
    def _split(self, text: str) -> list[str]:
        """The keys of the symbols of a text."""

    @abstractmethod
    def _refusal(self, text: str, part: str) -> TokenizerError:
        """Why a part of a text has no id."""

    @abstractmethod
    def _samples(self) -> list[str]:
        """Texts that hold every symbol, for the proof that files give the same ids."""

    @classmethod
    @abstractmethod
    def _refuse_other(cls, representation: Representation, folder: Path) -> None:
        """Raise a ``TokenizerError`` where a recorded representation is not for this class."""

    @abstractmethod
    def from_smiles(self, smiles: str) -> list[int]:
        """Ids of a molecule, without begin and end."""

    @abstractmethod
    def to_smiles(self, ids: Iterable[int]) -> str:
        """SMILES of ids, not canonical; empty where they are no molecule."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, specials included."""
        return len(self._tokens)

    @property
    def hash(self) -> str:
        """Hash of the vocabulary and of what it stands for."""
        return content_hash(self._tokens, self.representation)

    def token(self, number: int) -> str:
        """Text of one id, specials too."""
        return self._tokens[number]

    def symbol_id(self, symbol: str) -> int | None:
        """Id of one symbol; None where it is outside the vocabulary.

        Args:
            symbol: such as ``[C]`` or ``[=Branch1]`` in SELFIES, ``C`` or ``[nH]`` in SMILES.
        """
        return self._ids.get(self._key(symbol))

    def encode(self, text: str) -> list[int]:
        """Ids of the symbols of a text, without begin and end.

        Args:
            text: in the notation of the tokenizer.

        Raises:
            NotationError: the text is in another notation.
            UnknownSymbolError: a symbol is outside the vocabulary.
        """
        try:
            return list(map(self._ids.__getitem__, self._split(text)))
        except KeyError as error:
            raise self._refusal(text, error.args[0]) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; the end symbol ends it, other specials are left out.

        Args:
            ids: of symbols.

        Raises:
            TokenizerError: an id outside the vocabulary.
        """
        out = []
        for i in ids:
            if not 0 <= i < len(self._tokens):
                raise TokenizerError(f"Id {int(i)} is outside the vocabulary of {len(self._tokens)}.")
            if i == self.eos_id:
                break
            if i >= len(SPECIALS):
                out.append(self._tokens[i])
        return "".join(out)

    # --- files ---

    def save(self, folder: Path, *, max_length: int = MAX_LENGTH, padding_side: str = "right") -> None:
        """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json``.

        Args:
            folder: of the files; it is made.
            max_length: positions of the model that it is for.
            padding_side: right | left, where ``transformers`` pads a batch.

        Raises:
            TokenizerError: the file would not give the same ids (nothing is written then).
        """
        expected = {text: [self.bos_id, *self.encode(text), self.eos_id] for text in self._samples()}
        names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIALS, strict=True))
        hugging_face.write_folder(
            Path(folder),
            hugging_face.hf_tokenizer(self._tokens, self.pattern),
            names,
            self.representation,
            expected,
            {"model_max_length": max_length, "padding_side": padding_side},
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a folder written by ``save``.

        Args:
            path: of the folder, or of its ``tokenizer.json``.

        Raises:
            TokenizerError: the files are missing or are not of such a tokenizer.
        """
        folder = Path(path)
        folder = folder.parent if folder.name == "tokenizer.json" else folder
        try:
            vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
            raw = recorded(folder)
            tokens = sorted(vocabulary, key=vocabulary.__getitem__)
            representation = Representation.from_dict(raw)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise TokenizerError(
                f"{error.filename}: missing. Give a folder with a saved tokenizer."
            ) from None
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise TokenizerError(
                f"{folder}: not a tokenizer of chemscale (its representation is not recorded there)."
            ) from None
        cls._refuse_other(representation, folder)
        dense = sorted(vocabulary.values()) == list(range(len(tokens)))
        if tuple(tokens[: len(SPECIALS)]) != SPECIALS or not dense:
            raise TokenizerError(
                f"{folder}/tokenizer.json: ids are not the four specials and then the symbols."
            )
        return cls(tokens[len(SPECIALS) :], representation)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)


def recorded(folder: Path) -> dict[str, Any]:
    """The representation that a saved tokenizer records, as JSON has it.

    Args:
        folder: of its files.

    Raises:
        OSError: there is no such file.
        KeyError, TypeError, json.JSONDecodeError: nothing is recorded in it.
    """
    found: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text())["chemscale"]
    return found
