"""The two tokenizers published with ChemGPT: the same ids, without their traps.

As published, they register no pad, begin or end token, decode with spaces, read raw SMILES as word pieces
without a word, and shatter symbols that they lack (stereo, isotopes, ".") into pieces. Here the ids of every
valid text are the file's own, and everything else is refused.

Source: ``pubchem10M_tokenizer`` (SELFIES 1.0.4, used by the released checkpoints) and
``pubchem10M_selfiesv2_tokenizer`` of the paper's repository, ncfrey/litmatter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import selfies
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers

from chemscale.molecules.tokenizers.notation import (
    NotationError,
    Representation,
    TokenizerError,
    UnknownSymbolError,
    check_selfies,
    content_hash,
    refusal,
    selfies_to_smiles,
    smiles_to_selfies,
    split,
    to_version_1,
    to_version_2,
)
from chemscale.molecules.tokenizers.tokenizer import MAX_LENGTH, write_folder, write_text

SPECIALS = ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]")
PUBLISHED_FILE = "published_tokenizer.json"
"""The file as published, kept beside the repaired one."""
POLICIES = ("error", "unk")
_WAY_OUT = (
    "The published vocabularies hold no stereo, no isotopes and no '.': strip stereo, keep one fragment, "
    "drop the molecule, or load the tokenizer with policy='unk'."
)


class RoundTripError(TokenizerError):
    """A molecule whose SELFIES 1 text decodes to another molecule."""


class ChemGPTTokenizer:
    """A published ChemGPT tokenizer; use ``load``. Immutable once made.

    ``encode`` and ``decode`` speak the SELFIES line of the file (``representation.selfies_version``);
    ``from_smiles`` and ``to_smiles`` translate where that is SELFIES 1, which selfies 2 no longer writes.
    For this the names are translated symbol by symbol: the two vocabularies are one-to-one but for
    ``[teexpl]``. Measured on 5,000 ZINC and 4,994 PubChem molecules without stereo and of one fragment:
    all of ZINC and 99.2 % of PubChem lie in the vocabulary; all decode to the same molecule, by
    selfies 2.2 (``compatible=True``) and by selfies 1.0.4 itself. The text equals that of selfies 1.0.4 for
    98.6 % and 98.3 %; the others differ in the Kekulé form. Each molecule is checked all the same.

    Constraints are the default preset of selfies 2 for both lines, since selfies 2 does the decoding.
    Those of selfies 1.0.4 were other for ions and boron (C+ 5, P+ 6, P- 4, S+ 7, B 8); on the same
    molecules both sets decode alike.

    Args:
        published: content of the published ``tokenizer.json``.
        policy: "error" refuses symbols outside the vocabulary, "unk" gives them ``unk_id``. Other notations
            are refused under both.

    Raises:
        TokenizerError: not the content of such a file, or an unknown policy.
    """

    unk_id, pad_id, bos_id, eos_id, mask_id = range(5)

    def __init__(self, published: dict[str, Any], *, policy: str = "error"):
        if policy not in POLICIES:
            raise TokenizerError(f"policy={policy!r}: choose {' or '.join(POLICIES)}.")
        self.policy = policy
        self._published = published
        self._tokens = _tokens(published)
        self._ids = {
            token[:-1]: i
            for i, token in enumerate(self._tokens)
            if i >= len(SPECIALS) and re.fullmatch(r"\[[^\[\]]+\]", token)
        }
        version = _selfies_version(self._ids)
        constraints = tuple(sorted(selfies.get_preset_constraints("default").items()))
        self.representation = Representation("selfies", version, constraints, stereo=False)

    @classmethod
    def load(cls, path: Path, *, policy: str = "error") -> ChemGPTTokenizer:
        """Read a published ``tokenizer.json``, or a folder written by ``save``.

        Args:
            path: of the file or the folder.
            policy: for symbols outside the vocabulary, as for the class.

        Raises:
            TokenizerError: the file is missing or is not one of the two.
        """
        file = Path(path)
        if file.is_dir() or file.name == "tokenizer.json":
            folder = file if file.is_dir() else file.parent
            kept = folder / PUBLISHED_FILE
            file = kept if kept.exists() else folder / "tokenizer.json"
        try:
            published = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise TokenizerError(
                f"{file}: missing. Give the tokenizer.json published with ChemGPT, or a folder saved from it."
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise TokenizerError(f"{file}: not JSON, so not a tokenizer.json.") from None
        try:
            return cls(published, policy=policy)
        except TokenizerError as error:
            raise TokenizerError(f"{file}: {error}") from None

    @property
    def vocab_size(self) -> int:
        """Number of ids, word pieces included: the rows of the published checkpoints' embedding."""
        return len(self._tokens)

    @property
    def symbols(self) -> tuple[str, ...]:
        """SELFIES symbols in the order of their ids; neither specials nor word pieces."""
        return tuple(f"{part}]" for part in self._ids)

    @property
    def hash(self) -> str:
        """Hash of the vocabulary and of what it stands for."""
        return content_hash(self._tokens, self.representation)

    def token(self, number: int) -> str:
        """Text of one id, specials too."""
        return self._tokens[number]

    def symbol_id(self, symbol: str) -> int | None:
        """Id of one SELFIES 2 symbol; None where the vocabulary has none that is read back as it.

        Args:
            symbol: such as ``[C]`` or ``[=Branch1]``; a vocabulary of SELFIES 1 is asked for its name there.
        """
        if self.representation.selfies_version == "2":
            return self._ids.get(symbol.removesuffix("]"))
        old = to_version_1(symbol)
        if old is None or to_version_2(old) != symbol:
            return None
        return self._ids.get(old.removesuffix("]"))

    def encode(self, text: str) -> list[int]:
        """Ids of the symbols of a text, without begin and end.

        Args:
            text: SELFIES of the tokenizer's line.

        Raises:
            NotationError: SMILES, SELFIES of the other line, or a special token in the text.
            UnknownSymbolError: a symbol outside the vocabulary, under policy "error".
        """
        parts = split(text)
        with suppress(KeyError):
            return list(map(self._ids.__getitem__, parts))
        return [self._ids[part] if part in self._ids else self._unknown(text, part) for part in parts]

    def _unknown(self, text: str, part: str) -> int:
        if f"{part}]" in SPECIALS:
            raise NotationError(f"{part}] is a special token: give SELFIES alone, ids are added around it.")
        error = refusal(text, part, self.representation.selfies_version, _WAY_OUT)
        if isinstance(error, UnknownSymbolError) and self.policy == "unk":
            return self.unk_id
        raise error

    def decode(self, ids: Iterable[int]) -> str:
        """SELFIES of ids, in the tokenizer's line; the end token ends it, other specials are left out.

        Word pieces, which only a model can produce, are joined as the published file joins them.

        Args:
            ids: of tokens.

        Raises:
            TokenizerError: an id outside the vocabulary.
        """
        return "".join(self._tokens[i].removeprefix("##") for i in self._content(ids))

    def _content(self, ids: Iterable[int]) -> list[int]:
        out = []
        for i in ids:
            if not 0 <= i < len(self._tokens):
                raise TokenizerError(f"Id {int(i)} is outside the vocabulary of {len(self._tokens)}.")
            if i == self.eos_id:
                break
            if i >= len(SPECIALS):
                out.append(int(i))
        return out

    def from_smiles(self, smiles: str) -> list[int]:
        """Ids of a molecule without stereo, without begin and end.

        Args:
            smiles: of the molecule.

        Raises:
            RoundTripError: as SELFIES 1 the molecule would be read as another one.
            TokenizerError: stereo, a molecule that SELFIES cannot express, selfies set to other
                constraints, or what ``encode`` raises.
        """
        text = smiles_to_selfies(smiles, self.representation)
        if self.representation.selfies_version == "2":
            return self.encode(text)
        ids = [self._translated_id(text, part) for part in split(text)]
        if self.unk_id not in ids and not _same_molecule(smiles, self.to_smiles(ids)):
            other = self.to_smiles(ids) or "nothing"
            raise RoundTripError(f"{smiles} as SELFIES 1 decodes to {other}, another molecule: drop it.")
        return ids

    def _translated_id(self, text: str, part: str) -> int:
        symbol = part if part == "." else f"{part}]"
        old = to_version_1(symbol)
        if old is not None and old[:-1] in self._ids:
            return self._ids[old[:-1]]
        if self.policy == "unk":
            return self.unk_id
        raise UnknownSymbolError(old or symbol, _WAY_OUT)

    def to_smiles(self, ids: Iterable[int]) -> str:
        """SMILES of ids, not canonical; empty where they are no molecule (a word piece among them).

        SELFIES 1 is read by the rules of selfies 2, as its ``decoder(…, compatible=True)`` does.

        Args:
            ids: of tokens.

        Raises:
            TokenizerError: an id outside the vocabulary, or selfies set to other constraints.
        """
        check_selfies(self.representation)
        symbols = [self._tokens[i] for i in self._content(ids)]
        if any(symbol[:-1] not in self._ids for symbol in symbols):
            return ""
        return selfies_to_smiles("".join(map(to_version_2, symbols)), self.representation)

    # --- files ---

    def save(self, folder: Path, *, max_length: int = MAX_LENGTH, padding_side: str = "right") -> None:
        """Write a Hugging Face folder with the same ids that ``AutoTokenizer`` loads, pads and decodes.

        Text outside the vocabulary becomes one ``[UNK]`` there, never word pieces. The published file
        lies beside it, so that the folder can be loaded here again.

        Args:
            folder: of the files; it is made.
            max_length: positions of the model that it is for.
            padding_side: right | left, where ``transformers`` pads a batch.

        Raises:
            TokenizerError: the files would not give the same ids (nothing is written then).
        """
        text = "".join(self.symbols)
        names = dict(zip(("unk", "pad", "bos", "eos", "mask"), SPECIALS, strict=True))
        special_names = {f"{name}_token": token for name, token in names.items()}
        expected = {text: [self.bos_id, *self.encode(text), self.eos_id]}
        settings = {"model_max_length": max_length, "padding_side": padding_side}
        write_folder(Path(folder), self._repaired(), special_names, self.representation, expected, settings)
        self.save_published(Path(folder) / PUBLISHED_FILE)

    def save_published(self, path: Path) -> None:
        """Write the file as it was read, defects included.

        Args:
            path: of the file.
        """
        write_text(Path(path), json.dumps(self._published, separators=(",", ":"), ensure_ascii=False))

    def pruned(self) -> tuple[ChemGPTTokenizer, list[int]]:
        """The same tokenizer without the word pieces, which no valid text uses, and the ids that it keeps.

        Returns:
            The tokenizer, whose ids count on without gaps, and for each of them the id that it had here.
        """
        kept = [*range(len(SPECIALS)), *self._ids.values()]
        return self._with_tokens([self._tokens[i] for i in kept]), kept

    def in_version_2(self) -> ChemGPTTokenizer:
        """The same ids under the names of SELFIES 2, which today's ``selfies`` writes and reads.

        Symbols without such a name (``[teexpl]``) keep theirs, and word pieces too.
        """
        symbols = set(self._ids.values())
        names = [to_version_2(token) if i in symbols else token for i, token in enumerate(self._tokens)]
        if len(set(names)) != len(names):
            raise TokenizerError(
                "Two symbols of this vocabulary have the same name in SELFIES 2: keep names."
            )
        return self._with_tokens(names)

    def _with_tokens(self, tokens: list[str]) -> ChemGPTTokenizer:
        model = {**self._published["model"], "vocab": {token: i for i, token in enumerate(tokens)}}
        return ChemGPTTokenizer({**self._published, "model": model}, policy=self.policy)

    def _repaired(self) -> Tokenizer:
        backend = Tokenizer.from_str(json.dumps(self._published))
        vocabulary = {token: i for i, token in enumerate(self._tokens)}
        backend.model = models.WordLevel(vocabulary, unk_token=SPECIALS[0])
        # Text outside brackets is never SELFIES; without this, the SMILES "C" would be the word piece "C".
        backend.normalizer = normalizers.Replace(Regex(r"[^\[\]]+(?![^\[\]]*\])"), SPECIALS[0])
        backend.decoder = decoders.Sequence([decoders.Replace(Regex("^##"), ""), decoders.Fuse()])
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
        return backend

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChemGPTTokenizer) and (self.hash, self.policy) == (other.hash, other.policy)

    def __hash__(self) -> int:
        return hash(self.hash)


