"""Wrong signs and units of energies and forces, and labels of other rows."""

from __future__ import annotations

import numpy as np
from ase import units

from chemscale.structures.lint.evidence.hypotheses import Odds, odds
from chemscale.structures.lint.evidence.neighbours import neighbour_work
from chemscale.structures.lint.evidence.sampling import Group
from chemscale.structures.lint.evidence.stretches import Stretches, stretches
from chemscale.structures.lint.findings import Finding, not_checked

LIMITS = {"unrelated": 16.0, "gradients": 16.0, "scaled": 20.0}
"""Log odds against sound labels that make an error; subsets of sound data reach 12, 12 and 15."""

SURE = -7.0
"""Log odds (1,000 to 1 for sound labels) from which on a check is passed."""

STIFFNESS = (4.0, 250.0)
"""eV/Å²: how hard covalent bonds pull back; single bonds 25 to 45, triple bonds about 140."""

FACTORS = {
    units.Hartree: "forces in Hartree/Å beside energies in eV",
    1 / units.Hartree: "energies in Hartree beside forces in eV/Å",
    units.mol / units.kcal: "energies in kcal/mol beside forces in eV/Å",
    units.kcal / units.mol: "forces in kcal/mol/Å beside energies in eV",
    units.mol / units.kJ: "energies in kJ/mol beside forces in eV/Å",
    units.kJ / units.mol: "forces in kJ/mol/Å beside energies in eV",
    1 / units.Bohr: "forces in eV/Bohr beside positions in Å",
    units.Bohr: "forces that were multiplied by 1.89 once too often",
    units.kcal / units.kJ: "energies in kJ/mol beside forces in kcal/mol/Å",
    units.kJ / units.kcal: "energies in kcal/mol beside forces in kJ/mol/Å",
    units.Hartree / units.Bohr: "forces in Hartree/Bohr beside energies in eV",
    1 / units.Hartree / units.Bohr: "energies in Hartree and forces in eV/Bohr",
    units.Bohr / units.Hartree: "energies in Hartree beside forces that were multiplied by 1.89",
}
"""ΔE over the work of the forces, and what makes it so."""

OTHERS = np.concatenate([np.geomspace(1e-4, 0.4, 15), np.geomspace(2.5, 1e4, 15)])
"""Ratios without a name."""

PASSED_AS_EV = {
    "Hartree": 1 / units.Hartree,
    "kcal/mol": units.mol / units.kcal,
    "kJ/mol": units.mol / units.kJ,
}
"""Factor by which energies are off where the file holds another unit than eV."""

TOTAL = (0.98, 1.06)
"""All-electron energies over the sum of their atoms' Hartree-Fock energies; correlation and bonds add 4 %."""

# Total energies of neutral atoms, restricted open-shell Hartree-Fock limit, in Hartree (Koga, Watanabe,
# Kanayama, Yasuda and Thakkar 1995).
ATOMS = {
    2: -2.8617, 3: -7.4327, 4: -14.573, 5: -24.529, 6: -37.689, 7: -54.401, 8: -74.809, 9: -99.409,
    10: -128.547, 11: -161.859, 12: -199.615, 13: -241.877, 14: -288.854, 15: -340.719, 16: -397.505,
    17: -459.482, 18: -526.818, 35: -2572.44, 53: -6917.98, 1: -0.5,
}  # fmt: skip

LABELS = ("force sign", "energy and force units", "shuffled labels")


def label_findings(sample: list[Group]) -> list[Finding]:
    """Find wrong signs and units of energies and forces, and labels of other rows.

    Args:
        sample: groups of frames that can be compared.
    """
    energies = any(np.isfinite(g.energies).any() for g in sample)
    forces = any(_forces(g).any() for g in sample)
    pairs = neighbour_work(sample)
    o = odds(pairs, np.array(list(FACTORS)), OTHERS)
    molecules = [g for g in sample if not g.periodic]
    s = stretches(molecules)
    reason = _reason(sample, energies, forces, o)
    if any(getattr(o, name) > limit for name, limit in LIMITS.items()):
        if o.best == "scaled":
            return [_mismatch(o), *_open(o, s, reason, but="energy and force units")]
        found = _gradients(o) if o.best == "gradients" else _shuffled(o, s)
        return [found, *_open(o, s, reason, but=found.check)]
    if s.wrong and s.push:
        found = Finding(
            "force sign",
            "error",
            f"The force array holds gradients: in {len(s.pulls):,} frames they push stretched bonds further "
            f"apart ({s.median:+.0f} eV/Å², should be positive). Set data.units.gradients=true.",
        )
        return [found, *_open(o, s, reason, but="force sign")]
    if s.wrong:
        found = Finding(
            "shuffled labels",
            "error",
            f"In {int((s.pulls <= 0).sum()):,} of {len(s.pulls):,} frames forces do not pull stretched bonds "
            "back: they belong to other rows. Make the label columns anew.",
        )
        return [found, *_open(o, s, reason, but="shuffled labels")]
    absolute = _absolute(o, s, molecules)
    return [*absolute, *_open(o, s, reason, but="energy and force units" if absolute else "")]


