"""The unit of lengths, inferred from how far neighbouring atoms are apart."""

from __future__ import annotations

import numpy as np
from ase import units
from ase.data import covalent_radii
from scipy.stats import binom

from chemscale.structures.lint.evidence.geometry import chunks, distances, pairs_of
from chemscale.structures.lint.evidence.lattices import Lattices
from chemscale.structures.lint.evidence.sampling import Group
from chemscale.structures.lint.findings import Finding, not_checked

USUAL = (0.72, 1.45)
"""Nearest distance over the sum of covalent radii: 0.9 to 1.1 in molecules, up to 1.4 in ionic crystals."""

CRYSTALS_FROM = 0.55
"""The lower limit in crystals: 0.59 to 0.9 where electropositive metals have given their electrons away."""

CANDIDATES = {"Bohr": 1 / units.Bohr, "nm": 0.1, "pm": 100.0}
"""What the ratio is multiplied by where lengths in this unit are taken as Å."""

NOBLE = (2, 10, 18, 36, 54, 86)

STRANGE, LEVEL = 0.02, 1e-3
"""Share of frames of sound data with an unusual median, and the probability of more by chance.

Two frames decide: sound ones are unusual where atoms fly apart or are squeezed together."""


def length_findings(sample: list[Group]) -> list[Finding]:
    """Find lengths in another unit than Å, by the distance of nearest atoms, nearest images counted.

    Args:
        sample: groups of one composition each; atoms, pairs of atoms and noble gases tell nothing.
    """
    medians = [
        (np.median(nearest_ratios(g)[:, ~np.isin(g.numbers, NOBLE)], axis=1), g.periodic)
        for g in sample
        if (~np.isin(g.numbers, NOBLE)).sum() > (0 if g.periodic else 2)
    ]
    ratios = np.concatenate([[], *(m for m, _ in medians)])
    if not len(ratios):
        return [not_checked("length unit", "only atoms, pairs of atoms and noble gases")]
    low = np.concatenate([np.full(len(m), CRYSTALS_FROM if c else USUAL[0]) for m, c in medians])
    outside = (ratios < low) | (ratios > USUAL[1])
    ratio = max(float(np.median(ratios)), 1e-6)
    if outside.mean() < 0.5:
        return []
    if binom.sf(outside.sum() - 1, len(ratios), STRANGE) > LEVEL:
        return [not_checked("length unit", "a single frame with atoms far from or close to each other")]
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
    """Distance of each atom to its nearest one over the sum of both covalent radii, (k, n).

    Args:
        group: frames; in crystals an atom's own image counts.
    """
    radii = covalent_radii[group.numbers]
    k, n = group.positions.shape[:2]
    nearest = np.full((k, n), np.inf)
    i, j = pairs_of(n)
    lattices = None
    if group.cells is not None and group.pbc is not None:
        lattices = Lattices(group.cells, group.pbc)
        nearest = lattices.lengths[:, :1] / (2 * radii)
    for at in chunks(k, len(i)) if n > 1 else ():
        ratio = distances(group.positions[at], lattices, at) / (radii[i] + radii[j])
        for pair in range(len(i)):
            a, b = i[pair], j[pair]
            nearest[at, a] = np.minimum(nearest[at, a], ratio[:, pair])
            nearest[at, b] = np.minimum(nearest[at, b], ratio[:, pair])
    return nearest
