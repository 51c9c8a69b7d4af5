"""Units of data sets and their conversion to eV and Å, which everything inside is in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ase import units as ase_units

ENERGY = {
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": ase_units.Hartree,
    "kcal/mol": ase_units.kcal / ase_units.mol,
    "kJ/mol": ase_units.kJ / ase_units.mol,
    "Rydberg": ase_units.Rydberg,
}
"""eV in one unit (CODATA values of ASE)."""

LENGTH = {"Angstrom": 1.0, "Bohr": ase_units.Bohr, "nm": 10.0, "pm": 0.01}
"""Å in one unit."""

PRESSURE = {
    "GPa": ase_units.GPa,
    "MPa": 1e-3 * ase_units.GPa,
    "Pa": ase_units.Pascal,
    "kbar": 1e3 * ase_units.bar,
    "bar": ase_units.bar,
    "Hartree/Bohr^3": ase_units.Hartree / ase_units.Bohr**3,
    "Rydberg/Bohr^3": ase_units.Rydberg / ase_units.Bohr**3,
    "eV/Angstrom^3": 1.0,
}
"""eV/Å³ in one unit of stress."""

_SHORT = {
    **dict.fromkeys(("ha", "eh", "hartrees", "e_h"), "Hartree"),
    **dict.fromkeys(("å", "ang", "a", "angstroms", "angström"), "Angstrom"),
    **dict.fromkeys(("ry", "ryd"), "Rydberg"),
    **dict.fromkeys(("a0", "a_0", "bohrs"), "Bohr"),
    **dict.fromkeys(("electronvolt", "electron_volt", "electronvolts"), "eV"),
}


class UnitError(ValueError):
    """A unit that is not known; the message lists those that are."""


def unit(name: str, known: dict[str, float]) -> float:
    """Value of a unit in eV or Å; case does not matter.

    Args:
        name: of the unit.
        known: `ENERGY` or `LENGTH`.

    Raises:
        UnitError: the name is not known.
    """
    name = _SHORT.get(name.lower(), name)
    for candidate, value in known.items():
        if candidate.lower() == name.lower():
            return value
    raise UnitError(f"Unit {name!r} is not known: choose one of {', '.join(known)}.")


def stress_unit(name: str) -> float:
    """Value of a unit of stress in eV/Å³: one of `PRESSURE`, or an energy over a cubed length.

    Args:
        name: of the unit, such as GPa, eV/A^3, kcal/mol/Angstrom**3 or Ha/Bohr³.

    Raises:
        UnitError: the name is not known.
    """
    given = name.strip()
    for candidate, value in {**PRESSURE, "kB": PRESSURE["kbar"]}.items():
        if candidate.lower() == given.lower():
            return value
    found = re.fullmatch(r"(.+)/\s*\(?\s*(\w+)\s*\)?\s*(?:\^\s*3|\*\*\s*3|³)", given)
    found = found or re.fullmatch(r"(.+)/\s*([^\W\d]+)3", given)
    if found is None:
        raise UnitError(f"Unit {name!r} of stresses is not known: choose one of {', '.join(PRESSURE)}.")
    try:
        return unit(found[1].strip("() "), ENERGY) / unit(found[2], LENGTH) ** 3
    except UnitError as error:
        raise UnitError(f"Unit {name!r} of stresses: {error}") from None


@dataclass(frozen=True)
class Units:
    """The units of a source, and what its force array really holds.

    Args:
        energy: a name in `ENERGY`.
        length: a name in `LENGTH`.
        gradients: whether the array called forces holds +dE/dx.
        stress: unit of stresses (`stress_unit`), or of virials one in `ENERGY`; None: energy over length³, or
            energy.
        compression: whether stresses or virials are positive under compression; None: virials are (−V·σ) and
            stresses are not, as in ASE.

    Raises:
        UnitError: a name is not known.
    """

    energy: str = "eV"
    length: str = "Angstrom"
    gradients: bool = False
    stress: str | None = None
    compression: bool | None = None

    def __post_init__(self) -> None:
        unit(self.energy, ENERGY)
        unit(self.length, LENGTH)
        if self.stress is not None and not _is_energy(self.stress):
            stress_unit(self.stress)

    @property
    def to_ev(self) -> float:
        """Factor of energies."""
        return unit(self.energy, ENERGY)

    @property
    def to_angstrom(self) -> float:
        """Factor of lengths."""
        return unit(self.length, LENGTH)

    @property
    def to_ev_per_angstrom(self) -> float:
        """Factor of the force array: its sign turns gradients into forces."""
        return (-1.0 if self.gradients else 1.0) * self.to_ev / self.to_angstrom

    def stress_factor(self, virial: bool) -> float:
        """Factor of stresses to eV/Å³, or of virials to eV, with the sign that makes tension positive.

        Args:
            virial: whether the numbers are virials, in a unit of energy.

        Raises:
            UnitError: the unit that was given is one of the other kind.
        """
        positive = virial if self.compression is None else self.compression
        if self.stress is None:
            value = self.to_ev if virial else self.to_ev / self.to_angstrom**3
        elif virial != _is_energy(self.stress):
            wanted = "an energy such as eV" if virial else "such as eV/Angstrom^3, GPa or kbar"
            held = "virials" if virial else "stresses"
            raise UnitError(
                f"data.units.stress={self.stress}, but what is read holds {held}, whose unit is {wanted}."
            )
        else:
            value = unit(self.stress, ENERGY) if virial else stress_unit(self.stress)
        return -value if positive else value

    def describe(self) -> str:
        """What was in the file, in words for the manifest."""
        kind = "gradients" if self.gradients else "forces"
        stress = f", stresses in {self.stress}" if self.stress else ""
        if self.compression is not None:
            stress += f", positive under {'compression' if self.compression else 'tension'}"
        return f"{self.energy}, {self.length}, {kind} in {self.energy}/{self.length}{stress}"


def _is_energy(name: str) -> bool:
    try:
        unit(name, ENERGY)
    except UnitError:
        return False
    return True
