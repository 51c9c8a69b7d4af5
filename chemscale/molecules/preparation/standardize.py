"""One canonical SMILES for each molecule, by stated policies, or the reason why not.

What is one molecule is one row, however it was spelled: order of atoms and fragments, Kekulé or aromatic
bonds, S=O or S+–O-, explicit hydrogens, atom maps, names, labels and coordinates are spelling. Isotopes,
charges, radicals, tautomers and stereo are not: those are different molecules, unless a policy takes the
difference away.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import selfies
from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

from chemscale.molecules.selfies_symbols import ENCODER_ERRORS, selfies_symbols


class PolicyError(ValueError):
    """A policy that does not exist or contradicts itself."""


class Reason(StrEnum):
    """Why a row was dropped."""

    COMMENT = "comment"
    RAGGED = "more cells than the header"
    NUL = "NUL byte"
    RECORD = "record that cannot be read"
    SELFIES = "SELFIES that cannot be decoded"
    EMPTY = "empty"
    TOO_LONG = "too long a text"
    UNPARSABLE = "unparsable"
    WILDCARD = "wildcard or query atom"
    VARIABLE = "polymer or variable structure"
    RELATIVE_STEREO = "relative or racemic stereo"
    SEVERAL_FRAGMENTS = "several fragments"
    EXCLUDED = "in a set of data.exclude"
    TOO_MANY_HEAVY_ATOMS = "too many heavy atoms"
    NO_HEAVY_ATOM = "no heavy atom"
    NO_SELFIES = "SELFIES cannot express it"
    NO_DEEPSMILES = "DeepSMILES cannot express it"
    NO_SAFE = "SAFE cannot express it"
    READ_BACK = "read back as another molecule"
    NOT_COMMON = "not in every notation of data.common_to"
    TOO_MANY_SYMBOLS = "too many symbols"
    UNKNOWN_SYMBOL = "symbol outside the given vocabulary"
    DUPLICATE = "duplicate"


MAX_ATOMS = 5000
"""Heavy atoms of a molecule at most: writing SMILES recurses, and overflows from some 10,000 on."""
MAX_FRAGMENTS = 500
"""RDKit's choice of the largest takes time with their square: 30 s for 12,000."""
CHARACTERS_PER_SYMBOL = 50
"""A heavy atom with its hydrogens, atom maps and coordinates written out has fewer."""
MAX_SYMBOLS = 65_535
"""Lengths are kept in 16 bits."""
MAX_PASSES = 10
_LABELS_AND_COORDINATES = re.compile(r"\$[^$]*\$|\([^)]*\)")
_RELATIVE = re.compile(r"[|,]r[|,]")
_VARIABLE = re.compile(r"[|,](m|LN):")
_HYPERVALENT = re.compile(r"\[\d*(?:Se?|se?|As|as|[Pp])(?:@+|H\d*)*\+")
_PLAIN = re.compile(r"(?:[A-Za-z0-9()\].=#+%-]|\[(?!\d*H))+")
"""Text without stereo, hydrogens that are atoms, atom maps, names and extensions."""
_AS_WRITTEN = Chem.SmilesParserParams()
for _option in ("sanitize", "removeHs", "allowCXSMILES", "parseName"):
    setattr(_AS_WRITTEN, _option, False)
_BY_STEREO = ("SETCONJUGATION", "SETHYBRIDIZATION", "CLEANUPCHIRALITY", "CLEANUPATROPISOMERS")
"""Steps of RDKit's reading that only tags of stereo need: those at atoms that cannot have one are removed."""
_IN_BRACKETS = ("FINDRADICALS", "CLEANUP_ORGANOMETALLICS")
"""Steps that change atoms in brackets only: others get hydrogens, not radicals, and are no metals."""
_POLYMERS = frozenset({"SRU", "MON", "MER", "COP", "CRO", "MOD", "GRA", "ANY"})
_RELATIVE_GROUPS = (Chem.StereoGroupType.STEREO_AND, Chem.StereoGroupType.STEREO_OR)


