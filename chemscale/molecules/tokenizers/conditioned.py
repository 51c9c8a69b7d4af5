"""A tokenizer with prefixes of conditions: ``<logP:07><scaffold>[C]…</scaffold>`` before a molecule.

A value is binned, and each bin is a token; a scaffold is symbols of molecules between two tokens of its own;
for a condition that is not known there is one more token. All of them stand behind the ids of the tokenizer
that they are put around, so that ids of molecules are what they were.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from chemscale.common.files import write_json
from chemscale.molecules.tokenizers.interface import MoleculeTokenizer
from chemscale.molecules.tokenizers.notation import TokenizerError
from chemscale.molecules.tokenizers.tokenizer import write_text

CONDITIONS_FILE = "conditions.json"
SCAFFOLD = "scaffold"
"""The name of the condition that is a scaffold; every other one is a number."""
NAME = re.compile(r"[^\s<>\[\]:=,?'\"][^<>\[\]:=,?'\"\n\r\t]*(?<!\s)")
MAX_BINS = 1000


@dataclass(frozen=True)
class ValueCondition:
    """A number that stands before a molecule as the bin that it lies in.

    Args:
        name: a descriptor's, or that of a column of the user's file.
        edges: ascending; bin k holds edges[k-1] ≤ value < edges[k].
        low: least value of the training molecules.
        high: largest one.
        column: whether it is read from a column, so that nothing can compute it.
    """

    name: str
    edges: tuple[float, ...]
    low: float
    high: float
    column: bool

    @property
    def bins(self) -> int:
        """How many."""
        return len(self.edges) + 1

    @property
    def tokens(self) -> list[str]:
        """For an unknown value, then for each bin."""
        digits = max(2, len(str(self.bins - 1)))
        return [f"<{self.name}:?>", *(f"<{self.name}:{k:0{digits}d}>" for k in range(self.bins))]

    def bin_of(self, value: float) -> int:
        """Number of the bin of a value; the outer bins are open."""
        return bisect_right(self.edges, value)

    def limits(self, number: int) -> tuple[float, float]:
        """From where to where the training molecules of a bin lie: low ≤ value < high (the last: ≤)."""
        ends = (self.low, *self.edges, self.high)
        return ends[number], ends[number + 1]


@dataclass(frozen=True)
class Conditions:
    """What stands before each molecule, in this order: values, then the scaffold.

    Args:
        values: of them.
        scaffold: whether the scaffold is one.

    Raises:
        TokenizerError: none at all, a name twice, or one that no token can hold.
    """

    values: tuple[ValueCondition, ...]
    scaffold: bool

    def __post_init__(self) -> None:
        check_names(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all conditions, in the order in which they stand."""
        return (*(each.name for each in self.values), *([SCAFFOLD] if self.scaffold else []))

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """All of them, in the order of their ids."""
        values = [token for each in self.values for token in each.tokens]
        around = [f"<{SCAFFOLD}:?>", f"<{SCAFFOLD}>", f"</{SCAFFOLD}>"]
        return (*values, *(around if self.scaffold else []))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"values": [asdict(each) for each in self.values], "scaffold": self.scaffold}

    @classmethod
    def load(cls, folder: Path) -> Conditions | None:
        """The conditions of a saved tokenizer; None where it has none.

        Args:
            folder: of the tokenizer.

        Raises:
            TokenizerError: the file is damaged.
        """
        path = folder / CONDITIONS_FILE
        if not path.is_file():
            return None
        try:
            raw = json.loads(path.read_text())
            values = (ValueCondition(**{**each, "edges": tuple(each["edges"])}) for each in raw["values"])
            return cls(tuple(values), bool(raw["scaffold"]))
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            raise TokenizerError(f"{path}: damaged, so that no prefix can be read.") from None


def check_names(names: Sequence[str]) -> None:
    """Refuse names of conditions that no token can hold.

    Args:
        names: of conditions.

    Raises:
        TokenizerError: none at all, one twice, or one with characters that mean something in text.
    """
    if not names:
        raise TokenizerError("data.condition is empty: name what is to stand before a molecule, or null.")
    for name in names:
        if not NAME.fullmatch(name):
            raise TokenizerError(
                f"data.condition: {name!r} cannot be the name of a condition: no <>[]:=,? and quotes, no "
                "blank at its ends. Rename the column."
            )
    if twice := [name for name in names if names.count(name) > 1]:
        raise TokenizerError(f"data.condition names {twice[0]} twice.")


