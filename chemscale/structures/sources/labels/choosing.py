"""Which energy and forces of ASE's atoms are labels: one rule for reading, training and predicting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources.labels.by_name import Found, find_by_name
from chemscale.structures.sources.labels.names import LabelNames, is_gradient, number_or_nan

PREDICTED_BY = "predicted_by"
"""Key of ``atoms.info`` in files that ``predict`` wrote: the results of the calculator are predictions."""

MISSING = ("", "nan", "none", "null", "n/a", "na")
"""Words that stand where a number is missing."""


@dataclass(frozen=True)
class LabelKeys:
    """Names of labels that a user gives in place of the rule; None leaves one to the rule.

    Args:
        energy: ``data.energy_key``.
        forces: ``data.forces_key``.
        stress: ``data.stress_key``; of a stress or a virial.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None

    @classmethod
    def of(cls, reading: Any) -> LabelKeys:
        """The keys of a section ``data`` as plain values."""
        return cls(reading.get("energy_key"), reading.get("forces_key"), reading.get("stress_key"))

    @property
    def of_atoms(self) -> dict[str, str]:
        """Those of energy and forces that were given."""
        return {k: v for k, v in (("energy", self.energy), ("forces", self.forces)) if v}

    def check_sign(self, gradients_stated: bool) -> None:
        """Refuse an array of gradients whose sign is left open.

        Args:
            gradients_stated: whether ``data.units.gradients`` was given, true or false.

        Raises:
            SourceError: its name says that it holds gradients, and nothing says what becomes of them.
        """
        if self.forces and not gradients_stated and is_gradient(self.forces):
            raise SourceError(
                f"data.forces_key={self.forces} names gradients, and forces are minus the gradient: add "
                "data.units.gradients=true, or data.units.gradients=false if it holds forces all the same."
            )


@dataclass(frozen=True)
class Place:
    """Where a frame's energy and forces stand; a name that is None is one that no rule finds.

    Args:
        name: in the notes and in the manifest.
        energy: key of the energy.
        forces: key of the forces.
        origin: ``results`` of the calculator, ``info`` and arrays, ``predicted`` results, or ``any`` of them.
    """

    name: str
    energy: str | None
    forces: str | None
    origin: str

    def find(self, atoms: Any) -> tuple[Any, Any]:
        """Energy and forces of a frame as they stand there; None where missing."""
        return _find(atoms, self.energy, self.origin, False), _find(atoms, self.forces, self.origin, True)


REF = Place("REF_energy/REF_forces", "REF_energy", "REF_forces", "info")
FREE = Place("free_energy/forces of the calculator", "free_energy", "forces", "results")
CALCULATOR = Place("energy/forces of the calculator", "energy", "forces", "results")
INFO = Place("energy/forces of info and arrays", "energy", "forces", "info")
PREDICTED = Place("energy/forces that chemscale predicted", "energy", "forces", "predicted")
PLACES = (REF, CALCULATOR, INFO)
"""Where labels may stand. Of those that most frames of a file have, the first is the file's; FREE takes the
place of CALCULATOR where the two energies differ."""


MAX_ELSEWHERE = 0.05
"""Share of the labelled frames that may have their labels in another place only, and go without."""


