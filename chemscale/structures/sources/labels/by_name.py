"""Labels under names that no convention has: found where one alone looks like them, refused where two do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources.labels.names import is_gradient, label_kind, number_or_nan

_MODELS = r"pred|mace|nequip|allegro|schnet|painn|chgnet|m3gnet|orb_|uma_|mlip|mlff|(^|_)(ml|nn|ff)(_|$)"
_NO_LABEL = (
    r"err|std|uncert|varia|delta|diff|corr|(^|_)(d3|d4|vdw)(_|$)|dispers|constr|ref(erence)?_atom|atomic"
)
_UNITS = r"hartree|(^|_)(ha|au|ry|rydberg|mev|kcal|kj|j)(_|$)|kcal|kjmol"
_NO_TOTAL = (
    r"form|interact|bind|hull|kin|repuls|nuclear|atomi[sz]|cohes|adsor|relativ|react|solv|gap|fermi|homo|lumo|"
    r"zero_?point|zpe|gibbs|enthal|therm|exchange|(^|_)xc(_|$)|coulomb|strain|surf|barrier|excit|ioni[sz]|"
    r"affin|baseline|(^|_)(min|max|mean|shift|nl)(_|$)"
)
_NEUTRAL = r"energ(y|ies)|forces?|frcs?|total|tot|toten|potential|pot|target|label|^u_?0$|(^|_)[ef](_|$)|_"


@dataclass(frozen=True)
class Found:
    """Labels that were found by their names.

    Args:
        place: name of the place, and keys of energy and forces in it; None where nothing was found.
        same: other keys that hold the same numbers in the first frames, with the key whose numbers they are.
        notes: sentences on what else looks like a label.
    """

    place: tuple[str, str | None, str | None] | None = None
    same: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def check(self, atoms: Any) -> None:
        """Refuse a frame in which keys that were the same differ.

        Args:
            atoms: ASE's.

        Raises:
            SourceError: naming both keys.
        """
        if not self.same:
            return
        here = dict(_entries(atoms))
        for other, key in self.same:
            if other in here and key in here and not _alike(_values(here[other]), _values(here[key])):
                raise SourceError(_disagreement(label_kind(key), key, other))


def find_by_name(frames: Sequence[Any], energy: str | None, forces: str | None, predict: bool) -> Found:
    """Find labels by their names, where known places have none.

    An energy is one number a frame whose name looks like that of a total energy; forces are an array of three
    numbers an atom. Gradients are never taken, nor what is called the output of a model, a correction, or a
    part of an energy. A name of one method is not put beside that of another one, as in ``xtb_energy`` and
    ``dft_forces``.

    Args:
        frames: ASE's atoms.
        energy: key of the energy in a known place; None where it has to be found.
        forces: likewise of the forces.
        predict: whether the frames are to be predicted: what is not clear is then no label, and no error.

    Raises:
        SourceError: two keys look like one label and hold different numbers; the message names both.
    """
    try:
        energies = [energy] if energy else _agreed("energy", frames)
        arrays = [forces] if forces else _agreed("forces", frames)
    except SourceError:
        if predict:
            return Found()
        raise
    named = [None if energy else next(iter(energies), None), None if forces else next(iter(arrays), None)]
    methods = {_method(keys[0]) for keys in (energies, arrays) if keys} - {""}
    if len(methods) > 1:
        named = [None, None]
    notes = tuple(_differing(frames, energy)) if energy else ()
    if named == [None, None]:
        return Found(notes=notes)
    keys = (energy or named[0], forces or named[1])
    same = tuple((other, found[0]) for found in (energies, arrays) for other in found[1:])
    said = tuple(f"{other} holds the same numbers as {key}." for other, key in same)
    return Found((f"{keys[0] or 'nothing'}/{keys[1] or 'nothing'} (by name)", *keys), same, notes + said)


def _differing(frames: Sequence[Any], energy: str) -> Iterator[str]:
    """Sentences on keys beside a known energy that look like a total energy and hold other numbers."""
    read = np.array([number_or_nan(dict(_entries(atoms)).get(energy)) for atoms in frames])
    for key, values in _candidates("energy", frames).items():
        numbers = np.array([value[0] if len(value) else np.nan for value in values])
        gaps = np.abs(numbers - read)
        if key not in _KNOWN and np.isfinite(gaps).any() and not _alike(numbers, read):
            yield (
                f"{key} looks like a total energy as well, differs from {energy} by up to "
                f"{np.nanmax(gaps):.3g} and was not read: data.energy_key={key} reads it."
            )


_KNOWN = ("energy", "free_energy", "REF_energy")
"""Energies of known places, of which `choosing` has a rule of its own."""


def _agreed(kind: str, frames: Sequence[Any]) -> list[str]:
    """Keys that look like a label of a kind and agree, the one that most frames have first.

    Raises:
        SourceError: two disagree, or no frame has both.
    """
    found = _candidates(kind, frames)
    keys = sorted(found, key=lambda key: -sum(len(value) > 0 for value in found[key]))
    for other in keys[1:]:
        both = [(a, b) for a, b in zip(found[keys[0]], found[other], strict=True) if len(a) and len(b)]
        if not both or not all(_alike(a, b) for a, b in both):
            raise SourceError(_disagreement(kind, keys[0], other, apart=not both))
    return keys


def _disagreement(kind: str | None, key: str, other: str, apart: bool = False) -> str:
    how = "stand in different frames" if apart else "hold different numbers"
    what = "the total energy" if kind == "energy" else "forces"
    return (
        f"{key} and {other} look like {what} and {how}: choose by data.{kind}_key={key} or "
        f"data.{kind}_key={other}."
    )


def _candidates(kind: str, frames: Sequence[Any]) -> dict[str, list[np.ndarray]]:
    """Values in each frame, empty where it has none, of every key that looks like a label of a kind."""
    found: dict[str, list[np.ndarray]] = {}
    for number, atoms in enumerate(frames):
        for key, value in _entries(atoms):
            if not _is_label(key, kind):
                continue
            values = _values(value)
            if values.size == (1 if kind == "energy" else 3 * len(atoms)) and np.isfinite(values).any():
                if kind == "forces" and np.shape(value) != (len(atoms), 3):
                    continue
                found.setdefault(key, [np.zeros(0)] * len(frames))[number] = values
    return found


def _entries(atoms: Any) -> Iterator[tuple[str, Any]]:
    """What a frame holds, less what ``predict`` wrote."""
    results = {} if "predicted_by" in atoms.info else getattr(atoms.calc, "results", {})
    for key, value in (*atoms.info.items(), *atoms.arrays.items(), *results.items()):
        if not isinstance(value, (bool, np.bool_)):
            yield str(key), value


def _values(value: Any) -> np.ndarray:
    try:
        return np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        return np.array([number_or_nan(value)])


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether numbers are the same but for rounding; what is missing in one of them does not count."""
    if a.shape != b.shape:
        return False
    both = np.isfinite(a) & np.isfinite(b)
    return bool(np.allclose(a[both], b[both], rtol=1e-8, atol=1e-6))


@lru_cache(maxsize=4096)
def _is_label(key: str, kind: str) -> bool:
    """Whether a key looks like a label that may be taken unasked."""
    name = key.lower()
    if label_kind(key) != kind or is_gradient(key) or re.search(f"{_MODELS}|{_NO_LABEL}|{_UNITS}", name):
        return False
    return kind == "forces" or not re.search(_NO_TOTAL, name)


def _method(key: str) -> str:
    """What a key says of the method, ``dft`` of ``dft_energy``; empty where it says nothing."""
    return re.sub(_NEUTRAL, "", key.lower().replace("-", "_").replace(" ", "_"))
