"""ASE's integrators as what can be saved to the bit, with the quantity that each conserves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.verlet import VelocityVerlet

from chemscale.structures.simulation.settings import Simulation
from chemscale.structures.simulation.start import degrees_of_freedom

BAR = 1e5 * units.Pascal
"""eV/Å³ of a bar."""


class Integrator:
    """Velocity Verlet, and what the integrators have in common.

    Beside the positions, momenta and cell of the atoms, which whoever saves it keeps, its memory is what
    ``state`` returns; ``restore`` of that makes the next step the same to the bit.

    Args:
        atoms: moved in place; their calculator gives the forces.
        settings: of the simulation.
        rng: of a thermostat that draws random numbers.
    """

    thermostat = "none"

    def __init__(self, atoms: Atoms, settings: Simulation, rng: np.random.Generator):
        self.atoms, self.settings, self.rng = atoms, settings, rng
        self.dof = degrees_of_freedom(atoms, self.thermostat)
        self.dynamics: Any = self.build()

    def build(self) -> Any:
        """ASE's integrator."""
        return VelocityVerlet(self.atoms, self.settings.timestep * units.fs)

    def step(self) -> None:
        """Go on by one timestep."""
        self.dynamics.step()

    def conserved(self) -> float:
        """Quantity in eV that exact integration keeps; NaN where the integrator knows none."""
        return float(self.atoms.get_potential_energy() + self.atoms.get_kinetic_energy())

    def state(self) -> dict[str, np.ndarray]:
        """Memory of the integrator beside the atoms."""
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take a memory back.

        Args:
            state: of ``state``.
        """


class BussiNVT(Integrator):
    """Velocity Verlet with stochastic velocity rescaling (Bussi, Donadio and Parrinello 2007).

    ASE counts 3N degrees of freedom; here it is those that move, so that the temperature is the one asked
    for. Conserved is the total energy less what the thermostat has put in (their equation 15).
    """

    thermostat = "bussi"

    def build(self) -> Bussi:
        """ASE's integrator."""
        settings = self.settings
        dynamics = Bussi(
            self.atoms,
            settings.timestep * units.fs,
            settings.temperature,
            settings.thermostat_time * units.fs,
            rng=self.rng,
        )
        dynamics.ndof = self.dof
        dynamics.target_kinetic_energy = 0.5 * self.dof * units.kB * settings.temperature
        return dynamics

    def conserved(self) -> float:
        """Total energy less that of the thermostat, in eV."""
        return super().conserved() - float(self.dynamics.transferred_energy)

    def state(self) -> dict[str, np.ndarray]:
        """Energy that the thermostat has put in."""
        return {"transferred": np.array(float(self.dynamics.transferred_energy))}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take a memory back.

        Args:
            state: of ``state``.
        """
        self.dynamics.transferred_energy = float(state["transferred"])


class LangevinNVT(Integrator):
    """Langevin dynamics of every atom (Vanden-Eijnden and Ciccotti 2006); the centre of mass moves too."""

    thermostat = "langevin"

    def build(self) -> Langevin:
        """ASE's integrator."""
        settings = self.settings
        return Langevin(
            self.atoms,
            settings.timestep * units.fs,
            temperature_K=settings.temperature,
            friction=1.0 / (settings.thermostat_time * units.fs),
            fixcm=False,
            rng=self.rng,
        )

    def conserved(self) -> float:
        """NaN: ASE does not count the heat of the random forces."""
        return float("nan")


class MartynaTobiasKlein(Integrator):
    """Constant pressure and temperature by Martyna, Tobias and Klein (1994), with one cell variable: volume.

    ASE counts N atoms where it means degrees of freedom over three; as the centre of mass rests, these are
    N - 1, and the thermostat would else heat the others by N / (N - 1).
    """

    thermostat = "chain"
    OF_DYNAMICS: ClassVar = ("_q", "_p", "_eps", "_p_eps", "_volume0", "_cell0")
    OF_THERMOSTAT: ClassVar = ("_eta", "_p_eta")
    OF_BAROSTAT: ClassVar = ("_xi", "_p_xi")

    def build(self) -> IsotropicMTKNPT:
        """ASE's integrator."""
        settings = self.settings
        self.atoms.calc = EverythingAtOnce(self.atoms.calc)
        dynamics = IsotropicMTKNPT(
            self.atoms,
            settings.timestep * units.fs,
            temperature_K=settings.temperature,
            pressure_au=settings.pressure * BAR,
            tdamp=settings.thermostat_time * units.fs,
            pdamp=settings.barostat_time * units.fs,
        )
        moving = len(self.atoms) - 1
        thermostat = dynamics._thermostat
        thermostat._Q[0] *= moving / len(self.atoms)
        thermostat._num_atoms_global = dynamics._num_atoms_global = moving
        return dynamics

    def conserved(self) -> float:
        """Energy of atoms, thermostats, barostat and pV, in eV."""
        return float(self.dynamics.get_conserved_energy())

    def state(self) -> dict[str, np.ndarray]:
        """Variables of the thermostat and the barostat."""
        return {name: np.array(getattr(owner, name)) for owner, name in self._variables()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take a memory back.

        Args:
            state: of ``state``.
        """
        for owner, name in self._variables():
            value = state[name]
            setattr(owner, name, value.copy() if value.ndim else float(value))

    def _variables(self) -> Iterable[tuple[Any, str]]:
        md = self.dynamics
        owners = (
            (md, self.OF_DYNAMICS),
            (md._thermostat, self.OF_THERMOSTAT),
            (md._barostat, self.OF_BAROSTAT),
        )
        return [(owner, name) for owner, names in owners for name in names]


class EverythingAtOnce(Calculator):
    """A calculator that asks another one for energy, forces and stress in one go, as constant pressure wants.

    Args:
        inner: that computes.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]  # type: ignore[misc]

    def __init__(self, inner: Calculator):
        super().__init__()
        self.inner: Calculator = inner.inner if isinstance(inner, EverythingAtOnce) else inner

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results``, as ASE asks for it."""
        super().calculate(atoms, properties, system_changes)
        self.inner.calculate(self.atoms, ["energy", "forces", "stress"], all_changes)
        self.results = dict(self.inner.results)
        self.results.setdefault("free_energy", self.results["energy"])


def integrator(atoms: Atoms, settings: Simulation, rng: np.random.Generator, step: int) -> Integrator:
    """The integrator of a step: equilibration of constant energy has a thermostat.

    Args:
        atoms: that it moves.
        settings: of the simulation.
        rng: of the thermostat.
        step: below 0 while it equilibrates.
    """
    if settings.ensemble == "npt":
        return MartynaTobiasKlein(atoms, settings, rng)
    if settings.ensemble == "nve" and step >= 0:
        return Integrator(atoms, settings, rng)
    return (LangevinNVT if settings.thermostat == "langevin" else BussiNVT)(atoms, settings, rng)
