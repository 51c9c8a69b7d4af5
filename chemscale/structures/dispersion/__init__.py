"""D3(BJ) dispersion: what a potential is trained without and used with, or given to plain functional labels.

D3 (Grimme, Antony, Ehrlich and Krieg 2010) with the damping of Becke and Johnson (Grimme, Ehrlich and Goerigk
2011), by simple-dftd3 (Ehlert 2024, J. Open Source Softw. 9, 7169), which needs ``chemscale[dispersion]``.
Dispersion reaches over 30 Å, further than any neighbour list of a network: added from outside it is right at
any distance, and what is left for the network to learn is short-ranged.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.units import Bohr, Hartree

from chemscale.structures.blocks import Block

log = logging.getLogger(__name__)

METHODS = ("d3bj",)
HEAVIEST = 103
"""Atomic number of the heaviest element that D3 has parameters for; simple-dftd3 does not refuse others."""
COMMON = ("pbe", "pbe0", "revpbe", "b3lyp", "blyp", "tpss", "r2scan", "scan", "wb97x", "b97d")
"""Names that an error lists, of more than a hundred."""


class DispersionError(ValueError):
    """Dispersion that cannot be computed; the message names the functional or the element."""


@dataclass(frozen=True)
class Values:
    """Dispersion of one structure.

    Args:
        energy: eV.
        forces: (N, 3) eV/Å.
        stress: (3, 3) eV/Å³, positive under tension; None where not all directions are periodic.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None


