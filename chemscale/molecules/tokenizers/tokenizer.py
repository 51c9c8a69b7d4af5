"""A closed vocabulary of SELFIES symbols, and the Hugging Face files that give the same ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import selfies
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from chemscale.common.files import atomic_write
from chemscale.molecules.tokenizers.notation import (
    NotationError,
    Representation,
    TokenizerError,
    UnknownSymbolError,
    content_hash,
    is_version_1,
    refusal,
    selfies_to_smiles,
    smiles_to_selfies,
    split,
)

__all__ = [
    "SPECIALS",
    "NotationError",
    "Representation",
    "SelfiesTokenizer",
    "TokenizerError",
    "UnknownSymbolError",
    "hf_tokenizer",
    "write_folder",
]

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
SYMBOL_PATTERN = r"\[[^\]]*\]|\."
MAX_LENGTH = 2048
"""Positions of the published ChemGPT models, and of ours unless the configuration has another number."""


class SelfiesTokenizer:
    """Ids of SELFIES symbols: four specials, then the symbols in sorted order.

    Use ``from_symbols`` or ``load``. Immutable once made: threads and processes may share it.

    Args:
        symbols: in the order of their ids, which begin at 4.
        representation: what they stand for.
    """

    pad_id, bos_id, eos_id, unk_id = range(4)

    def __init__(self, symbols: Sequence[str], representation: Representation):
        self.symbols = tuple(symbols)
        self.representation = representation
        self._tokens = (*SPECIALS, *self.symbols)
        # Looking up "[C" instead of "[C]" lets encode split at "]" without putting it back.
        self._ids = {t.removesuffix("]"): i for i, t in enumerate(self._tokens) if i >= len(SPECIALS)}

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
        """Id of one SELFIES 2 symbol; None where it is outside the vocabulary.

        Args:
            symbol: such as ``[C]`` or ``[=Branch1]``, or the dot between fragments.
        """
        return self._ids.get(symbol.removesuffix("]"))

    def encode(self, text: str) -> list[int]:
        """Ids of the symbols of a text, without begin and end.

        Args:
            text: SELFIES 2.

        Raises:
            NotationError: the text is not SELFIES 2 (SMILES, SELFIES 1).
            UnknownSymbolError: a symbol is outside the vocabulary.
        """
        try:
            return list(map(self._ids.__getitem__, split(text)))
        except KeyError as error:
            raise refusal(text, error.args[0], self.representation.selfies_version) from None

    def decode(self, ids: Iterable[int]) -> str:
        """SELFIES of ids; the end symbol ends it, other specials are left out.

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
        atoms = [s for s in self.symbols if s != "."]
        texts = ["".join(atoms)]
        if "." in self.symbols:
            texts.append(f"{atoms[0]}.{atoms[0]}")
        expected = {text: [self.bos_id, *self.encode(text), self.eos_id] for text in texts}
        names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIALS, strict=True))
        write_folder(
            Path(folder),
            hf_tokenizer(self._tokens),
            names,
            self.representation,
            expected,
            {"model_max_length": max_length, "padding_side": padding_side},
        )

    @classmethod
    def load(cls, path: Path) -> SelfiesTokenizer:
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
            raw = json.loads((folder / "tokenizer_config.json").read_text())["chemscale"]
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
        if (representation.notation, representation.selfies_version) != ("selfies", "2"):
            raise TokenizerError(
                f"{folder}: made for {representation.notation} {representation.selfies_version}, not for "
                "SELFIES 2. Published ChemGPT tokenizers load with ChemGPTTokenizer."
            )
        dense = sorted(vocabulary.values()) == list(range(len(tokens)))
        if tuple(tokens[: len(SPECIALS)]) != SPECIALS or not dense:
            raise TokenizerError(
                f"{folder}/tokenizer.json: ids are not the four specials and then the symbols."
            )
        return cls(tokens[len(SPECIALS) :], representation)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SelfiesTokenizer) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)


@lru_cache(maxsize=4)
def hf_tokenizer(tokens: tuple[str, ...]) -> Tokenizer:
    """A vocabulary as a Hugging Face ``tokenizers`` pipeline: ``<bos> … <eos>`` around the symbols.

    Args:
        tokens: specials and symbols in the order of their ids.
    """
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=SPECIALS[3]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(SYMBOL_PATTERN), behavior="isolated")
    _, bos, eos, _ = SPECIALS
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {bos} $B {eos}",
        special_tokens=[(bos, tokens.index(bos)), (eos, tokens.index(eos))],
    )
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    return backend


def write_folder(
    folder: Path,
    backend: Tokenizer,
    special_names: dict[str, str],
    representation: Representation,
    expected: dict[str, list[int]],
    settings: dict[str, Any],
) -> None:
    """Write the Hugging Face files of a tokenizer once their text, read back, gives the expected ids.

    Args:
        folder: of the files; it is made.
        backend: the pipeline.
        special_names: ``pad_token`` and so on, and the tokens.
        representation: what the symbols stand for.
        expected: SELFIES text → ids with begin and end; each must also decode to itself.
        settings: more keys of ``tokenizer_config.json``.

    Raises:
        TokenizerError: the files would not do so (nothing is written then).
    """
    written = backend.to_str(pretty=True)
    again = Tokenizer.from_str(written)
    for text, ids in expected.items():
        if again.encode(text).ids != ids or again.decode(ids, skip_special_tokens=True) != text:
            raise TokenizerError(
                f"The Hugging Face tokenizer would read {text[:60]} differently: not saved. Symbols that "
                f"tokenizers cannot hold, or a tokenizers release that changed; tokenizers >= 0.21 is needed."
            )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **special_names,
        # GPT-Neo adds the embedding of token_type_ids, where it is given any, to that of the tokens.
        "model_input_names": ["input_ids", "attention_mask"],
        **settings,
        "clean_up_tokenization_spaces": False,
        "chemscale": representation.to_dict(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=1))
    write_text(folder / "special_tokens_map.json", json.dumps(special_names, indent=1))
    write_text(folder / "tokenizer.json", written)


def write_text(path: Path, text: str) -> None:
    """Write a file that is complete or absent.

    Args:
        path: of the file.
        text: its content.
    """
    with atomic_write(path) as file:
        file.write(text)
