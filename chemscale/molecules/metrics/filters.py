"""Structural alerts of RDKit's catalogues, and the plain rules of MOSES.

MOSES's own share `Filters` also asks for its list of medicinal chemistry filters (MCF), which RDKit does
not have: no number here is that one.
"""

from __future__ import annotations

from functools import lru_cache

from rdkit import Chem
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

CATALOGUES = {
    "pains": ("PAINS", "frequent hitters of assays, Baell and Holloway 2010"),
    "brenk": ("BRENK", "unwanted groups, Brenk 2008"),
    "nih": ("NIH", "reactive or interfering groups, Jadhav 2010 and Doveston 2015"),
}
"""Name here; name in RDKit and what it holds."""
RULES = "moses_rules"
ELEMENTS = frozenset({"C", "N", "S", "O", "F", "Cl", "Br", "H"})
"""Elements that MOSES allows."""
LARGEST_RING = 7
"""Atoms of a ring at most, as in MOSES."""
NAMES = (*CATALOGUES, RULES)


@lru_cache(maxsize=len(CATALOGUES))
def _catalogue(name: str) -> FilterCatalog:
    parameters = FilterCatalogParams()
    parameters.AddCatalog(getattr(FilterCatalogParams.FilterCatalogs, CATALOGUES[name][0]))
    return FilterCatalog(parameters)


def passes(molecule: Chem.Mol) -> list[bool]:
    """Whether a molecule passes each filter, in the order of ``NAMES``.

    Args:
        molecule: a molecule.
    """
    return [*(not _catalogue(name).HasMatch(molecule) for name in CATALOGUES), _passes_rules(molecule)]


def _passes_rules(molecule: Chem.Mol) -> bool:
    """No charge, no ring of eight atoms or more, no element beyond those of MOSES."""
    if any(len(ring) > LARGEST_RING for ring in molecule.GetRingInfo().AtomRings()):
        return False
    return all(atom.GetFormalCharge() == 0 and atom.GetSymbol() in ELEMENTS for atom in molecule.GetAtoms())
