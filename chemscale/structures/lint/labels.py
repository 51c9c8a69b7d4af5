"""Signs and units of energies and forces, inferred from neighbouring frames and from bonds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units

from chemscale.structures.lint.counting import Group
from chemscale.structures.lint.findings import Finding
from chemscale.structures.lint.geometry import bonds, nearest_frames, superposition

NEAR = 0.30
"""Å: root mean square displacement of an atom up to which the trapezoid rule is trusted."""

STIFFNESS = (5.0, 160.0)
"""eV/Å²: how hard covalent bonds pull back; single bonds 25 to 45, triple bonds about 120."""

RATIOS = {
    units.Hartree: "forces in Hartree/Å beside energies in eV",
    1 / units.Hartree: "energies in Hartree beside forces in eV/Å",
    units.mol / units.kcal: "energies in kcal/mol beside forces in eV/Å",
    units.kcal / units.mol: "forces in kcal/mol/Å beside energies in eV",
    1 / units.Bohr: "forces in eV/Bohr beside positions in Å",
    units.Bohr: "forces that were multiplied by 1.89 once too often",
    units.Hartree / units.Bohr: "forces in Hartree/Bohr beside energies in eV",
    1 / units.Hartree / units.Bohr: "energies in Hartree and forces in eV/Bohr",
}
"""ΔE over the work of the forces, and what makes it so."""

PASSED_AS_EV = {
    "Hartree": 1 / units.Hartree,
    "kcal/mol": units.mol / units.kcal,
    "kJ/mol": units.mol / units.kJ,
}
"""Factor by which energies are off where the file holds another unit than eV."""

# Total energies of neutral atoms, restricted open-shell Hartree-Fock limit, in Hartree (Koga, Watanabe,
# Kanayama, Yasuda and Thakkar 1995). Correlation and bonding change sums of them by a few per cent.
ATOMS = {
    1: -0.5, 2: -2.8617, 3: -7.4327, 4: -14.573, 5: -24.529, 6: -37.689, 7: -54.401, 8: -74.809, 9: -99.409,
    10: -128.547, 11: -161.859, 12: -199.615, 13: -241.877, 14: -288.854, 15: -340.719, 16: -397.505,
    17: -459.482, 18: -526.818, 35: -2572.44, 53: -6917.98,
}  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What a sample shows of its labels; None where it shows nothing.

    Args:
        pairs: of neighbouring frames.
        ratio: ΔE over the work of the forces between neighbouring frames; 1 for true forces in the energy's
            unit.
        correlation: of both, near 1 in sound data.
        pull: eV/Å² by which forces pull stretched bonds back; negative for gradients.
        pull_correlation: of forces along bonds with their stretch.
        total: energies over sums of all-electron atomic energies; about 1 for total energies in eV.
    """

    pairs: int
    ratio: float | None
    correlation: float | None
    pull: float | None
    pull_correlation: float | None
    total: float | None

    @property
    def related(self) -> bool:
        """Whether energies change with the work of the forces."""
        return self.correlation is not None and abs(self.correlation) > 0.6

    @property
    def pulls(self) -> bool:
        """Whether forces answer to stretched bonds at all."""
        return (
            self.pull is not None and self.pull_correlation is not None and abs(self.pull_correlation) > 0.3
        )


def gather(sample: list[Group]) -> Evidence:
    """Collect the evidence of every group of a sample."""
    work, change = [], []
    for group in sample:
        x, y = neighbour_work(group)
        work.append(x)
        change.append(y)
    x, y = np.concatenate([[], *work]), np.concatenate([[], *change])
    ratio = correlation = None
    if len(x) >= 10 and x.std() > 0 and y.std() > 0:
        correlation = float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))
        ratio = float(np.sign(correlation) * np.sqrt((y * y).sum() / (x * x).sum()))
    pull, pull_correlation = bond_pull(sample)
    totals = [
        energy / reference
        for group in sample
        if (reference := units.Hartree * sum(ATOMS.get(int(z), np.nan) for z in group.numbers))
        for energy in group.energies
    ]
    known = [t for t in totals if np.isfinite(t)]
    return Evidence(
        len(x), ratio, correlation, pull, pull_correlation, float(np.median(known)) if known else None
    )


def neighbour_work(group: Group) -> tuple[np.ndarray, np.ndarray]:
    """Work of the mean force on the way to each frame's nearest other frame, and the change of energy (eV).

    Frames are superposed first; pairs further apart than `NEAR` are left out.
    """
    whole = np.isfinite(group.energies) & np.isfinite(group.forces).all(axis=(1, 2))
    nothing = np.zeros(0)
    if whole.sum() < 3 or len(group.numbers) < 2:
        return nothing, nothing
    positions = group.positions[whole] - group.positions[whole].mean(1, keepdims=True)
    energies, forces = group.energies[whole], group.forces[whole]
    other = nearest_frames(positions)
    turn = superposition(positions[other], positions)
    step = positions[other] @ turn - positions
    near = np.sqrt(np.square(step).sum(2).mean(1)) < NEAR
    # A pair that is nearest to each other counts once.
    own = np.arange(len(other))
    near &= ~((other[other] == own) & (own > other))
    mean_force = 0.5 * (forces + forces[other] @ turn)
    return -(mean_force * step).sum((1, 2))[near], (energies[other] - energies)[near]


