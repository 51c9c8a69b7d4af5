"""SELFIES of two lines, 1.x and 2.x: what a string of symbols stands for, and how everything else is refused.

The lines differ in the names of their symbols (``[Branch1_2]`` and ``[=Branch1]``, ``[NH+expl]`` and
``[NH1+1]``). The grammar that the names obey stayed close enough for a translation by name; whether a
translated string still decodes to its molecule is for the caller to check.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import selfies

from chemscale.molecules.selfies_symbols import ENCODER_ERRORS, selfies_symbols

NOTATIONS = {"selfies": "SELFIES", "smiles": "SMILES", "deepsmiles": "DeepSMILES", "safe": "SAFE"}
"""Notations that a model may be trained in, and how people write their names."""
INSTALLED_VERSION = selfies.__version__.split(".")[0]
_VERSION_1_SYMBOL = re.compile(r"\[(Expl[^\]]*|Branch\d_\d|[^\]]*expl)\]")
_BRANCH = re.compile(r"\[([=#]?)Branch(\d)\]")
_RING = re.compile(r"\[([=#])Ring(\d)\]")
_ATOM = re.compile(r"\[([=#]?)([A-Z][a-z]?)(?:H(\d))?(?:([+-])(\d))?\]")
_OLD_BRANCH = re.compile(r"\[Branch(\d)_([123])\]")
_OLD_RING = re.compile(r"\[Expl([=#])Ring(\d)\]")
_OLD_ATOM = re.compile(r"\[([=#]?)([A-Z][a-z]?)(?:(H)(\d?))?(?:([+-])(\d?))?expl\]")
_ORGANIC = frozenset({"B", "C", "N", "O", "S", "P", "F", "Cl", "Br", "I"})
_BONDS = ("", "=", "#")


class TokenizerError(ValueError):
    """A tokenizer that cannot be read or written, or text that is not for it."""


class NotationError(TokenizerError):
    """Text in another notation than the tokenizer's."""


