"""Stresses and virials of ASE's atoms: where they stand beside the energy, their units and signs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources.labels.choosing import (
    CALCULATOR,
    FREE,
    INFO,
    MISSING,
    PREDICTED_BY,
    REF,
    Place,
)
from chemscale.structures.units import UnitError, Units

ASYMMETRY = 1e-3
"""Share of its largest component by which a stress may fall short of being symmetric: rounding."""

SMALLEST = 1e-5
"""eV/Å³ (1.6 MPa): difference of components that is never more than rounding."""

DISAGREEMENT = 0.02
"""Share of the largest component by which a stress and the virial beside it may differ."""

Where = tuple[str, str]
"""A key and where it stands: ``results`` of the calculator, ``predicted`` ones, ``info``, or ``any``."""


class Stresses:
    """The stresses of the frames of one file, in eV/Å³ and positive under tension.

    They stand where the energy and the forces do, as ``stress`` or as ``virial`` or ``virials``: beside
    ``REF_energy`` as ``REF_stress``, beside ``dft_energy`` as ``dft_stress``. A stress has 6 numbers in ASE's
    order (xx, yy, zz, yz, xz, xy), 9, or 3×3. A virial is −V·σ in the convention of QUIP, GAP and MACE, in a
    unit of energy, with the stress σ = V⁻¹ ∂E/∂ε of ASE. Only frames that are periodic in three directions
    have one: others are counted.

    Args:
        key: ``data.stress_key``, in place of the rule.
        units: of the file; of `Units.stress` and `Units.compression` those that were given.
        stated: units of "stress" and "virial" that the file states, applied where none were given.
        converted: the code whose output ASE has converted already, else empty.
    """

    def __init__(
        self,
        key: str | None,
        units: Units,
        stated: Mapping[str, str] | None = None,
        converted: str = "",
    ):
        self.key, self.units, self.stated, self.converted = key, units, dict(stated or {}), converted
        self.place: Where | None = None
        self.beside: list[Where] = []
        """Other keys of the same place, whose numbers must agree."""
        self.frames = 0
        self.counts: Counter[str] = Counter()
        self._like: dict[str, None] = {}

    def choose(self, frames: Sequence[Any], labels: Place | None) -> None:
        """Choose the key by the first frames of a file.

        Args:
            frames: ASE's atoms.
            labels: where their energy and forces stand.
        """
        known = [(self.key, "any")] if self.key else _candidates(labels)
        seen = {where: sum(_stands(_find(atoms, where)) for atoms in frames) for where in known}
        there = [where for where in known if seen[where]]
        self.place = max(there, key=lambda where: seen[where]) if there else None
        self.beside = [where for where in there if where != self.place]

    def read(self, atoms: Any) -> np.ndarray:
        """The stress of a frame, (3, 3) eV/Å³; NaN where it has none.

        Args:
            atoms: ASE's, with positions and cell in Å.

        Raises:
            SourceError: no tensor, one that is not symmetric, a unit that cannot be applied, or a stress and
                a virial that disagree.
        """
        self.frames += 1
        self._like |= dict.fromkeys(key for key in _keys(atoms) if _is_stress(key))
        found = np.full((3, 3), np.nan)
        if self.place is None:
            return found
        raw = _find(atoms, self.place)
        if not _stands(raw):
            return found
        if not bool(np.all(atoms.pbc)):
            self.counts["not periodic"] += 1
            return found
        values = self._converted(raw, self.place[0], atoms)
        if np.isinf(values).any():
            self.counts["infinite"] += 1
        if not np.isfinite(values).all():
            return found
        for other in self.beside:
            self._compare(values, atoms, other)
        self.counts["read"] += 1
        return values

    def refuse_if_wrong(self) -> None:
        """Refuse a file that has been read where no frame has what ``data.stress_key`` names.

        Raises:
            SourceError: no frame has it.
        """
        if self.key and self.frames and not self.counts["read"]:
            alike = ", ".join(key for key in self._like if key != self.key)
            advice = f" Like a stress look: {alike}." if alike else ""
            known = (
                f", and {self.counts['not periodic']:,} that have one are not periodic in three directions"
            )
            known = known if self.counts["not periodic"] else ""
            raise SourceError(f"data.stress_key={self.key}: no frame has a stress there{known}.{advice}")

    def notes(self) -> Iterator[str]:
        """What was read and what was not, in sentences."""
        if self.counts["read"]:
            assert self.place is not None
            key = self.place[0]
            rest = "" if self.counts["read"] == self.frames else f" of {self.frames:,}"
            meaning = "virials, of which −virial/V is the stress" if _is_virial(key) else "stresses"
            number = f"{self.counts['read']:,}{rest}"
            yield f"Stresses: {key} in {number} frames, {self._described(key)} ({meaning})."
        elif self._like and not self.counts["not periodic"]:
            name = next(iter(self._like))
            yield f"No stress was read. {name} looks like one: data.stress_key={name} reads it."
        if self.counts["not periodic"]:
            yield (
                f"{self.counts['not periodic']:,} frames have a stress and are not periodic in three "
                "directions: it was left out, as it depends on how much vacuum the cell holds."
            )
        if self.counts["infinite"]:
            yield f"{self.counts['infinite']:,} frames have an infinite stress, which counts as missing."

    def _described(self, key: str) -> str:
        units = self._units(key)
        virial = _is_virial(key)
        usual = units.energy if virial else f"{units.energy}/{units.length}^3"
        sign = "compression" if units.stress_factor(virial) < 0 else "tension"
        return f"in {units.stress or usual}, positive under {sign}"

    def _units(self, key: str) -> Units:
        """The units of a key: given, else stated by the file, else those of energies and lengths."""
        stated = self.stated.get("virial" if _is_virial(key) else "stress")
        if self.units.stress is not None or stated is None:
            return self.units
        return replace(self.units, stress=stated)

    def _converted(self, raw: Any, key: str, atoms: Any) -> np.ndarray:
        """Numbers of a file as a symmetric stress in eV/Å³."""
        if self.converted and (self.units.stress is not None or self.units.compression is not None):
            raise SourceError(
                f"ASE has converted the stresses of this {self.converted} output to eV/Å³, positive under "
                "tension, already: leave out data.units.stress and data.units.compression."
            )
        try:
            factor = self._units(key).stress_factor(_is_virial(key))
        except UnitError as error:
            raise SourceError(f"{key}: {error} Or give data.units.stress.") from None
        values = factor * _tensor(raw, key)
        if _is_virial(key):
            values = values / abs(float(np.linalg.det(atoms.cell.array)))
        if not np.isfinite(values).all():
            return values
        gap, size = np.abs(values - values.T).max(), np.abs(values).max()
        if gap > ASYMMETRY * size + SMALLEST:
            raise SourceError(
                f"{key} is not symmetric: components that should be equal differ by {gap:.3g} eV/Å³ of "
                f"{size:.3g}. A stress has 6 numbers in the order xx, yy, zz, yz, xz, xy, or 3×3 symmetric "
                "ones. Correct or remove it."
            )
        return (values + values.T) / 2

    def _compare(self, values: np.ndarray, atoms: Any, other: Where) -> None:
        """Refuse a stress that the virial beside it, or another stress, contradicts."""
        raw = _find(atoms, other)
        if not _stands(raw):
            return
        also = self._converted(raw, other[0], atoms)
        gap = float(np.abs(values - also).max())
        if gap > DISAGREEMENT * float(np.abs(values).max()) + 10 * SMALLEST:
            assert self.place is not None
            keys = (self.place[0], other[0])
            choice = " or ".join(f"data.stress_key={key}" for key in keys)
            raise SourceError(
                f"{keys[0]} and {keys[1]} disagree: {gap:.3g} eV/Å³ apart, where a virial is −V times the "
                f"stress. {choice} says which to read."
            )


def check_stated(stated: Mapping[str, str], first: Mapping[str, str], given: bool) -> None:
    """Refuse a frame that states another unit of stresses or virials than the first frame of its file.

    Args:
        stated: by the frame, "stress" or "virial" to a unit.
        first: by the first frame.
        given: whether ``data.units.stress`` was, which then holds for every frame.

    Raises:
        SourceError: it does.
    """
    for quantity, name in stated.items():
        if not given and first.get(quantity) != name:
            raise SourceError(
                f"it states its {quantity} in {name}, and the first frame states "
                f"{first.get(quantity, 'no unit')}. Make two files of them, or give data.units.stress."
            )


def _candidates(labels: Place | None) -> list[Where]:
    """Keys of stresses that belong to an energy and forces, the first of equals before the others."""
    if labels is None:
        return [*_candidates(REF), *_candidates(CALCULATOR), *_candidates(INFO)]
    if labels in (CALCULATOR, FREE):  # ASE leaves virials of extended XYZ in info
        return [("stress", "results"), ("virial", "any"), ("virials", "any")]
    if labels.origin == "predicted":
        return [("stress", "predicted")]
    for key in (labels.energy, labels.forces):
        prefix = re.fullmatch(r"(.*?)(energy|energies|forces?)(.*)", key or "", re.I)
        if prefix:
            kinds = ("stress", "virial", "virials")
            return [(f"{prefix[1]}{kind}{prefix[3]}", labels.origin) for kind in kinds]
    return []


def _find(atoms: Any, where: Where) -> Any:
    key, origin = where
    of_calculator = "predicted" if PREDICTED_BY in atoms.info else "results"
    results = getattr(atoms.calc, "results", {})
    if origin in ("any", of_calculator) and key in results:
        return results[key]
    return atoms.info.get(key) if origin in ("any", "info") else None


def _stands(value: Any) -> bool:
    """Whether something stands there that is not missing; what is no tensor is refused when it is read."""
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return False
    try:
        return not np.isnan(np.asarray(value, np.float64)).any()
    except (TypeError, ValueError):
        return True


def _tensor(value: Any, key: str) -> np.ndarray:
    """(3, 3) numbers of whatever shape a file has them in."""
    try:
        array = np.squeeze(np.asarray(value, np.float64))
    except (TypeError, ValueError):
        raise SourceError(f"{key} is no stress: {value!r}.") from None
    if array.shape == (6,):
        return np.asarray(voigt_6_to_full_3x3_stress(array))
    if array.shape in ((9,), (3, 3)):
        return array.reshape(3, 3)
    raise SourceError(
        f"{key} has shape {np.shape(value)}; a stress has 6 numbers in the order xx, yy, zz, yz, xz, xy, or "
        "9, or 3×3."
    )


def _keys(atoms: Any) -> Iterator[str]:
    yield from map(str, atoms.info)
    yield from map(str, getattr(atoms.calc, "results", {}))


def _is_virial(key: str) -> bool:
    return "virial" in key.lower()


def _is_stress(key: str) -> bool:
    """Whether a key looks like a stress of the whole frame by its name."""
    name = key.lower()
    return bool(re.search(r"stress|virial", name)) and not re.search(r"unit|weight|atom|stresses", name)