def bond_pull(sample: list[Group]) -> tuple[float | None, float | None]:
    """How forces answer to the stretch of bonds.

    Frames of one composition share the rest length of each bond; where there are few of them, bonds of the
    same two elements do.

    Returns:
        Median over kinds of bond in eV/Å², and median correlation.
    """
    stretch: dict[tuple[str, int, int], list[np.ndarray]] = {}
    answer: dict[tuple[str, int, int], list[np.ndarray]] = {}
    for number, group in enumerate(sample):
        whole = np.isfinite(group.forces).all(axis=(1, 2))
        if not whole.any() or len(group.numbers) < 2:
            continue
        positions, forces = group.positions[whole], group.forces[whole]
        i, j = bonds(group.numbers, positions)
        vectors = positions[:, i] - positions[:, j]
        lengths = np.linalg.norm(vectors, axis=2)
        along = ((forces[:, i] - forces[:, j]) * vectors).sum(2) / lengths
        many = len(positions) >= 20
        for bond, (a, b) in enumerate(zip(i, j, strict=True)):
            low, high = sorted((int(group.numbers[a]), int(group.numbers[b])))
            key = ("bond", number, bond) if many else ("elements", low, high)
            stretch.setdefault(key, []).append(lengths[:, bond])
            answer.setdefault(key, []).append(along[:, bond])
    pulls, correlations = [], []
    for key, lengths in stretch.items():
        x, y = np.concatenate(lengths), np.concatenate(answer[key])
        x, y = x - x.mean(), y - y.mean()
        if len(x) < 10 or x.std() < 0.005 or not y.any():
            continue
        pulls.append(-0.5 * (x * y).sum() / (x * x).sum())
        correlations.append(-(x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))
    if not pulls:
        return None, None
    return float(np.median(pulls)), float(np.median(correlations))


def label_findings(sample: list[Group]) -> list[Finding]:
    """Find wrong signs and units of energies and forces, and labels of other rows."""
    e = gather(sample)
    found: list[Finding] = []
    if e.correlation is not None and not e.related:
        found.append(_shuffled(e))
    rising = e.related and e.ratio is not None and e.ratio < 0
    pushing = not e.related and e.pulls and (e.pull or 0) < 0
    if rising or pushing:
        found.append(_gradients(e))
    if e.related and e.ratio is not None:
        found += _mismatch(abs(e.ratio))
    found += _absolute(e)
    if e.ratio is None and not e.pulls:
        found.append(
            Finding(
                "force sign",
                "note",
                "Too few neighbouring frames and bonds to check forces against energies.",
            )
        )
    return found


def _shuffled(e: Evidence) -> Finding:
    column = (
        "Forces answer to stretched bonds as they should, so it is the energies that belong to other rows"
        if e.pulls and (e.pull or 0) > 0
        else "Forces do not answer to stretched bonds either, so it is the forces that belong to other rows"
    )
    return Finding(
        "shuffled labels",
        "error",
        f"Between {e.pairs:,} pairs of neighbouring frames the change of energy has nothing to do with "
        f"the work of the forces (correlation {e.correlation:+.2f}, near 1 in sound data). {column}: make "
        "the label columns anew.",
    )


def _gradients(e: Evidence) -> Finding:
    how = (
        f"between {e.pairs:,} pairs of neighbouring frames energies rise along the forces (ratio "
        f"{e.ratio:+.2f}, should be +1)"
        if e.related
        else f"they push stretched bonds further apart ({e.pull:+.0f} eV/Å², should be positive)"
    )
    return Finding(
        "force sign", "error", f"The force array holds gradients: {how}. Set data.units.gradients=true."
    )


def _mismatch(ratio: float) -> list[Finding]:
    if 0.6 < ratio < 1.5:
        return []
    cause = min(RATIOS, key=lambda value: abs(np.log(ratio / value)))
    close = abs(np.log(ratio / cause)) < 0.3
    words = RATIOS[cause] if close else "no usual pair of units explains it"
    return [
        Finding(
            "energy and force units",
            "error",
            f"Changes of energy are {ratio:.3g} times the work of the forces (should be 1): {words}. "
            "Energies and forces must come from the file in units that belong together: see data.units.",
        )
    ]


def _absolute(e: Evidence) -> list[Finding]:
    """Find labels that agree with each other in one wrong unit, by their size."""
    found = []
    if e.total is not None and not 0.85 < e.total < 1.35:
        for name, value in PASSED_AS_EV.items():
            if 0.85 < e.total / value < 1.35:
                found.append(
                    Finding(
                        "energy and force units",
                        "error",
                        f"Energies are {e.total:.3g} times the sum of all-electron energies of their "
                        f"atoms in eV: they are in {name}. Set data.units.energy={name}.",
                    )
                )
    if e.pulls and e.pull is not None and not found:
        size = abs(e.pull)
        if not STIFFNESS[0] <= size <= STIFFNESS[1]:
            name = min(PASSED_AS_EV, key=lambda key: abs(np.log(size / (30.0 * PASSED_AS_EV[key]))))
            found.append(
                Finding(
                    "energy and force units",
                    "error",
                    f"Forces pull stretched bonds back with {size:.3g} eV/Å² where {STIFFNESS[0]:g} to "
                    f"{STIFFNESS[1]:g} is usual: they look like {name}/Å. Set data.units.energy={name}.",
                )
            )
    return found
