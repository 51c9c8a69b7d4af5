"""The unit of lengths, inferred from how far bonded atoms are apart."""

from __future__ import annotations

import numpy as np
from ase import units
from ase.data import covalent_radii

from chemscale.structures.lint.counting import Group
from chemscale.structures.lint.findings import Finding

USUAL = (0.72, 1.45)
"""Nearest distance over the sum of covalent radii: 0.9 to 1.1 in molecules, up to 1.4 in ionic crystals."""

CANDIDATES = {"Bohr": 1 / units.Bohr, "nm": 0.1, "pm": 100.0}
"""What the ratio is multiplied by where lengths in this unit are taken as Å."""


def length_findings(sample: list[Group]) -> list[Finding]:
    """Find lengths in another unit than Å, by the median distance of nearest atoms."""
    ratios = [r for group in sample if len(group.numbers) > 1 for r in nearest_ratios(group)]
    if not ratios:
        return []
    ratio = float(np.median(ratios))
    if USUAL[0] <= ratio <= USUAL[1]:
        return []
    fits = {name: abs(np.log(ratio / factor)) for name, factor in CANDIDATES.items()}
    fits["Angstrom taken for Bohr"] = abs(np.log(ratio * CANDIDATES["Bohr"]))
    name = min(fits, key=lambda key: fits[key])
    guess = (
        f"they look like {name}: set data.units.length={name}"
        if name in CANDIDATES and fits[name] < 0.25
        else "they were converted from Bohr although they are in Å: set data.units.length=Angstrom"
        if fits[name] < 0.25
        else "no usual unit explains it: look at the file"
    )
    return [
        Finding(
            "length unit",
            "error",
            f"Nearest atoms are {ratio:.2f} times the sum of their covalent radii apart (about 1 in "
            f"matter): lengths are not in Å, {guess}.",
        )
    ]


def nearest_ratios(group: Group) -> np.ndarray:
    """Distance of each atom to its nearest one over the sum of both covalent radii, (k·n,)."""
    radii = covalent_radii[group.numbers]
    vectors = group.positions[:, :, None] - group.positions[:, None]
    ratio = np.linalg.norm(vectors, axis=3) / (radii[:, None] + radii[None, :])
    ratio[:, np.arange(len(radii)), np.arange(len(radii))] = np.inf
    return ratio.min(axis=2).ravel()