@dataclass(frozen=True)
class Policy:
    """What is kept of a molecule.

    Args:
        stereo: keep | strip (tetrahedral and double-bond).
        salts: keep all fragments | largest fragment only | drop molecules of several. The largest is the one
            with carbon, then with the most heavy atoms, then the heaviest, then the first by SMILES.
        charge: keep | neutralize where a proton can do it.
        max_symbols: symbols of the notation at most, the end not counted.
        max_heavy_atoms: heavy atoms at most; None for any number.

    Raises:
        PolicyError: an unknown choice.
    """

    stereo: str = "keep"
    salts: str = "keep"
    charge: str = "keep"
    max_symbols: int = 510
    max_heavy_atoms: int | None = None

    def __post_init__(self) -> None:
        choices = {
            "stereo": ("keep", "strip"),
            "salts": ("keep", "largest", "drop"),
            "charge": ("keep", "neutralize"),
        }
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                raise PolicyError(f"data.{key}={getattr(self, key)!r}: choose {', '.join(allowed)}.")
        if self.max_symbols < 1 or (self.max_heavy_atoms is not None and self.max_heavy_atoms < 1):
            raise PolicyError("data.max_symbols and data.max_heavy_atoms must be at least 1.")
        if self.max_symbols > MAX_SYMBOLS:
            raise PolicyError(f"data.max_symbols={self.max_symbols}: {MAX_SYMBOLS} at most.")

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name, and the SELFIES constraints that hold, which are part of the policy."""
        return {**asdict(self), "selfies_constraints": selfies.get_semantic_constraints()}


ANY_LENGTH = Policy(max_symbols=MAX_SYMBOLS)
"""Nothing is changed or left out of a molecule that a corpus could hold at all."""


@dataclass(frozen=True)
class Molecule:
    """A standardised molecule.

    Args:
        smiles: canonical.
        heavy_atoms: atoms other than hydrogen.
    """

    smiles: str
    heavy_atoms: int


@dataclass(frozen=True)
class Rejected:
    """Why a row is not a molecule of the corpus.

    Args:
        reason: one of the list.
        detail: for people.
    """

    reason: Reason
    detail: str = ""


def standardize(text: str, policy: Policy) -> Molecule | Rejected:
    """Canonical SMILES of a molecule under a policy, or why there is none.

    RDKit's canonical SMILES is not always its own canonical SMILES (stereo that atom maps, hydrogens or
    charges had held up), so it is read and written until it stays; of spellings that alternate the first by
    alphabet is taken.

    Args:
        text: of a cell, whatever it may contain: nothing is raised for it.
        policy: what is kept of a molecule.
    """
    if not text:
        return Rejected(Reason.EMPTY)
    if len(text) > CHARACTERS_PER_SYMBOL * policy.max_symbols:
        return Rejected(Reason.TOO_LONG, f"{len(text)} characters")
    found: list[Molecule] = []
    spelling = text
    with rdBase.BlockLogs():
        for _ in range(MAX_PASSES):
            try:
                result = _read_and_write(spelling, policy)
            except (ValueError, RuntimeError) as error:
                return Rejected(Reason.UNPARSABLE, str(error).splitlines()[0][:200])
            if isinstance(result, Rejected) or result.smiles == spelling:
                return result
            if result in found:
                return min(found[found.index(result) :], key=lambda molecule: molecule.smiles)
            found.append(result)
            spelling = result.smiles
    return Rejected(Reason.UNPARSABLE, f"RDKit writes it in more than {MAX_PASSES} ways")


def _read_and_write(text: str, policy: Policy) -> Molecule | Rejected:
    molecule = _read(text, policy)
    if molecule is None:
        return Rejected(Reason.UNPARSABLE)
    # All atoms heavier than hydrogen: no wildcard. Going through them costs a third of reading them.
    if molecule.GetNumHeavyAtoms() != molecule.GetNumAtoms() and any(
        atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()
    ):
        return Rejected(Reason.WILDCARD)
    if "|" in text and (problem := _extension_problem(molecule, policy)):
        return problem
    if ":" in text:
        for atom in molecule.GetAtoms():
            atom.SetAtomMapNum(0)
    if "+" in text and _HYPERVALENT.search(text):
        _join_charges(molecule)
    return _apply(molecule, policy)


def _steps_without(*names: str) -> Chem.SanitizeFlags:
    """All steps of RDKit's reading but some; of those that this RDKit lacks none is left out."""
    left_out = [getattr(Chem.SanitizeFlags, f"SANITIZE_{name}", 0) for name in names]
    return Chem.SanitizeFlags(int(Chem.SanitizeFlags.SANITIZE_ALL) & ~sum(map(int, left_out)))


_STEPS = {True: _steps_without(*_BY_STEREO), False: _steps_without(*_BY_STEREO, *_IN_BRACKETS)}
"""Of a plain text, by whether it has brackets."""


def _read(text: str, policy: Policy) -> Chem.Mol | None:
    """``Chem.MolFromSmiles``, in two thirds of its time where the text is plain; written, both are the same.

    Fragments and charges are changed by patterns, which may ask for what is left out here.
    """
    if policy.salts == policy.charge == "keep" and _PLAIN.fullmatch(text):
        molecule = Chem.MolFromSmiles(text, _AS_WRITTEN)
        if molecule is not None and not Chem.SanitizeMol(molecule, _STEPS["[" in text], catchErrors=True):
            return molecule
    return Chem.MolFromSmiles(text)


