"""When two molecules count as the same: levels from one spelling to one scaffold, each as a 64-bit hash.

Two of 10⁹ training and 10⁶ benchmark molecules that differ have the same hash with a probability of
10⁹ · 10⁶ / 2⁶⁴ = 5·10⁻⁵ for the whole comparison.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache

from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors, rdMolHash
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.Scaffolds import MurckoScaffold

from chemscale.molecules.preparation.standardize import (
    MAX_FRAGMENTS,
    MAX_SYMBOLS,
    Molecule,
    Policy,
    largest_fragment,
    standardize,
)

BITS, RADIUS = 2048, 2
"""Of the Morgan fingerprint (ECFP4) that similarity is measured by."""
MIN_RINGS = 2
"""Rings of a scaffold that counts, as in MOSES: a benzene ring is in most molecules."""
_ISOTOPE = re.compile(r"\[\d")
_FLAT = Policy(stereo="strip", max_symbols=MAX_SYMBOLS)


class Level(StrEnum):
    """How alike two molecules are, the strictest first; who agrees at one level agrees at all below."""

    IDENTICAL = "identical"
    CONNECTIVITY = "connectivity"
    PARENT = "parent"
    SCAFFOLD = "scaffold"


MEANINGS = {
    Level.IDENTICAL: "the same canonical SMILES: one molecule in two spellings",
    Level.CONNECTIVITY: "the same atoms, bonds, charges and fragments; stereo and isotopes may differ",
    Level.PARENT: "the same parent: salt, charge (by protons), tautomer, stereo and isotopes may differ",
    Level.SCAFFOLD: f"the same Bemis–Murcko scaffold of {MIN_RINGS} rings or more, without stereo and charge",
}


def text_hash(text: str) -> int:
    """64 bits of BLAKE2b of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Compared:
    """A canonical molecule as others are compared with it; what costs time is computed when it is asked for.

    Args:
        smiles: canonical, as ``standardize`` gives it.
    """

    smiles: str

    @cached_property
    def _base(self) -> Chem.Mol:
        """Largest fragment without isotopes, stereo, and charges that protons can take away."""
        with rdBase.BlockLogs():
            molecule = Chem.MolFromSmiles(self.smiles)
            try:
                return self._stripped(molecule)
            except (ValueError, RuntimeError):  # RDKit reads what it cannot always write anew
                return Chem.MolFromSmiles(self.smiles)

    def _stripped(self, molecule: Chem.Mol) -> Chem.Mol:
        if _ISOTOPE.search(self.smiles):
            molecule = _without_isotopes(molecule)
        Chem.RemoveStereochemistry(molecule)
        # After both: of fragments of one size the heavier is taken, and of one weight the first by SMILES.
        if "." in self.smiles and len(Chem.GetMolFrags(molecule)) <= MAX_FRAGMENTS:
            molecule = largest_fragment(molecule)
        if "+" in self.smiles or "-" in self.smiles:
            molecule = _uncharger().uncharge(molecule)
        return molecule

    @cached_property
    def formula(self) -> str:
        """Atoms, charge and rings of the parent: who differs in these has another parent."""
        rings = self._base.GetRingInfo().NumRings()
        return f"{rdMolDescriptors.CalcMolFormula(self._base)} {rings}"

    @cached_property
    def connectivity(self) -> str:
        """Canonical SMILES without stereo and isotopes, the rest as it is."""
        text = self.smiles
        with rdBase.BlockLogs():
            if _ISOTOPE.search(text):
                text = Chem.MolToSmiles(_without_isotopes(Chem.MolFromSmiles(text)))
        result = standardize(text, _FLAT)
        return result.smiles if isinstance(result, Molecule) else text

    @cached_property
    def parent(self) -> str:
        """RDKit's tautomer hash of the parent (``HetAtomTautomerv2``)."""
        with rdBase.BlockLogs():
            try:
                return str(rdMolHash.MolHash(Chem.Mol(self._base), rdMolHash.HashFunction.HetAtomTautomerv2))
            except (ValueError, RuntimeError):
                return str(Chem.MolToSmiles(self._base))

    @cached_property
    def scaffold(self) -> str:
        """Canonical SMILES of the parent's scaffold; empty where it has fewer than two rings."""
        if self._base.GetRingInfo().NumRings() < MIN_RINGS:
            return ""
        with rdBase.BlockLogs():
            try:
                return str(Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(self._base)))
            except (ValueError, RuntimeError):
                return ""

    @cached_property
    def bits(self) -> list[int]:
        """Numbers of the bits of the parent's fingerprint that are 1, ascending."""
        return list(_generator().GetFingerprint(self._base).GetOnBits())

    def key(self, level: Level) -> int:
        """Hash at a level; 0 where it has none (no scaffold).

        Args:
            level: of the comparison.
        """
        text = self.smiles if level is Level.IDENTICAL else getattr(self, level.value)
        return text_hash(text) if text else 0


def _without_isotopes(molecule: Chem.Mol) -> Chem.Mol:
    """The molecule with all atoms of natural mass; deuterium becomes a hydrogen like others."""
    for atom in molecule.GetAtoms():
        atom.SetIsotope(0)
    return Chem.RemoveHs(molecule)


@lru_cache(maxsize=1)
def _uncharger() -> rdMolStandardize.Uncharger:
    return rdMolStandardize.Uncharger()


@lru_cache(maxsize=1)
def _generator() -> rdFingerprintGenerator.FingerprintGenerator64:
    return rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
