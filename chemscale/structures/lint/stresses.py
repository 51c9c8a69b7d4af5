"""Stresses that are missing, placeholders, of the wrong sign, unit or order, or of other rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from ase import units

from chemscale.structures.blocks import Block
from chemscale.structures.lint.evidence.geometry import array_hashes
from chemscale.structures.lint.evidence.sampling import Group
from chemscale.structures.lint.evidence.strain_odds import StressOdds, stress_odds
from chemscale.structures.lint.evidence.strains import strain_work
from chemscale.structures.lint.findings import Finding, not_checked

LIMIT = 16.0
"""Log odds against sound stresses that make an error."""

SURE = -7.0
"""Log odds (1,000 to 1 for sound stresses) from which on they are passed."""

LARGE_PRESSURE = 1.0 * units.GPa
"""eV/Å³: a constant pressure below it may be anharmonicity, and is noted without a warning."""

FEW = 3
"""Stresses from which on equal ones are no chance."""


@dataclass
class StressCounts:
    """Counts of the stresses of a part, in one pass.

    Args:
        frames: that are periodic in three directions.
        known: of them, that have a stress.
        zero: stresses that are exactly zero beside forces that are not.
    """

    frames: int = 0
    known: int = 0
    zero: int = 0
    _kept: list[np.ndarray] = field(default_factory=list)
    _places: list[tuple[str, np.ndarray]] = field(default_factory=list)

    def add(self, block: Block) -> None:
        """Count over a block.

        Args:
            block: the next one.
        """
        if block.pbc is None or block.cells is None:
            return
        whole = block.pbc.all(axis=1)
        self.frames += int(whole.sum())
        if block.stresses is None:
            return
        known = whole & np.isfinite(block.stresses).all(axis=(1, 2))
        self.known += int(known.sum())
        zero = known & (block.stresses == 0).all(axis=(1, 2))
        self.zero += int((zero & (np.nan_to_num(block.forces) != 0).any(axis=(1, 2))).sum())
        kept = known & ~zero
        energies = np.where(kept, block.energies, np.nan)
        hashes = array_hashes(block.stresses), array_hashes(block.positions)
        self._kept.append(np.stack([*hashes, energies.view(np.uint64)], axis=1)[kept])
        self._places.append((block.name, block.rows[kept]))

    def repeated(self) -> tuple[int, str]:
        """Frames with exactly the stress of an earlier one and another energy, and the first of them."""
        if not self._kept:
            return 0, ""
        kept = np.concatenate(self._kept)
        energies = np.ascontiguousarray(kept[:, 2]).view(np.float64)
        _, first, inverse = np.unique(kept[:, 0], return_index=True, return_inverse=True)
        earlier = first[inverse.reshape(-1)]
        # A copy that was moved or reordered has the energy as well.
        other = (kept[:, 1] != kept[earlier, 1]) & (np.abs(energies - energies[earlier]) > 1e-6)
        at = int(np.argmax(other)) if other.any() else 0
        for name, rows in self._places:
            if at < len(rows):
                return int(other.sum()), f"{name}, row {rows[at]}"
            at -= len(rows)
        return 0, ""

    def findings(self) -> Iterator[Finding]:
        """What the counts show."""
        if not self.known:
            yield not_checked("stress", "no frame has a stress")
            return
        if self.known < self.frames:
            yield Finding(
                "stress",
                "note",
                f"Of {self.frames:,} frames that are periodic in three directions {self.known:,} have a "
                "stress; what is missing is left out of the loss.",
            )
        if self.zero:
            yield Finding(
                "stress",
                "error" if self.zero >= FEW and self.zero > 0.5 * self.known else "warning",
                f"{self.zero:,} of {self.known:,} stresses are exactly zero beside forces that are not: a "
                "placeholder. Set it to NaN or remove it: missing stresses weigh nothing.",
            )
        repeated, example = self.repeated()
        if repeated:
            yield Finding(
                "stress",
                "error" if repeated >= FEW and repeated > 0.1 * self.known else "warning",
                f"{repeated:,} of {self.known:,} frames have exactly the stress of another geometry, "
                f"for example {example}: the array was not updated.",
            )


def stress_findings(sample: list[Group]) -> list[Finding]:
    """Find wrong signs, units and orders of stresses, and stresses of other rows.

    Args:
        sample: groups of frames that can be compared.
    """
    found = stress_odds(strain_work(sample))
    if found.values[found.best] > LIMIT:
        doubtful = "pressure" in (found.best, *found.also)
        of_pressure = "warning" if abs(found.pressure) > LARGE_PRESSURE else "note"
        return [Finding("stress", of_pressure if doubtful else "error", _message(found))]
    apart = ("order", "pressure")
    worst = max((name for name in found.values if name not in apart), key=lambda name: found.values[name])
    if found.values[worst] >= SURE:
        reason = (
            f"{found.pairs:,} pairs of crystals in different cells do not decide on sign and unit of stresses"
            if found.pairs
            else "stresses are compared with energies between crystals of the same atoms in slightly "
            "different cells, and there are no two"
        )
        return [not_checked("stress", reason)]
    if found.values["order"] >= SURE:
        return [
            Finding(
                "stress",
                "note",
                f"Stresses agree with energies between {found.pairs:,} pairs of crystals; whether yz, xz and "
                "xy stand in their places could not be seen.",
            )
        ]
    return []


def _message(found: StressOdds) -> str:
    also = [ALTERNATIVES[name] for name in found.also]
    rest = f" Nearly as likely: {' or '.join(also)}." if also else ""
    return (
        f"Between {found.pairs:,} pairs of crystals in neighbouring cells {_explained(found)} (log odds "
        f"{found.values[found.best]:.0f}; sound ones have negative ones).{_way_out(found)}{rest}"
    )


ALTERNATIVES = {
    "compression": "stresses that are positive under compression",
    "unit": "another unit",
    "virial": "virials read as stresses or the reverse",
    "order": "another order of yz, xz, xy",
    "pressure": "a pressure that energies do not have",
    "unrelated": "stresses of other rows",
}
"""Kinds of explanations, in words."""


def _explained(found: StressOdds) -> str:
    if found.best == "compression":
        return "energies change by minus the work of the stresses: they are positive under compression"
    if found.best == "order":
        return (
            "energies change as if the last three of the six numbers of a stress, read as yz, xz, xy, were "
            "xy, yz, xz, as VASP prints them"
        )
    if found.best == "virial":
        sign = "−V·σ" if found.virial < 0 else "V·σ"
        return f"energies change as if a virial, {sign}, had been read as a stress or the reverse"
    if found.best == "unrelated":
        return (
            "the change of energy has nothing to do with the work of the stresses: they belong to other rows"
        )
    if found.best == "pressure":
        return (
            f"stresses lack {found.pressure / units.GPa:+.2g} GPa in every frame, as if energies were of "
            "another basis: the Pulay stress of a small plane-wave cutoff does that"
        )
    cause = f"they look like {found.unit}" if found.unit else "no usual unit explains it"
    sign = ", positive under compression" if found.factor < 0 else ""
    times = f"about {found.factor:.3g} times the work of the stresses (should be 1)"
    return f"energies change by {times}: {cause}{sign}"


def _way_out(found: StressOdds) -> str:
    if found.best == "compression":
        return " Set data.units.compression=true, or false for virials."
    if found.best == "order":
        return " Put them in ASE's order."
    if found.best == "virial":
        return " A key with virial in its name is read as one, others as stresses: rename it in the file."
    if found.best == "unrelated":
        return " Make the column anew."
    if found.best == "pressure":
        return " Raise the cutoff, or leave stresses out of the loss."
    return f" Set data.units.stress{' and data.units.compression=true' if found.factor < 0 else ''}."