def _forces(group: Group) -> np.ndarray:
    return np.isfinite(group.forces).all(axis=(1, 2)) & (group.forces != 0).any(axis=(1, 2))


def _reason(sample: list[Group], energies: bool, forces: bool, o: Odds) -> str:
    """Why energies and forces could not be compared."""
    missing = [name for name, there in (("energies", energies), ("forces", forces)) if not there]
    if missing:
        return f"no {' and no '.join(missing)}"
    if o.pairs:
        return (
            f"{o.pairs:,} pairs of neighbouring frames do not decide; more frames of one composition, "
            "nearer to each other, would"
        )
    crystals = all(g.periodic for g in sample)
    return (
        "crystals: no two frames of the same atoms in the same cell near each other, so that signs and units "
        "cannot be compared"
        if crystals
        else "no two frames of the same atoms near each other"
    )


def _open(o: Odds, s: Stretches, reason: str, *, but: str) -> list[Finding]:
    """What stays undecided beside a finding, or without one."""
    if but == "shuffled labels":
        return [not_checked(c, "labels are shuffled") for c in LABELS if c != but]
    decided = {
        "force sign": o.gradients < SURE or s.sound,
        "energy and force units": o.scaled < SURE and len(s.pulls) >= 5,
        "shuffled labels": o.unrelated < SURE or but != "",
    }
    found = []
    for check, done in decided.items():
        if done or check == but:
            continue
        if check == "energy and force units" and o.scaled < SURE:
            reason = (
                "energies and forces agree with each other; whether both are in eV could not be seen without "
                "covalent bonds that are stretched"
            )
        found.append(not_checked(check, reason))
    return found


def _shuffled(o: Odds, s: Stretches) -> Finding:
    column = (
        "Forces answer to stretched bonds as they should, so it is the energies that belong to other rows"
        if s.sound
        else "Forces do not answer to stretched bonds either, so it is the forces that belong to other rows"
        if s.wrong
        else "Energies or forces belong to other rows"
    )
    return Finding(
        "shuffled labels",
        "error",
        f"Between {o.pairs:,} pairs of neighbouring frames the change of energy has nothing to do with "
        f"the work of the forces (log odds {o.unrelated:.0f}; sound data have negative ones). {column}: make "
        "the label columns anew.",
    )


def _gradients(o: Odds) -> Finding:
    return Finding(
        "force sign",
        "error",
        f"The force array holds gradients: between {o.pairs:,} pairs of neighbouring frames energies rise "
        f"along the forces (log odds {o.gradients:.0f}; sound data have negative ones). Set "
        "data.units.gradients=true.",
    )


def _mismatch(o: Odds) -> Finding:
    cause = FACTORS.get(o.ratio, "no usual pair of units explains it")
    return Finding(
        "energy and force units",
        "error",
        f"Changes of energy are about {o.ratio:.3g} times the work of the forces (should be 1), between "
        f"{o.pairs:,} pairs of neighbouring frames: {cause}. Energies and forces must come from the file in "
        "units that belong together: see data.units.",
    )


def _absolute(o: Odds, s: Stretches, molecules: list[Group]) -> list[Finding]:
    """Find labels that agree with each other in one wrong unit, by their size."""
    if s.outside(*STIFFNESS):
        size = abs(s.median)
        name = min(PASSED_AS_EV, key=lambda key: abs(np.log(size / (30.0 * PASSED_AS_EV[key]))))
        return [
            Finding(
                "energy and force units",
                "error",
                f"Forces pull stretched bonds back with {size:.3g} eV/Å² where {STIFFNESS[0]:g} to "
                f"{STIFFNESS[1]:g} is usual: they look like {name}/Å. Set data.units.energy={name}.",
            )
        ]
    if s.sound and o.scaled < SURE:
        return []  # forces are in eV/Å, and energies agree with them
    totals = np.array(
        [
            np.nanmedian(g.energies) / (units.Hartree * sum(ATOMS[int(z)] for z in g.numbers))
            for g in molecules
            if np.isfinite(g.energies).any() and set(map(int, g.numbers)) <= set(ATOMS) and max(g.numbers) > 2
        ]
    )
    for name, value in PASSED_AS_EV.items():
        if len(totals) and (TOTAL[0] < totals / value).all() and (totals / value < TOTAL[1]).all():
            return [
                Finding(
                    "energy and force units",
                    "error",
                    f"Energies are {np.median(totals):.3g} times the sum of all-electron energies of their "
                    f"atoms in eV: they are in {name}. Set data.units.energy={name}.",
                )
            ]
    return []