class Labels:
    """The labels of the frames of one file, all from one place.

    The place is that of most of the first frames, unless keys are given; a label that no known place has is
    found by its name (`by_name`). Frames that have labels elsewhere only are unlabelled, and counted;
    `refuse_if_wrong` refuses more than a few of them. ``free_energy`` is
    what codes with smeared occupations differentiate for the forces: where a file has it beside them, it is
    the energy.

    Args:
        keys: that a user gave.
        preferred: place of the labels that training used; taken where the first frames have both labels
            there, or as much as in the place that the rule finds.
        predictions: whether those of ``predict`` are labels where there are no others.
    """

    def __init__(self, keys: LabelKeys, preferred: Place | None = None, predictions: bool = True):
        self.keys, self.preferred, self.predictions = keys, preferred, predictions
        self.place: Place | None = None
        self.frames = 0
        self.seen: Counter[Place] = Counter()
        """Frames with an energy or forces in each place."""
        self.counts: Counter[str] = Counter()
        self.names = LabelNames()
        self.found = Found()
        self.difference = 0.0
        """Largest difference of energy and free_energy, in the file's unit."""

    def choose(self, frames: Sequence[Any]) -> None:
        """Choose the place by the first frames of a file; none if no one of them has labels.

        Args:
            frames: ASE's atoms.

        Raises:
            SourceError: two names look like one label, and their numbers differ.
        """
        if self.keys.energy or self.keys.forces:
            self.place = self._named(frames)
            return
        self.place = self._or_by_name(self._by_rule(frames), frames)
        if self.preferred and self.preferred != self.place:
            preferred, found = _has_any(frames, self.preferred), _has_any(frames, self.place)
            if any(preferred) and all(a or not b for a, b in zip(preferred, found, strict=True)):
                self.place, self.found = self.preferred, Found()

    def _by_rule(self, frames: Sequence[Any]) -> Place | None:
        """The first of the places where most frames have labels."""
        seen: Counter[Place] = Counter()
        for atoms in frames:
            seen.update(place for place, has in _survey(atoms).items() if any(has))
        best = max(PLACES, key=lambda place: seen[place])
        if not seen[best]:
            return PREDICTED if seen[PREDICTED] and self.predictions else None
        return FREE if best == CALCULATOR and _free_energy_is_another(frames) else best

    def _or_by_name(self, known: Place | None, frames: Sequence[Any]) -> Place | None:
        """The place of the rule, or one with what no known place has."""
        has = [any(kind) for kind in zip(*(_has_any(frames, p) for p in (*PLACES, FREE)), strict=True)]
        energy = known.energy if known and has[0] else None
        forces = known.forces if known and has[1] else None
        self.found = find_by_name(frames, energy, forces, predict=not self.predictions)
        return Place(*self.found.place, "any") if self.found.place else known

    def read(self, atoms: Any) -> tuple[float, np.ndarray]:
        """Energy and (n, 3) forces of a frame as in the file, NaN where missing or not finite.

        Args:
            atoms: ASE's.

        Raises:
            SourceError: they are no numbers of one frame.
        """
        if self.place is None:
            self.choose([atoms])
        self.frames += 1
        self.names.add(atoms)
        self.found.check(atoms)
        survey = _survey(atoms)
        self.seen.update(place for place, has in survey.items() if any(has))
        energy, forces = np.nan, np.full((len(atoms), 3), np.nan)
        if self.place is not None:
            raw_energy, raw_forces = self.place.find(atoms)
            energy = _energy(raw_energy, self.place)
            if raw_forces is not None and not _is_missing(raw_forces):
                forces = _forces(raw_forces, len(atoms), self.place)
            self._count(atoms, energy, forces, survey)
        forces[~np.isfinite(forces)] = np.nan
        return energy if np.isfinite(energy) else np.nan, forces

    def refuse_if_wrong(self) -> None:
        """Refuse a file that has been read, where what was read cannot be its labels.

        Raises:
            SourceError: no frame has labels, most have them in another place than the first frames, or more
                than `MAX_ELSEWHERE` of them in another one.
        """
        if self.frames and not self.counts["labelled"]:
            wanted = [f"data.{kind}_key={key}" for kind, key in self.keys.of_atoms.items()]
            sought = " and ".join(wanted) or " or ".join(place.name for place in PLACES)
            raise SourceError(
                f"no frame has an energy or forces ({sought}). {self.names.advice('energy')}"
                f"{self.names.advice('forces')}Its keys: {', '.join(self.names.all) or 'none'}."
            )
        for kind, key in self.keys.of_atoms.items():
            if self.frames and not self.counts[kind]:
                raise SourceError(
                    f"data.{kind}_key={key}: no frame has it. {self.names.advice(kind)}"
                    f"Its keys: {', '.join(self.names.all)}."
                )
        chosen = CALCULATOR if self.place == FREE else self.place
        if chosen in PLACES and self.place != self.preferred:
            best = max(PLACES, key=lambda place: self.seen[place])
            if self.seen[best] > self.seen[chosen]:
                raise SourceError(
                    f"the first frames have their labels in {chosen.name} "
                    f"({self.seen[chosen]:,} frames), but {self.seen[best]:,} frames have them in "
                    f"{best.name}. Give data.energy_key and data.forces_key, or make two files of it."
                )
        self._refuse_two_places()

    def _refuse_two_places(self) -> None:
        only = {place: self.counts[f"only in {place.name}"] for place in PLACES}
        labelled = self.counts["labelled"] + sum(only.values())
        if sum(only.values()) <= MAX_ELSEWHERE * labelled:
            return
        assert self.place is not None
        other = max(PLACES, key=lambda place: only[place])
        keys = " ".join(f"data.{kind}_key={key}" for kind, key in self._keys_of(self.place))
        raise SourceError(
            f"of {labelled:,} labelled frames {self.counts['labelled']:,} have their labels in "
            f"{self.place.name} and {only[other]:,} in {other.name} only. Where they are of one method, give "
            f"them one name in all frames; else {keys} trains on the first and leaves the others unlabelled."
        )

    def _keys_of(self, place: Place) -> list[tuple[str, str | None]]:
        """Keys that read what the frames have in a place."""
        keys = (("energy", place.energy), ("forces", place.forces))
        return [(kind, key) for kind, key in keys if self.counts[kind]]

    def notes(self) -> Iterator[str]:
        """What was read and what was not, in sentences."""
        if not self.counts["labelled"]:
            advice = self.names.advice("energy") + self.names.advice("forces")
            yield f"No labels were read. {advice}".strip()
            return
        assert self.place is not None
        counts = self.counts
        rest = "" if counts["labelled"] == self.frames else f" of {self.frames}"
        yield f"Labels: {self.place.name} in {counts['labelled']}{rest} frames."
        yield from self.found.notes
        if self.difference > 0 and self.place == FREE:
            yield (
                "The energy is free_energy, which the forces belong to; that extrapolated to zero smearing, "
                f"energy, differs by up to {self.difference:.3g} (data.energy_key=energy reads it)."
            )
        elif self.difference > 0 and self.place == CALCULATOR:
            yield (
                "free_energy, which the forces belong to, stands beside energy in some frames, differs by up "
                f"to {self.difference:.3g} and was not read: data.energy_key=free_energy reads it."
            )
        for other in PLACES:
            if only := counts[f"only in {other.name}"]:
                yield (
                    f"{only} frames have labels in {other.name} only, and count as unlabelled: labels of two "
                    "places are not mixed (data.energy_key and data.forces_key choose)."
                )
            for kind, key in (("energy", other.energy), ("forces", other.forces)):
                if lacking := counts[f"no {kind}, but in {other.name}"]:
                    yield (
                        f"{lacking} frames have no {kind} in {self.place.name}, and those in {other.name} "
                        f"were not read: data.{kind}_key={key} reads them."
                    )
        elsewhere = sum(counts[f"only in {other.name}"] for other in PLACES)
        if unlabelled := self.frames - counts["labelled"] - elsewhere:
            yield f"{unlabelled} frames have neither energy nor forces: they weigh nothing."
        for kind in ("energy", "forces"):
            lacking = counts["labelled"] - counts[kind]
            told = sum(counts[f"no {kind}, but in {other.name}"] for other in PLACES)
            if not counts[kind] and not told:
                verb = "was" if kind == "energy" else "were"
                advice = self.names.advice(kind, (self.place.energy, self.place.forces))
                yield f"No {kind} {verb} read. {advice}".strip()
            elif lacking > told:
                yield f"{lacking - told} frames have no {kind}, but the other label."
        if counts["infinite"]:
            yield f"{counts['infinite']} frames have infinite labels, which count as missing."
        if self.seen[PREDICTED] and self.place.origin in ("predicted", "any"):
            yield f"{self.seen[PREDICTED]} frames were written by predict: their labels are predictions."

    def _count(
        self, atoms: Any, energy: float, forces: np.ndarray, survey: dict[Place, tuple[bool, bool]]
    ) -> None:
        assert self.place is not None
        has_energy, has_forces = bool(np.isfinite(energy)), bool(np.isfinite(forces).any())
        labelled = has_energy or has_forces
        self.counts["infinite"] += bool(np.isinf(energy) or np.isinf(forces).any())
        self.counts["labelled"] += labelled
        self.counts["energy"] += has_energy
        self.counts["forces"] += has_forces
        self.difference = max(self.difference, _free_energy_differs_by(atoms))
        if self.place not in (*PLACES, FREE) and not self.found.place:
            return
        for other in PLACES:
            in_energy, in_forces = survey[other]
            if other == self.place or not (in_energy or in_forces):
                continue
            if not labelled:
                self.counts[f"only in {other.name}"] += 1
            elif in_energy and not has_energy:
                self.counts[f"no energy, but in {other.name}"] += 1
            elif in_forces and not has_forces:
                self.counts[f"no forces, but in {other.name}"] += 1

    def _named(self, frames: Sequence[Any]) -> Place:
        """The place of keys that were given; one that was not is found by the rule for it alone."""
        surveys = [_survey(atoms) for atoms in frames]
        found = [self.keys.energy, self.keys.forces]
        for kind in (0, 1):
            if found[kind] is None:
                seen = {place: sum(survey[place][kind] for survey in surveys) for place in PLACES}
                best = max(PLACES, key=lambda place: seen[place])
                found[kind] = (best.energy, best.forces)[kind] if seen[best] else None
                if kind == 0 and best == CALCULATOR and _free_energy_is_another(frames):
                    found[kind] = FREE.energy
        name = "/".join(key or "nothing" for key in found)
        return Place(f"{name} (data.energy_key, data.forces_key)", found[0], found[1], "any")


