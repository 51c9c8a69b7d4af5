"""Units of data sets and their conversion to eV and Å, which everything inside is in."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Units:
    """The units of a source, and what its force array really holds.

    Args:
        energy: a name in `ENERGY`.
        length: a name in `LENGTH`.
        gradients: whether the array called forces holds +dE/dx.

    Raises:
        UnitError: a name is not known.
    """

    energy: str = "eV"
    length: str = "Angstrom"
    gradients: bool = False

    def __post_init__(self) -> None:
        unit(self.energy, ENERGY)
        unit(self.length, LENGTH)

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

    def describe(self) -> str:
        """What was in the file, in words for the manifest."""
        kind = "gradients" if self.gradients else "forces"
        return f"{self.energy}, {self.length}, {kind} in {self.energy}/{self.length}"