def _join_charges(molecule: Chem.Mol) -> None:
    """Write S+–O- as S=O, and its like of P, Se and As with C, N and S: two spellings of one bond.

    RDKit does so for nitro groups, azides and the like, in the direction that its valence model wants there.
    """
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    for bond in molecule.GetBonds():
        ends = (bond.GetBeginAtom(), bond.GetEndAtom())
        plus, minus = sorted(ends, key=lambda atom: -atom.GetFormalCharge())
        if (
            bond.GetBondType() == Chem.BondType.SINGLE
            and plus.GetFormalCharge() > 0 > minus.GetFormalCharge()
            and plus.GetSymbol() in ("S", "P", "Se", "As")
            and minus.GetSymbol() in ("O", "N", "S", "C")
        ):
            bond.SetBondType(Chem.BondType.DOUBLE)
            plus.SetFormalCharge(plus.GetFormalCharge() - 1)
            minus.SetFormalCharge(minus.GetFormalCharge() + 1)
    Chem.SanitizeMol(molecule)


def _extension_problem(molecule: Chem.Mol, policy: Policy) -> Rejected | None:
    """What a CXSMILES extension says that one SMILES cannot: several molecules, or none in particular."""
    extension = molecule.GetProp("_CXSMILES_Data") if molecule.HasProp("_CXSMILES_Data") else ""
    words = _LABELS_AND_COORDINATES.sub("", extension)
    groups = Chem.GetMolSubstanceGroups(molecule)
    kinds = [group.GetProp("TYPE") for group in groups if group.HasProp("TYPE")]
    if variable := _VARIABLE.search(words):
        return Rejected(Reason.VARIABLE, variable[0].strip("|,"))
    if polymer := next((kind for kind in kinds if kind in _POLYMERS), None):
        return Rejected(Reason.VARIABLE, f"repeating unit {polymer}")
    if policy.stereo == "strip":
        return None
    is_relative = any(
        group.GetGroupType() in _RELATIVE_GROUPS and (len(group.GetAtoms()) or len(group.GetBonds()))
        for group in molecule.GetStereoGroups()
    )
    chiral = (atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED for atom in molecule.GetAtoms())
    if is_relative or (_RELATIVE.search(words) and any(chiral)):
        return Rejected(Reason.RELATIVE_STEREO, "data.stereo=strip keeps it without")
    return None


def _apply(molecule: Chem.Mol, policy: Policy) -> Molecule | Rejected:
    if policy.salts != "keep" and len(fragments := Chem.GetMolFrags(molecule)) > 1:
        if policy.salts == "drop":
            return Rejected(Reason.SEVERAL_FRAGMENTS)
        if len(fragments) > MAX_FRAGMENTS:
            return Rejected(Reason.SEVERAL_FRAGMENTS, f"{len(fragments)}, too many to choose from")
        if (atoms := max(map(len, fragments))) > MAX_ATOMS:
            return Rejected(Reason.TOO_MANY_HEAVY_ATOMS, f"{atoms}, more than RDKit can order")
        molecule = largest_fragment(molecule)
    heavy = molecule.GetNumHeavyAtoms()
    if heavy == 0:
        return Rejected(Reason.NO_HEAVY_ATOM)
    if policy.max_heavy_atoms is not None and heavy > policy.max_heavy_atoms:
        return Rejected(Reason.TOO_MANY_HEAVY_ATOMS, str(heavy))
    if heavy > policy.max_symbols:  # each is a symbol
        return Rejected(Reason.TOO_MANY_SYMBOLS, f"at least {heavy}")
    if heavy > MAX_ATOMS:
        return Rejected(Reason.TOO_MANY_HEAVY_ATOMS, f"{heavy}, more than RDKit can order")
    if policy.charge == "neutralize":
        molecule = _uncharger().uncharge(molecule)
    if policy.stereo == "strip":
        Chem.RemoveStereochemistry(molecule)
    return Molecule(Chem.MolToSmiles(molecule), heavy)


def largest_fragment(molecule: Chem.Mol) -> Chem.Mol:
    """The fragment that a molecule is named for, as ``Policy`` says which.

    Args:
        molecule: of several fragments; more than `MAX_FRAGMENTS` take long.
    """
    return _largest().choose(molecule)


@lru_cache(maxsize=1)
def _largest() -> rdMolStandardize.LargestFragmentChooser:
    choice = rdMolStandardize.CleanupParameters()
    choice.preferOrganic = True  # type: ignore[assignment]  # RDKit's stubs are wrong
    choice.largestFragmentChooserCountHeavyAtomsOnly = True  # type: ignore[assignment]
    return rdMolStandardize.LargestFragmentChooser(choice)


@lru_cache(maxsize=1)
def _uncharger() -> rdMolStandardize.Uncharger:
    return rdMolStandardize.Uncharger()


def encode(smiles: str, policy: Policy) -> list[str] | Rejected:
    """SELFIES symbols of a canonical SMILES, or why there are none.

    Args:
        smiles: canonical.
        policy: how many symbols are allowed.
    """
    try:
        symbols = selfies_symbols(smiles)
    except ENCODER_ERRORS as error:
        return Rejected(Reason.NO_SELFIES, (str(error).strip() or "unknown").splitlines()[0][:200])
    if len(symbols) > policy.max_symbols:
        return Rejected(Reason.TOO_MANY_SYMBOLS, str(len(symbols)))
    return symbols