def _tokens(published: dict[str, Any]) -> tuple[str, ...]:
    """Tokens in the order of their ids, checked for what ``ChemGPTTokenizer`` takes for granted.

    Raises:
        TokenizerError: the content of another file, or a damaged one.
    """
    try:
        model = published["model"]
        vocabulary = model["vocab"]
        around = [next(iter(piece.values()))["id"] for piece in published["post_processor"]["single"]]
        tokens = tuple(sorted(vocabulary, key=vocabulary.__getitem__))
        is_word_piece = model["type"] == "WordPiece"
    except (KeyError, TypeError, AttributeError):
        raise TokenizerError("not the tokenizer.json of a published ChemGPT.") from None
    if not is_word_piece or tokens[: len(SPECIALS)] != SPECIALS or around != ["[CLS]", "A", "[SEP]"]:
        raise TokenizerError(
            f"not published with ChemGPT: that is a WordPiece model which begins with {' '.join(SPECIALS)} "
            "and puts [CLS] and [SEP] around. Tokenizers made by chemscale load with SelfiesTokenizer."
        )
    if sorted(vocabulary.values()) != list(range(len(tokens))):
        raise TokenizerError("ids of the vocabulary are not 0, 1, 2, …: the file is damaged.")
    return tokens


def _selfies_version(parts: Iterable[str]) -> str:
    known = set(parts)
    if ("[Branch1_1" in known) == ("[Branch1" in known):
        raise TokenizerError("neither SELFIES 1 ([Branch1_1]) nor SELFIES 2 ([Branch1]) by its vocabulary.")
    return "1" if "[Branch1_1" in known else "2"


def _same_molecule(one: str, other: str) -> bool:
    # RDKit is for this check alone: most runs need none of it.
    from chemscale.molecules.preparation.standardize import MAX_SYMBOLS, Molecule, Policy, standardize

    first, second = (standardize(smiles, Policy(max_symbols=MAX_SYMBOLS)) for smiles in (one, other))
    return isinstance(first, Molecule) and first == second