def _find(atoms: Any, key: str | None, origin: str, of_atoms: bool) -> Any:
    if key is None:
        return None
    # Not atoms.get_forces(): it zeroes the forces of atoms that a constraint holds.
    results = getattr(atoms.calc, "results", {})
    of_calculator = "predicted" if PREDICTED_BY in atoms.info else "results"
    if origin in ("any", of_calculator) and key in results:
        return results[key]
    if origin in ("any", "info"):
        return atoms.arrays.get(key, atoms.info.get(key)) if of_atoms else atoms.info.get(key)
    return None


def _has(atoms: Any, place: Place) -> tuple[bool, bool]:
    """Whether a frame has an energy and forces in a place; an unreadable label counts."""
    energy, forces = place.find(atoms)
    return _stands(energy), _stands(forces)


def _has_any(frames: Sequence[Any], place: Place | None) -> tuple[bool, bool]:
    """Whether any frame has an energy in a place, and any one forces."""
    has = [_has(atoms, place) for atoms in frames] if place else []
    return any(energy for energy, _ in has), any(forces for _, forces in has)


def _free_energy_differs_by(atoms: Any) -> float:
    """How far a frame's free_energy lies from its energy; 0 where it has not both, or no forces."""
    if not _stands(FREE.find(atoms)[1]):
        return 0.0
    gap = abs(number_or_nan(FREE.find(atoms)[0]) - number_or_nan(CALCULATOR.find(atoms)[0]))
    return gap if np.isfinite(gap) else 0.0


