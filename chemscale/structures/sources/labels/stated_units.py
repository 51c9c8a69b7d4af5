"""Units that a file states about itself: applied, or the file is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from chemscale.structures.blocks import SourceError
from chemscale.structures.units import ENERGY, LENGTH, UnitError, Units, unit

QUANTITIES = {
    "energy": r"^e_?units?$|energ",
    "length": r"^r_?units?$|length|distance|position|coord|\bpos\b",
    "forces": r"^f_?units?$|forc|grad",
}
"""Quantity → names of keys that state its unit; those of others, such as stresses, are not looked at."""


def stated_units(entries: Mapping[str, Any]) -> dict[str, str]:
    """Units of energies, lengths and forces that keys state.

    Args:
        entries: of a file or a frame: ``energy_unit=Hartree``, ``_distance_unit``, ``e_unit``, or mappings
            from names to units such as ``_property_unit_dict``.

    Raises:
        SourceError: two keys state different units of one quantity.
    """
    found: dict[str, str] = {}
    for key, value in _flat(entries):
        for quantity, names in QUANTITIES.items():
            if re.search(names, key.lower()):
                if _simple(found.setdefault(quantity, value)) != _simple(value):
                    raise SourceError(f"it states two units of {quantity}: {found[quantity]} and {value}.")
                break
    return found


def stated_stress(entries: Mapping[str, Any]) -> dict[str, str]:
    """Units of "stress" and "virial" that keys state, such as ``stress_unit=GPa``.

    Args:
        entries: of a file or a frame.

    Raises:
        SourceError: two keys state different units of one of them.
    """
    found: dict[str, str] = {}
    for key, value in _flat(entries):
        for quantity in ("stress", "virial"):
            if quantity in key.lower() and _simple(found.setdefault(quantity, value)) != _simple(value):
                raise SourceError(f"it states two units of its {quantity}: {found[quantity]} and {value}.")
    return found


def unread_units(entries: Mapping[str, Any]) -> list[str]:
    """Statements of units that name no quantity, such as ``units=metal``.

    Args:
        entries: of a file or a frame.
    """
    bare = ((key, value) for key, value in _flat(entries) if re.fullmatch("_?units?", key.lower()))
    return [f"{key}={value}" for key, value in bare]


def same_unit(quantity: str, name: str, units: Units) -> bool:
    """Whether a quantity's unit is the one that a file is read in.

    Args:
        quantity: a name in `QUANTITIES`.
        name: of the unit.
        units: that the file is read in.
    """
    try:
        if quantity == "forces":
            energy, length = _split(name)
            value, expected = unit(energy, ENERGY) / unit(length, LENGTH), abs(units.to_ev_per_angstrom)
        elif quantity == "energy":
            value, expected = unit(_simple(name), ENERGY), units.to_ev
        else:
            value, expected = unit(_simple(name), LENGTH), units.to_angstrom
    except UnitError:
        return False
    return abs(value / expected - 1) < 1e-4


def units_of(stated: Mapping[str, str], usual: Units) -> Units:
    """Units of a file that states some of them.

    Args:
        stated: by quantity: energy, length, forces.
        usual: of its format, for what it does not state.

    Raises:
        SourceError: a unit is not known, or that of the forces is not the energy's over the length's.
    """
    energy, length = stated.get("energy"), stated.get("length")
    try:
        found = replace(
            usual,
            energy=_simple(energy) if energy else usual.energy,
            length=_simple(length) if length else usual.length,
        )
        if "forces" in stated:
            of_energy, of_length = _split(stated["forces"])
            value = unit(of_energy, ENERGY) / unit(of_length, LENGTH)
            if energy is None:
                found = replace(found, energy=of_energy)
            if abs(value / abs(found.to_ev_per_angstrom) - 1) > 1e-4:
                raise UnitError(
                    f"forces are in {stated['forces']}, energies in {found.energy} and positions in "
                    f"{found.length}: the first must be the second over the third. Convert the file."
                )
    except UnitError as error:
        listed = ", ".join(f"{quantity} {value}" for quantity, value in stated.items())
        raise SourceError(f"it states units ({listed}): {error} Or give data.units.") from None
    return found


def _flat(entries: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in entries.items():
        if not re.search(r"unit", str(key).lower()):
            continue
        if isinstance(value, Mapping):
            yield from ((str(name), str(inner)) for name, inner in value.items())
        elif isinstance(value, (str, bytes)):
            yield str(key), value.decode() if isinstance(value, bytes) else value


def _simple(name: str) -> str:
    """A unit as the tables of ``units`` spell it: kcal mol-1 and kcal_per_mol are kcal/mol."""
    text = re.sub(r"\s*(\*\*|\^)\s*", "", name.strip())
    text = re.sub(r"[\s*_]+per[\s_]+", "/", text)
    return re.sub(r"[\s*.]*mol-1", "/mol", text)


def _split(name: str) -> tuple[str, str]:
    """Energy and length of a unit of forces such as kcal/mol/Ang or eV*angstrom**-1."""
    text = _simple(name)
    inverse = re.fullmatch(r"(.+?)[\s*]+(\w+|Å)-1", text)
    energy, _, length = (inverse[1], "/", inverse[2]) if inverse else text.rpartition("/")
    if not energy:
        raise UnitError(f"Unit {name!r} of forces is no energy over a length.")
    return energy.strip("() "), length.strip("() ")
