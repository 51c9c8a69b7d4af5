"""Scoring functions that need nothing but RDKit: descriptors, similarity, substructures, alerts.

Each is made once from its options and is then a function of a molecule. Those with a value in a unit of their
own (logP, weight) want a transform; ``WITHIN_ONE`` says which do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rdkit import Chem, DataStructs
from rdkit.Chem import FilterCatalog, rdFingerprintGenerator

from chemscale.molecules.descriptors import DESCRIPTORS
from chemscale.reinforcement.scoring.errors import ScoringError

OfMolecule = Callable[[Chem.Mol], float]

FINGERPRINTS = ("ECFP4", "ECFP6", "FCFP4", "AP")
CATALOGS = ("PAINS", "BRENK", "NIH", "ZINC")


def _generator(fingerprint: str) -> Any:
    if fingerprint not in FINGERPRINTS:
        raise ScoringError(f"fingerprint={fingerprint}: choose {', '.join(FINGERPRINTS)}.")
    if fingerprint == "AP":
        return rdFingerprintGenerator.GetAtomPairGenerator(maxDistance=10)
    invariants = rdFingerprintGenerator.GetMorganFeatureAtomInvGen() if fingerprint == "FCFP4" else None
    radius = 3 if fingerprint == "ECFP6" else 2
    return rdFingerprintGenerator.GetMorganGenerator(radius=radius, atomInvariantsGenerator=invariants)


def similarity(smiles: str, fingerprint: str = "ECFP4") -> OfMolecule:
    """Tanimoto similarity of counted, unfolded fingerprints to a molecule, as GuacaMol and PMO count it.

    Args:
        smiles: of the molecule that is sought.
        fingerprint: ECFP4, ECFP6, FCFP4 or AP (atom pairs up to 10 bonds apart).

    Raises:
        ScoringError: no such molecule or fingerprint.
    """
    generator = _generator(fingerprint)
    target = Chem.MolFromSmiles(str(smiles))
    if target is None or not target.GetNumAtoms():
        raise ScoringError(f"smiles={smiles}: RDKit cannot read the molecule that is sought.")
    sought = generator.GetSparseCountFingerprint(target)

    def of(molecule: Chem.Mol) -> float:
        return float(DataStructs.TanimotoSimilarity(sought, generator.GetSparseCountFingerprint(molecule)))

    return of


def substructure(smarts: str, at_least: int = 1) -> OfMolecule:
    """1 where a pattern is matched so often, else the share of that.

    Args:
        smarts: of the pattern.
        at_least: matches that are wanted; 0: 1 where there is none, and 0 where there is one.

    Raises:
        ScoringError: no such pattern.
    """
    pattern = Chem.MolFromSmarts(str(smarts))
    if pattern is None or not pattern.GetNumAtoms():
        raise ScoringError(f"smarts={smarts}: RDKit cannot read the pattern.")
    if not isinstance(at_least, int) or at_least < 0:
        raise ScoringError(f"at_least={at_least}: a whole number from 0 on.")

    def of(molecule: Chem.Mol) -> float:
        matches = len(molecule.GetSubstructMatches(pattern, maxMatches=max(1, at_least)))
        return min(1.0, matches / at_least) if at_least else float(matches == 0)

    return of


def alerts(catalog: str = "PAINS") -> OfMolecule:
    """1 where a molecule matches no pattern of a catalogue of RDKit, else 0.

    Args:
        catalog: PAINS, BRENK, NIH or ZINC.

    Raises:
        ScoringError: no such catalogue.
    """
    if catalog not in CATALOGS:
        raise ScoringError(f"catalog={catalog}: choose {', '.join(CATALOGS)}.")
    wanted = FilterCatalog.FilterCatalogParams()
    wanted.AddCatalog(getattr(FilterCatalog.FilterCatalogParams.FilterCatalogs, catalog))
    patterns = FilterCatalog.FilterCatalog(wanted)
    return lambda molecule: float(not patterns.HasMatch(molecule))


def _of_descriptor(name: str) -> Callable[[], OfMolecule]:
    def made() -> OfMolecule:
        return DESCRIPTORS[name].of

    return made


SHIPPED: dict[str, Callable[..., OfMolecule]] = {
    "similarity": similarity,
    "substructure": substructure,
    "alerts": alerts,
    **{name: _of_descriptor(name) for name in DESCRIPTORS},
}
"""By name; called with options, each gives a function of a molecule."""
WITHIN_ONE = frozenset({"similarity", "substructure", "alerts", "QED", "fsp3"})
"""Those whose values lie from 0 to 1 by themselves."""