def _free_energy_is_another(frames: Sequence[Any]) -> bool:
    """Whether most frames that a calculator labelled have a free_energy, and it differs from their energy."""
    beside = [_free_energy_differs_by(atoms) for atoms in frames if all(_has(atoms, FREE))]
    return max(beside, default=0.0) > 0 and 2 * len(beside) > sum(any(_has(a, CALCULATOR)) for a in frames)


def _survey(atoms: Any) -> dict[Place, tuple[bool, bool]]:
    return {place: _has(atoms, place) for place in (*PLACES, PREDICTED)}


def _stands(value: Any) -> bool:
    """Whether a label stands there: a number that is not NaN, or what is refused when it is read."""
    if value is None or _is_missing(value):
        return False
    try:
        return bool(np.isfinite(np.asarray(value, np.float64)).any())
    except (TypeError, ValueError):
        return True


def _is_missing(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in MISSING


def _energy(value: Any, place: Place) -> float:
    if value is None or _is_missing(value):
        return np.nan
    try:
        return float(np.asarray(value, np.float64).item())
    except (TypeError, ValueError):
        raise SourceError(f"the {place.name} are not numbers of one frame: energy {value!r}.") from None


def _forces(values: Any, atoms: int, place: Place) -> np.ndarray:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise SourceError(f"the {place.name} are not numbers of one frame: forces {values!r}.") from None
    if array.shape != (atoms, 3):
        raise SourceError(f"{place.forces} has shape {array.shape}, there are {atoms} atoms.")
    return array
