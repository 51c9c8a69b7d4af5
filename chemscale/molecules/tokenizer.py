"""A closed vocabulary of SELFIES symbols, and the Hugging Face files that give the same ids."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import selfies
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
SYMBOL_PATTERN = r"\[[^\]]*\]|\."
_VERSION_1_MARKS = ("expl", "Branch1_", "Branch2_", "Branch3_")


class TokenizerError(ValueError):
    """A tokenizer that cannot be read, or text that is not for it."""


class NotationError(TokenizerError):
    """Text in another notation than the tokenizer's."""


class UnknownSymbolError(TokenizerError):
    """A symbol outside the vocabulary."""

    def __init__(self, symbol: str):
        self.symbol = symbol
        super().__init__(
            f"{symbol} is not in the vocabulary. Drop such molecules, or build the tokenizer from molecules "
            "that contain it."
        )

    def __reduce__(self):
        return type(self), (self.symbol,)


@dataclass(frozen=True)
class Representation:
    """What the ids stand for: text in another representation is refused, never mis-read."""

    notation: str
    selfies_version: str
    """The major line: symbols of 1.x and 2.x differ."""
    constraints: tuple[tuple[str, int], ...]
    """Bonding capacities that decoding obeys; part of what a string means."""
    stereo: bool

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "constraints": dict(self.constraints)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Representation:
        return cls(**{**raw, "constraints": tuple(sorted(raw["constraints"].items()))})