class UnknownSymbolError(TokenizerError):
    """A symbol outside the vocabulary.

    Args:
        symbol: which.
        way_out: what the user can do.
    """

    def __init__(self, symbol: str, way_out: str = ""):
        self.symbol = symbol
        self.way_out = way_out or (
            "Drop such molecules, or build the tokenizer from molecules that contain it."
        )
        super().__init__(f"{symbol} is not in the vocabulary. {self.way_out}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.symbol, self.way_out)


@dataclass(frozen=True)
class Representation:
    """What the ids of a tokenizer stand for: text in another representation is refused, never misread.

    Args:
        notation: one of ``NOTATIONS``.
        selfies_version: the major line, whose symbols differ between 1.x and 2.x; empty for other notations.
        constraints: bonding capacities that decoding SELFIES obeys, which are part of what a string means.
        stereo: whether symbols carry stereo.
        rules: by name, what else decides what a text of another notation than SELFIES means.
    """

    notation: str
    selfies_version: str
    constraints: tuple[tuple[str, int], ...]
    stereo: bool
    rules: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """The notation as people write it."""
        return NOTATIONS[self.notation]

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name, as JSON has them; hashed, so those of SELFIES stay what they were."""
        if self.notation != "selfies":
            return {"notation": self.notation, "stereo": self.stereo, "rules": dict(self.rules)}
        found = {**asdict(self), "constraints": dict(self.constraints)}
        del found["rules"]
        return found

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Representation:
        """Read what ``to_dict`` gave.

        Args:
            raw: fields by name.

        Raises:
            KeyError: a field is missing.
            TypeError: a field too many, or none.
        """
        if raw["notation"] in NOTATIONS and raw["notation"] != "selfies":
            return cls(raw["notation"], "", (), raw["stereo"], tuple(sorted(raw["rules"].items())))
        return cls(**{**raw, "constraints": tuple(sorted(raw["constraints"].items()))})


def content_hash(tokens: Sequence[str], representation: Representation) -> str:
    """Hash of a vocabulary, in the order of its ids, and of what it stands for.

    Args:
        tokens: in the order of their ids.
        representation: what they stand for.
    """
    content = json.dumps([list(tokens), representation.to_dict()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


# --- text and symbols ---


def is_version_1(symbol: str) -> bool:
    """Whether the name of a symbol exists in SELFIES 1 only."""
    return _VERSION_1_SYMBOL.fullmatch(symbol) is not None


def split(text: str) -> list[str]:
    """Symbols of a text without their closing bracket: ``"[C][=O]"`` → ``["[C", "[=O"]``; "." stays ".".

    Fast because it checks only the ends; a part that is in no vocabulary goes to ``refusal``.

    Args:
        text: SELFIES.

    Raises:
        NotationError: the text does not begin and end as SELFIES does.
    """
    if text[:1] != "[" or text[-1:] != "]" or ".]" in text:
        raise _not_selfies(text)
    # "." stands between symbols: give it the shape of one.
    return (text.replace("].[", "].][") if "." in text else text)[:-1].split("]")


def refusal(text: str, part: str, version: str, way_out: str = "") -> TokenizerError:
    """The error that explains why a part of a text has no id.

    Args:
        text: that was to be encoded.
        part: of it, as ``split`` gives it.
        version: SELFIES line of the vocabulary, "1" or "2".
        way_out: what the user can do about an unknown symbol.
    """
    symbol = part if part == "." else f"{part}]"
    if symbol != "." and (part.count("[") != 1 or part[0] != "["):
        return _not_selfies(text)
    if version == "2" and is_version_1(symbol):
        return NotationError(
            f"{symbol} is a symbol of SELFIES 1, this tokenizer is for SELFIES 2: "
            "encode the molecule with selfies 2."
        )
    if version == "1" and to_version_1(symbol) not in (None, symbol):
        return NotationError(
            f"{symbol} is a symbol of SELFIES 2, this tokenizer is for SELFIES 1 ({to_version_1(symbol)}): "
            "give it the SMILES through from_smiles, which translates."
        )
    return UnknownSymbolError(symbol, way_out)


def _not_selfies(text: str) -> NotationError:
    return NotationError(
        f"{text[:60]!r} is not SELFIES. For SMILES use from_smiles, or selfies.encoder first."
    )


# --- names of the two lines ---


def to_version_1(symbol: str) -> str | None:
    """The SELFIES 1 name of a SELFIES 2 symbol; None for what this table does not know (stereo, isotopes)."""
    if branch := _BRANCH.fullmatch(symbol):
        return f"[Branch{branch[2]}_{_BONDS.index(branch[1]) + 1}]"
    if ring := _RING.fullmatch(symbol):
        return f"[Expl{ring[1]}Ring{ring[2]}]"
    if re.fullmatch(r"\[Ring\d\]", symbol):
        return symbol
    if not (atom := _ATOM.fullmatch(symbol)):
        return None
    bond, element, hydrogens, sign, charge = atom.groups()
    if hydrogens is None and sign is None and element in _ORGANIC:
        return symbol
    hydrogen = {None: "", "0": "", "1": "H"}.get(hydrogens, f"H{hydrogens}")
    size = "" if charge in (None, "1") else charge
    return f"[{bond}{element}{hydrogen}{sign or ''}{size}expl]"


def to_version_2(symbol: str) -> str:
    """The SELFIES 2 name of a SELFIES 1 symbol; itself where the names agree or it has none."""
    if branch := _OLD_BRANCH.fullmatch(symbol):
        return f"[{_BONDS[int(branch[2]) - 1]}Branch{branch[1]}]"
    if ring := _OLD_RING.fullmatch(symbol):
        return f"[{ring[1]}Ring{ring[2]}]"
    if not (atom := _OLD_ATOM.fullmatch(symbol)):
        return symbol
    bond, element, hydrogen, hydrogens, sign, charge = atom.groups()
    count = f"H{hydrogens or 1}" if hydrogen else ""
    size = f"{sign}{charge or 1}" if sign else ""
    if not count and not size and element in _ORGANIC:
        count = "H0"
    return f"[{bond}{element}{count}{size}]"


# --- molecules ---


def smiles_to_selfies(smiles: str, representation: Representation) -> str:
    """SELFIES 2 of a SMILES, under the constraints of a representation.

    Args:
        smiles: of a molecule.
        representation: whose constraints and stereo hold.

    Raises:
        NotationError: stereo where the representation has none.
        TokenizerError: SELFIES cannot express the molecule, or selfies is set to other constraints.
    """
    refuse_stereo(smiles, representation)
    check_selfies(representation)
    try:
        return "".join(selfies_symbols(smiles))
    except ENCODER_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TokenizerError(f"SELFIES cannot express {smiles!r}: {reason}") from None


def refuse_stereo(smiles: str, representation: Representation) -> None:
    """Refuse a molecule with stereo where the representation has none.

    Args:
        smiles: of the molecule.
        representation: of the tokenizer.

    Raises:
        NotationError: it carries stereo.
    """
    if not representation.stereo and any(mark in smiles for mark in "@/\\"):
        raise NotationError(
            f"{smiles} carries stereo, this tokenizer was made without: strip it first "
            "(Chem.RemoveStereochemistry)."
        )


def selfies_to_smiles(text: str, representation: Representation) -> str:
    """SMILES of SELFIES 2, not canonical; empty for no symbol and for what SELFIES refuses.

    Args:
        text: SELFIES 2.
        representation: whose constraints hold.

    Raises:
        TokenizerError: selfies is set to other constraints than the representation's.
    """
    check_selfies(representation)
    try:
        return selfies.decoder(text) if text else ""
    except (selfies.DecoderError, RecursionError):
        return ""


def check_selfies(representation: Representation) -> None:
    """Refuse to convert where the installed selfies does not obey the recorded constraints.

    Args:
        representation: whose constraints must hold.

    Raises:
        TokenizerError: another major line is installed, or other bonding constraints are set.
    """
    if INSTALLED_VERSION != "2":
        raise TokenizerError(
            f"selfies {selfies.__version__} is installed, this needs selfies 2: pip install 'selfies<3'."
        )
    if tuple(sorted(selfies.get_semantic_constraints().items())) != representation.constraints:
        raise TokenizerError(
            "selfies is set to other bonding constraints than this tokenizer was made with: call "
            "selfies.set_semantic_constraints(dict(tokenizer.representation.constraints)) first."
        )