class ConditionedTokenizer:
    """A tokenizer of molecules that also knows the tokens of conditions.

    ``encode`` reads a prefix where the text begins with one; everything else is about the molecule alone:
    ``decode`` and ``to_smiles`` leave a prefix out, ``from_smiles`` gives none. What is put before a
    molecule comes from ``chemscale.molecules.conditions.prefix_ids``.

    Args:
        base: of the molecules, whose ids stay.
        conditions: what may stand before a molecule.

    Raises:
        TokenizerError: a token of the conditions is one of the vocabulary.
    """

    def __init__(self, base: MoleculeTokenizer, conditions: Conditions):
        self.base, self.conditions = base, conditions
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = (
            base.pad_id, base.bos_id, base.eos_id, base.unk_id
        )  # fmt: skip
        self.representation = base.representation
        self._own = {token: base.vocab_size + k for k, token in enumerate(conditions.tokens)}
        self._pattern = re.compile(f"({'|'.join(map(re.escape, conditions.tokens))})")
        if taken := set(self._own) & {base.token(i) for i in range(base.vocab_size)}:
            raise TokenizerError(f"{min(taken)} is in the vocabulary already: rename the condition.")

    @property
    def vocab_size(self) -> int:
        """Number of ids: specials, symbols, and tokens of conditions."""
        return self.base.vocab_size + len(self._own)

    @property
    def hash(self) -> str:
        """Hash of the vocabulary, of what it stands for, and of the edges of bins."""
        content = json.dumps([self.base.hash, self.conditions.to_dict()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def symbols(self) -> tuple[str, ...]:
        """Of molecules, in the order of their ids."""
        return self.base.symbols

    @property
    def condition_ids(self) -> dict[str, int]:
        """Ids of the tokens of conditions, which no molecule has."""
        return dict(self._own)

    def token(self, number: int) -> str:
        """Text of one id, specials and tokens of conditions too."""
        size = self.base.vocab_size
        return self.conditions.tokens[number - size] if number >= size else self.base.token(number)

    def symbol_id(self, symbol: str) -> int | None:
        """Id of one symbol of molecules; None where it is outside the vocabulary."""
        return self.base.symbol_id(symbol)

    def encode(self, text: str) -> list[int]:
        """Ids of a text, tokens of conditions read wherever they stand; without begin and end.

        Args:
            text: of a molecule in the notation of the tokenizer, a prefix before it or none.

        Raises:
            TokenizerError: as that of the molecules.
        """
        found: list[int] = []
        for part in self._pattern.split(text):
            if part in self._own:
                found.append(self._own[part])
            elif part:
                found += self.base.encode(part)
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the molecule that ids hold, without what stands before it.

        Args:
            ids: of tokens.

        Raises:
            TokenizerError: an id outside the vocabulary.
        """
        return self.base.decode(self._molecule(ids))

    def from_smiles(self, smiles: str) -> list[int]:
        """Ids of a molecule alone, without begin and end.

        Args:
            smiles: of the molecule.

        Raises:
            TokenizerError: as that of the molecules.
        """
        return self.base.from_smiles(smiles)

    def to_smiles(self, ids: Iterable[int]) -> str:
        """SMILES of the molecule that ids hold; empty where they are none.

        Args:
            ids: of tokens.

        Raises:
            TokenizerError: an id outside the vocabulary.
        """
        return self.base.to_smiles(self._molecule(ids))

    def _molecule(self, ids: Iterable[int]) -> list[int]:
        """Ids after the prefix, up to and with the end."""
        opening, closing = (self._own.get(token, -1) for token in (f"<{SCAFFOLD}>", f"</{SCAFFOLD}>"))
        first, size = self.base.vocab_size, self.vocab_size
        found: list[int] = []
        inside = False
        for number in map(int, ids):
            if number == self.eos_id:
                found.append(number)
                break
            if first <= number < size:
                inside = number == opening or (inside and number != closing)
            elif not inside:
                found.append(number)
        return found

    def save(self, folder: Path, **settings: Any) -> None:
        """Write the files of the tokenizer of molecules with the tokens of conditions added, and these.

        Args:
            folder: of the files; it is made.
            settings: as that of the molecules takes them.

        Raises:
            TokenizerError: the file would not give the same ids.
        """
        folder = Path(folder)
        self.base.save(folder, **settings)
        file = folder / "tokenizer.json"
        backend = Tokenizer.from_file(str(file))
        backend.add_special_tokens(
            [AddedToken(token, special=True, normalized=False) for token in self.conditions.tokens]
        )
        atom = next((s for s in ("[C]", "C") if self.symbol_id(s) is not None), "")
        text = "".join(self.conditions.tokens) + atom
        if backend.encode(text).ids != [self.bos_id, *self.encode(text), self.eos_id]:
            raise TokenizerError(
                f"{folder}: the Hugging Face tokenizer would read the prefix {text[:60]} differently: rename "
                "the condition, or use another tokenizers release; tokenizers >= 0.21 is needed."
            )
        write_text(file, backend.to_str(pretty=True))
        write_json(folder / CONDITIONS_FILE, self.conditions.to_dict())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConditionedTokenizer) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)
