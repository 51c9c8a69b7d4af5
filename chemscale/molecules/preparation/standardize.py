"""One canonical SMILES for each molecule, by stated policies, or the reason why not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import selfies
from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize


class PolicyError(ValueError):
    """A policy that does not exist or contradicts itself."""


class Reason(StrEnum):
    """Why a row was dropped."""

    EMPTY = "empty"
    UNPARSABLE = "unparsable"
    WILDCARD = "wildcard or query atom"
    SEVERAL_FRAGMENTS = "several fragments"
    TOO_MANY_HEAVY_ATOMS = "too many heavy atoms"
    NO_HEAVY_ATOM = "no heavy atom"
    NO_SELFIES = "SELFIES cannot express it"
    TOO_MANY_SYMBOLS = "too many symbols"
    UNKNOWN_SYMBOL = "symbol outside the given vocabulary"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Policy:
    """What is kept of a molecule.

    Args:
        stereo: keep | strip (tetrahedral and double-bond).
        salts: keep all fragments | largest fragment only | drop molecules of several.
        charge: keep | neutralize where a proton can do it.
        max_symbols: SELFIES symbols at most, the end not counted.
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

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name, and the SELFIES constraints that hold, which are part of the policy."""
        return {**asdict(self), "selfies_constraints": selfies.get_semantic_constraints()}


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

    Args:
        text: of a cell, whatever it may contain: nothing is raised for it.
        policy: what is kept of a molecule.
    """
    if not text:
        return Rejected(Reason.EMPTY)
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(text)
        if molecule is None:
            return Rejected(Reason.UNPARSABLE)
        if any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
            return Rejected(Reason.WILDCARD)
        try:
            return _apply(molecule, policy)
        except (ValueError, RuntimeError) as error:
            return Rejected(Reason.UNPARSABLE, str(error).splitlines()[0][:200])


def _apply(molecule: Chem.Mol, policy: Policy) -> Molecule | Rejected:
    if policy.salts != "keep" and len(Chem.GetMolFrags(molecule)) > 1:
        if policy.salts == "drop":
            return Rejected(Reason.SEVERAL_FRAGMENTS)
        molecule = _largest().choose(molecule)
    if policy.charge == "neutralize":
        molecule = _uncharger().uncharge(molecule)
    if policy.stereo == "strip":
        Chem.RemoveStereochemistry(molecule)
    heavy = molecule.GetNumHeavyAtoms()
    if heavy == 0:
        return Rejected(Reason.NO_HEAVY_ATOM)
    if policy.max_heavy_atoms is not None and heavy > policy.max_heavy_atoms:
        return Rejected(Reason.TOO_MANY_HEAVY_ATOMS, str(heavy))
    return Molecule(Chem.MolToSmiles(molecule), heavy)


@lru_cache(maxsize=1)
def _largest() -> rdMolStandardize.LargestFragmentChooser:
    return rdMolStandardize.LargestFragmentChooser()


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
        symbols = list(selfies.split_selfies(selfies.encoder(smiles)))
    except selfies.EncoderError as error:
        return Rejected(Reason.NO_SELFIES, str(error).strip().splitlines()[0][:200])
    if len(symbols) > policy.max_symbols:
        return Rejected(Reason.TOO_MANY_SYMBOLS, str(len(symbols)))
    return symbols