class SelfiesTokenizer:
    """Ids of SELFIES symbols: four specials, then the symbols in sorted order.

    Use ``from_symbols`` or ``load``.
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
            constraints: bonding capacities; None for the defaults of the installed ``selfies``.

        Raises:
            TokenizerError: no symbol, or one that is not of SELFIES 2.
        """
        ordered = sorted(set(symbols))
        if not ordered:
            raise TokenizerError("A tokenizer needs at least one symbol.")
        for symbol in ordered:
            if not (symbol == "." or (symbol[:1] == "[" and symbol[-1:] == "]" and len(symbol) > 2)):
                raise TokenizerError(f"{symbol!r} is not a SELFIES symbol.")
            if any(mark in symbol for mark in _VERSION_1_MARKS):
                raise NotationError(f"{symbol} is a symbol of SELFIES 1: encode with selfies 2.")
        capacities = constraints if constraints is not None else selfies.get_preset_constraints("default")
        version = selfies.__version__.split(".")[0]
        return cls(ordered, Representation("selfies", version, tuple(sorted(capacities.items())), stereo))

    @property
    def vocab_size(self) -> int:
        return len(self._tokens)

    @property
    def hash(self) -> str:
        """Of the vocabulary and of what it stands for."""
        content = json.dumps([self._tokens, self.representation.to_dict()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """SELFIES → ids of its symbols, without begin and end.

        Raises:
            NotationError: the text is not SELFIES 2 (SMILES, SELFIES 1).
            UnknownSymbolError: a symbol is outside the vocabulary.
        """
        if text[:1] != "[" or text[-1:] != "]":
            raise self._not_selfies(text)
        # "." stands between symbols: give it the shape of one.
        parts = (text.replace("].[", "].][") if "." in text else text)[:-1].split("]")
        try:
            return [self._ids[part] for part in parts]
        except KeyError as error:
            raise self._unknown(text, error.args[0]) from None

    def _unknown(self, text: str, part: str) -> TokenizerError:
        if part.count("[") != 1 or part[0] != "[":
            return self._not_selfies(text)
        if any(mark in part for mark in _VERSION_1_MARKS):
            return NotationError(f"{part}] is a symbol of SELFIES 1, this tokenizer is for SELFIES 2.")
        return UnknownSymbolError(f"{part}]")

    @staticmethod
    def _not_selfies(text: str) -> NotationError:
        return NotationError(
            f"{text[:60]!r} is not SELFIES. For SMILES use from_smiles, or selfies.encoder first."
        )

    def decode(self, ids: Iterable[int]) -> str:
        """Ids → SELFIES; the end symbol ends it, other specials are left out.

        Raises:
            TokenizerError: an id outside the vocabulary.
        """
        out = []
        for i in ids:
            if not 0 <= i < len(self._tokens):
                raise TokenizerError(f"Id {i} is outside the vocabulary of {len(self._tokens)}.")
            if i == self.eos_id:
                break
            if i >= len(SPECIALS):
                out.append(self._tokens[i])
        return "".join(out)

    def from_smiles(self, smiles: str) -> list[int]:
        """SMILES → ids.

        Raises:
            TokenizerError: stereo where the tokenizer has none, or what ``encode`` raises.
            selfies.EncoderError: SELFIES cannot express the molecule.
        """
        if not self.representation.stereo and any(mark in smiles for mark in "@/\\"):
            raise NotationError(f"{smiles} carries stereo, this tokenizer was made without: strip it first.")
        self._check_constraints()
        return self.encode(selfies.encoder(smiles))

    def to_smiles(self, ids: Iterable[int]) -> str:
        """Ids → SMILES as SELFIES decodes them (not canonical); empty for no symbol."""
        self._check_constraints()
        text = self.decode(ids)
        try:
            return selfies.decoder(text) if text else ""
        except selfies.DecoderError:
            return ""

    def _check_constraints(self) -> None:
        if tuple(sorted(selfies.get_semantic_constraints().items())) != self.representation.constraints:
            raise TokenizerError(
                "selfies is set to other bonding constraints than this tokenizer was made with: call "
                "selfies.set_semantic_constraints(dict(tokenizer.representation.constraints)) first."
            )

    # --- files ---

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json``.

        Raises:
            TokenizerError: the file would not give the same ids (nothing is written then).
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        backend = hf_tokenizer(self._tokens)
        probe = [s for s in self.symbols if s != "."]
        text = probe[0] + ("." + probe[0] if "." in self.symbols else "") + "".join(probe)
        if backend.encode(text).ids != [self.bos_id, *self.encode(text), self.eos_id]:
            raise TokenizerError("The Hugging Face tokenizer would give other ids: not saved.")
        pad, bos, eos, unk = SPECIALS
        names = {"pad_token": pad, "bos_token": bos, "eos_token": eos, "unk_token": unk}
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **names,
            "model_max_length": 2048,
            "padding_side": "right",
            "clean_up_tokenization_spaces": False,
            "chemscale": self.representation.to_dict(),
        }
        _write(folder / "tokenizer_config.json", json.dumps(config, indent=1))
        _write(folder / "special_tokens_map.json", json.dumps(names, indent=1))
        _write(folder / "tokenizer.json", backend.to_str(pretty=True))

    @classmethod
    def load(cls, path: Path) -> SelfiesTokenizer:
        """Read a folder written by ``save`` (or its ``tokenizer.json``).

        Raises:
            TokenizerError: the files are missing or are not of such a tokenizer.
        """
        folder = Path(path)
        folder = folder.parent if folder.name == "tokenizer.json" else folder
        try:
            vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
            raw = json.loads((folder / "tokenizer_config.json").read_text())["chemscale"]
        except FileNotFoundError as error:
            raise TokenizerError(
                f"{error.filename}: missing. Give a folder with a saved tokenizer."
            ) from None
        except (json.JSONDecodeError, KeyError, TypeError):
            raise TokenizerError(
                f"{folder}: not a tokenizer of chemscale (its representation is not recorded there)."
            ) from None
        tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        if tuple(tokens[: len(SPECIALS)]) != SPECIALS or sorted(vocabulary.values()) != list(
            range(len(tokens))
        ):
            raise TokenizerError(
                f"{folder}/tokenizer.json: ids are not the four specials and then the symbols."
            )
        return cls(tokens[len(SPECIALS) :], Representation.from_dict(raw))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SelfiesTokenizer) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)


@lru_cache(maxsize=4)
def hf_tokenizer(tokens: tuple[str, ...]) -> Tokenizer:
    """The same vocabulary as a Hugging Face ``tokenizers`` pipeline: ``<bos> … <eos>`` around the symbols."""
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


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    os.replace(partial, path)
