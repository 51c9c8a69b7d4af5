"""Numbers of a molecule by name, as RDKit computes them, and its scaffold: one table for every use.

Conditions of a training, distributions of an evaluation and scoring functions of an optimisation read the
same names, so that a value means the same everywhere.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

from rdkit import Chem, RDConfig
from rdkit.Chem import QED, rdMolDescriptors
from rdkit.Chem.Scaffolds import MurckoScaffold


class DescriptorError(ValueError):
    """A descriptor that there is not."""


@dataclass(frozen=True)
class Descriptor:
    """One number of a molecule.

    Args:
        name: on command lines and in tables.
        meaning: for people, with its unit and source.
        of: computes it.
        whole: whether it counts something.
    """

    name: str
    meaning: str
    of: Callable[[Chem.Mol], float]
    whole: bool = False


@lru_cache(maxsize=1)
def _synthetic_accessibility() -> ModuleType:
    """RDKit's contributed module, which stands beside the package and not in it.

    Raises:
        DescriptorError: this RDKit came without it.
    """
    path = os.path.join(RDConfig.RDContribDir, "SA_Score", "sascorer.py")
    spec = importlib.util.spec_from_file_location("chemscale_sascorer", path)
    if spec is None or spec.loader is None or not os.path.exists(path):
        raise DescriptorError(
            f"SA needs RDKit's contributed sascorer, which is not at {path}: pip install rdkit brings it."
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def synthetic_accessibility(molecule: Chem.Mol) -> float:
    """Synthetic accessibility from 1 (easy) to 10 (Ertl and Schuffenhauer, J. Cheminf. 1, 8, 2009).

    Args:
        molecule: with at least one heavy atom.
    """
    return float(_synthetic_accessibility().calculateScore(molecule))


def _log_p(molecule: Chem.Mol) -> float:
    return float(rdMolDescriptors.CalcCrippenDescriptors(molecule)[0])


def _rings(molecule: Chem.Mol) -> float:
    return float(molecule.GetRingInfo().NumRings())


def _largest_ring(molecule: Chem.Mol) -> float:
    return float(max((len(ring) for ring in molecule.GetRingInfo().AtomRings()), default=0))


DESCRIPTORS: dict[str, Descriptor] = {
    each.name: each
    for each in (
        Descriptor("logP", "octanol-water partition, Wildman and Crippen 1999", _log_p),
        Descriptor("SA", "synthetic accessibility, 1 easy to 10, Ertl 2009", synthetic_accessibility),
        Descriptor("QED", "drug-likeness, 0 to 1, Bickerton 2012", QED.qed),
        Descriptor("weight", "average molecular weight in g/mol", rdMolDescriptors._CalcMolWt),
        Descriptor("TPSA", "topological polar surface area in Å², Ertl 2000", rdMolDescriptors.CalcTPSA),
        Descriptor("heavy_atoms", "atoms other than hydrogen", Chem.Mol.GetNumHeavyAtoms, True),
        Descriptor("rings", "rings of the smallest set", _rings, True),
        Descriptor("largest_ring", "atoms of the largest ring", _largest_ring, True),
        Descriptor("aromatic_rings", "aromatic rings", rdMolDescriptors.CalcNumAromaticRings, True),
        Descriptor(
            "rotatable_bonds", "rotatable bonds, strict", rdMolDescriptors.CalcNumRotatableBonds, True
        ),
        Descriptor("donors", "hydrogen bond donors, Lipinski", rdMolDescriptors.CalcNumHBD, True),
        Descriptor("acceptors", "hydrogen bond acceptors, Lipinski", rdMolDescriptors.CalcNumHBA, True),
        Descriptor("fsp3", "share of sp3 carbons", rdMolDescriptors.CalcFractionCSP3),
        Descriptor("charge", "formal charge in e", Chem.GetFormalCharge, True),
    )
}
"""By name."""


def descriptor(name: str) -> Descriptor:
    """The descriptor of a name.

    Args:
        name: one of ``DESCRIPTORS``, upper and lower case as there.

    Raises:
        DescriptorError: there is none.
    """
    try:
        return DESCRIPTORS[name]
    except KeyError:
        raise DescriptorError(f"{name}: no such descriptor. Choose from {', '.join(DESCRIPTORS)}.") from None


def scaffold(molecule: Chem.Mol) -> str:
    """Canonical SMILES of the Bemis-Murcko scaffold without stereo; empty where there is no ring.

    Bemis and Murcko, J. Med. Chem. 39, 2887 (1996), with the exocyclic double bonds that RDKit keeps.

    Args:
        molecule: a molecule.
    """
    return str(MurckoScaffold.MurckoScaffoldSmiles(mol=molecule, includeChirality=False))