@dataclass(frozen=True)
class Dispersion:
    """Dispersion of a functional::

        Dispersion("d3bj", "pbe").of(atoms.numbers, atoms.positions, atoms.cell, atoms.pbc).energy

    Args:
        method: ``d3bj``.
        functional: whose damping parameters are taken, in any case of letters.
        three_body: add the Axilrod–Teller–Muto term, which programs leave out unless told.

    Raises:
        DispersionError: an unknown method or functional.
        ImportError: simple-dftd3 is not installed; the message says how to.
    """

    method: str = "d3bj"
    functional: str = "pbe"
    three_body: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise DispersionError(f"method {self.method!r}: choose {', '.join(METHODS)}.")
        object.__setattr__(self, "functional", str(self.functional).lower())
        _ = self._damping

    @classmethod
    def read(cls, key: str, values: Any) -> Dispersion:
        """Read a mapping of the configuration or of a model's header.

        Args:
            key: its name, for messages.
            values: ``method``, ``functional`` and, optionally, ``three_body``.

        Raises:
            DispersionError: no mapping, or a key or value that makes no sense.
        """
        known = [field.name for field in fields(cls)]
        example = f"{key}={{method: d3bj, functional: pbe}}"
        if not isinstance(values, Mapping):
            raise DispersionError(f"{key}={values!r}: give method and functional, {example}.")
        for name in values:
            if name not in known:
                raise DispersionError(f"{key}.{name}: there is no such key; it has {', '.join(known)}.")
        if not values.get("method") or not values.get("functional"):
            raise DispersionError(f"{key}: give method and functional, {example}.")
        if not isinstance(values.get("three_body", False), bool):
            raise DispersionError(f"{key}.three_body={values['three_body']!r}: true or false.")
        try:
            return cls(**values)
        except DispersionError as error:
            raise DispersionError(f"{key}: {error}") from None

    @cached_property
    def _damping(self) -> Any:
        library = _library()
        try:
            return library.RationalDampingParam(method=self.functional, atm=self.three_body)
        except RuntimeError:
            near = difflib.get_close_matches(self.functional, COMMON, 1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise DispersionError(
                f"functional {self.functional!r} has no D3(BJ) parameters in simple-dftd3.{meant} It has "
                f"{', '.join(COMMON)} and many more."
            ) from None

    def as_key(self) -> dict[str, Any]:
        """What ``read`` takes back."""
        return asdict(self)

    def describe(self) -> str:
        """Such as D3(BJ) of PBE."""
        return f"D3(BJ){' with three-body terms' if self.three_body else ''} of {self.functional.upper()}"

    def check(self, numbers: np.ndarray) -> None:
        """Refuse elements that D3 has no parameters for.

        Args:
            numbers: (N,) atomic numbers.

        Raises:
            DispersionError: one is beyond.
        """
        beyond = sorted({int(z) for z in numbers if not 0 < z <= HEAVIEST})
        if beyond:
            names = ", ".join(chemical_symbols[z] if 0 < z < 119 else str(z) for z in beyond)
            raise DispersionError(f"D3 has no parameters for {names}: it knows elements 1 to {HEAVIEST}.")

    def of(
        self,
        numbers: np.ndarray,
        positions: np.ndarray,
        cell: np.ndarray | None = None,
        pbc: np.ndarray | None = None,
    ) -> Values:
        """Compute energy, forces and stress of a structure.

        Args:
            numbers: (N,) atomic numbers.
            positions: (N, 3) Å.
            cell: (3, 3) Å, rows are vectors; None for a molecule.
            pbc: (3,) periodic directions; None for a molecule.

        Raises:
            DispersionError: an element is unknown, or the library refuses the structure.
        """
        self.check(numbers)
        model = self._model(numbers, positions, cell, pbc)
        try:
            found = model.get_dispersion(self._damping, grad=True)
        except RuntimeError as error:
            raise DispersionError(f"simple-dftd3 cannot compute this structure: {error}") from None
        stress = None
        if cell is not None and pbc is not None and np.all(pbc):
            stress = np.array(found["virial"]) * Hartree / abs(np.linalg.det(np.asarray(cell)))
        return Values(float(found["energy"]) * Hartree, -np.array(found["gradient"]) * Hartree / Bohr, stress)

    def atomic_energies(
        self,
        numbers: np.ndarray,
        positions: np.ndarray,
        cell: np.ndarray | None = None,
        pbc: np.ndarray | None = None,
    ) -> np.ndarray:
        """Energies of atoms, half of each pair's: (N,) eV, whose sum is the energy.

        Args:
            numbers: (N,) atomic numbers.
            positions: (N, 3) Å.
            cell: (3, 3) Å; None for a molecule.
            pbc: (3,) periodic directions; None for a molecule.
        """
        self.check(numbers)
        pairs = self._model(numbers, positions, cell, pbc).get_pairwise_dispersion(self._damping)
        return sum(np.array(values) for values in pairs.values()).sum(axis=1) * Hartree  # type: ignore[union-attr]

    @staticmethod
    def _model(
        numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray | None, pbc: np.ndarray | None
    ) -> Any:
        periodic = cell is not None and pbc is not None and bool(np.any(pbc))
        lattice = np.asarray(cell, dtype=float) / Bohr if periodic else None
        return _library().DispersionModel(
            np.asarray(numbers),
            np.asarray(positions, dtype=float) / Bohr,
            lattice,
            np.asarray(pbc) if periodic else None,
        )

    def subtract(self, block: Block) -> None:
        """Take dispersion off the labels of a block; what is missing stays missing.

        Args:
            block: whose energies, forces and, where it has them, stresses are changed.

        Raises:
            DispersionError: an element is unknown; the message names the block.
        """
        try:
            self.check(block.numbers)
        except DispersionError as error:
            raise DispersionError(f"{block.name}: {error}") from None
        stresses = getattr(block, "stresses", None)
        for k in range(len(block)):
            cell = None if block.cells is None else block.cells[k]
            pbc = None if block.pbc is None else block.pbc[k]
            try:
                found = self.of(block.numbers, block.positions[k], cell, pbc)
            except DispersionError as error:
                raise DispersionError(f"{block.name}, row {int(block.rows[k])}: {error}") from None
            block.energies[k] -= found.energy
            block.forces[k] -= found.forces
            if stresses is not None and found.stress is not None:
                stresses[k] -= found.stress


def subtracted(header: Mapping[str, Any]) -> Dispersion | None:
    """Dispersion that a model's labels were without, which has to be added to what it predicts.

    Args:
        header: of a potential, ``Potential.header``.

    Raises:
        DispersionError: it is none that this version knows.
    """
    key = (header.get("data") or {}).get("subtract")
    return None if key is None else Dispersion.read("data.subtract", key)


def warn_of_network_alone(header: Mapping[str, Any], where: str) -> None:
    """Say that dispersion is missing where only the network goes.

    Args:
        header: of a potential.
        where: it goes, the subject of the sentence.
    """
    own = subtracted(header)
    if own is not None:
        log.warning(
            "%s holds the network alone, which was trained on labels without %s: add that there, or energies "
            "and forces are not the total ones.",
            where,
            own.describe(),
        )


def choose(header: Mapping[str, Any], wanted: str | Dispersion | None) -> Dispersion | None:
    """Dispersion to add to what a model predicts.

    Args:
        header: of a potential.
        wanted: ``auto``, what was subtracted from its labels; None for the network alone; or a functional or
            a `Dispersion`, for a model that was trained on labels without any.

    Raises:
        DispersionError: another one was subtracted from the labels, or it is unknown.
    """
    own = subtracted(header)
    if wanted is None or wanted == "auto":
        return own if wanted == "auto" else None
    chosen = wanted if isinstance(wanted, Dispersion) else Dispersion("d3bj", wanted)
    if own is not None and own != chosen:
        raise DispersionError(
            f"dispersion={chosen.functional}: {own.describe()} was subtracted from the labels of this "
            'model, so that has to be added. Leave it at "auto".'
        )
    return chosen


def _library() -> Any:
    try:
        from dftd3 import interface
    except ImportError:
        raise ImportError(
            "D3 dispersion needs simple-dftd3: pip install 'chemscale[dispersion]' (or the package dftd3)."
        ) from None
    return interface
