"""The structure that a simulation starts from: read, checked before anything is computed, set in motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.data import chemical_symbols
from ase.io import read
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary, ZeroRotation

from chemscale.structures.blocks import SourceError
from chemscale.structures.neighbours import neighbour_list
from chemscale.structures.simulation.settings import Simulation, SimulationError
from chemscale.structures.sources.ase_files import check_atoms
from chemscale.structures.sources.electrons import charge_and_spin

TOO_NEAR = 0.4
"""Å: no two nuclei are nearer to each other, those of H2 stand at 0.74."""
HYDROGEN_STEP = 1.0
"""fs: a ninth of the period of an O-H bond. The limit grows with the root of the lightest mass."""
LONGEST_STEP = 5.0
"""fs, however heavy the atoms are."""


def read_start(path: Path, charge: int | None = None, spin: int | None = None) -> Atoms:
    """Read the last structure of a file.

    Args:
        path: anything that ASE reads.
        charge: total charge in e, in place of what the file says.
        spin: multiplicity, in place of what the file says.

    Raises:
        FileNotFoundError: there is no such file.
        SimulationError: ASE cannot read it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        atoms = read(path, index=-1)
    except Exception as error:
        raise SimulationError(f"{path}: ASE cannot read it ({type(error).__name__}: {error}).") from None
    assert isinstance(atoms, Atoms)
    atoms.calc = None
    if charge is not None:
        atoms.info["charge"] = charge
    if spin is not None:
        atoms.info["spin"] = spin
    return atoms


def check_start(atoms: Atoms, settings: Simulation, cutoff: float, name: str) -> None:
    """Refuse what cannot be simulated, before anything is computed.

    Args:
        atoms: the start.
        settings: of the simulation.
        cutoff: Å of the potential; 0 where it is not known.
        name: of the start, for messages.

    Raises:
        SourceError: positions that are not finite, no cell where periodic, a charge that is none.
        SimulationError: fewer than two atoms, constraints, atoms on top of each other, a timestep too long
            for the lightest atom, no cell for ``npt`` or one that is smaller than the cutoff, or no momenta
            where they are to be kept.
    """
    try:
        check_atoms(atoms)
        charge_and_spin(atoms)
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from None
    if len(atoms) < 2:
        raise SimulationError(f"{name}: {len(atoms)} atom; there is no motion within it.")
    if atoms.constraints:
        kinds = ", ".join(sorted({type(c).__name__ for c in atoms.constraints}))
        raise SimulationError(f"{name} has constraints ({kinds}); every atom is moved here. Remove them.")
    if settings.keep_velocities and not atoms.has("momenta"):
        raise SimulationError(f"{name} has no momenta: leave out --keep-velocities to draw them.")
    _refuse_overlap(atoms, name)
    _refuse_timestep(atoms, settings.timestep)
    if settings.ensemble == "npt":
        check_cell(atoms, cutoff, name)


def check_cell(atoms: Atoms, cutoff: float, name: str) -> None:
    """Refuse a cell whose volume cannot fluctuate by what its atoms do.

    Args:
        atoms: periodic in three directions.
        cutoff: Å of the potential.
        name: of the structure.

    Raises:
        SimulationError: a direction is not periodic, or the cell is thinner than the cutoff.
    """
    if not atoms.pbc.all():
        raise SimulationError(
            f"{name} is not periodic in all three directions: --ensemble npt has no volume to change. "
            "Use nvt, or give the cell and pbc."
        )
    thinnest = heights(atoms).min()
    if thinnest < cutoff:
        raise SimulationError(
            f"{name}: the cell is {thinnest:.2f} Å thin, less than the cutoff of {cutoff:g} Å. Atoms would "
            "feel images of themselves, which move as they do, and the volume would fluctuate by that. "
            "Repeat the cell (atoms.repeat) for --ensemble npt."
        )


def heights(atoms: Atoms) -> np.ndarray:
    """Distances between opposite faces of the cell: (3,) Å.

    Args:
        atoms: with a cell of three vectors.
    """
    cell = np.asarray(atoms.cell)
    areas = np.linalg.norm(np.cross(np.roll(cell, -1, 0), np.roll(cell, -2, 0)), axis=1)
    return abs(np.linalg.det(cell)) / areas


def _refuse_overlap(atoms: Atoms, name: str) -> None:
    periodic = bool(atoms.pbc.any())
    cell, pbc = (np.asarray(atoms.cell), np.asarray(atoms.pbc)) if periodic else (None, None)
    edges, shifts = neighbour_list(atoms.positions, TOO_NEAR, cell, pbc)
    if not edges.shape[1]:
        return
    i, j = (int(a) for a in edges[:, 0])
    vector = atoms.positions[i] - atoms.positions[j]
    if cell is not None and shifts is not None:
        vector = vector + shifts[0] @ cell
    first, second = (f"{chemical_symbols[atoms.numbers[a]]} (atom {a})" for a in sorted((i, j)))
    raise SimulationError(
        f"{name}: {first} and {second} are {np.linalg.norm(vector):.3f} Å apart, nearer than {TOO_NEAR} Å. "
        "Check the unit of length, and for atoms that are listed twice."
    )


def _refuse_timestep(atoms: Atoms, timestep: float) -> None:
    masses = atoms.get_masses()
    lightest = int(np.argmin(masses))
    limit = min(LONGEST_STEP, HYDROGEN_STEP * np.sqrt(masses[lightest] / 1.008))
    if timestep > limit * (1 + 1e-9):
        raise SimulationError(
            f"--timestep {timestep:g}fs: too long for {chemical_symbols[atoms.numbers[lightest]]}, whose "
            f"bonds vibrate in some ten steps of {limit:.2g} fs. Take at most that; 0.5fs is usual with "
            "hydrogen."
        )


def degrees_of_freedom(atoms: Atoms, thermostat: str) -> int:
    """Degrees of freedom that hold kinetic energy, once the centre of mass rests.

    3N - 3; of a molecule in vacuum, whose rotation is taken out too, 3N - 6, or 1 of two atoms. Langevin's
    random forces act on each atom for itself: 3N.

    Args:
        atoms: N of them.
        thermostat: ``langevin``, or any that keeps the momentum.
    """
    if thermostat == "langevin":
        return 3 * len(atoms)
    if atoms.pbc.any():
        return 3 * len(atoms) - 3
    return 1 if len(atoms) == 2 else 3 * len(atoms) - 6


def set_in_motion(atoms: Atoms, settings: Simulation, rng: np.random.Generator) -> None:
    """Draw momenta of the temperature, the centre of mass and a molecule's rotation at rest.

    Args:
        atoms: changed in place.
        settings: temperature, and whether the atoms keep the momenta that they have.
        rng: that they are drawn by.
    """
    if settings.keep_velocities:
        return
    MaxwellBoltzmannDistribution(atoms, temperature_K=settings.temperature, rng=rng)
    if settings.ensemble == "nvt" and settings.thermostat == "langevin":
        return
    Stationary(atoms, preserve_temperature=False)
    if not atoms.pbc.any():
        ZeroRotation(atoms, preserve_temperature=False)


def temperature_of(kinetic: float, dof: int) -> float:
    """Kelvin.

    Args:
        kinetic: energy in eV.
        dof: degrees of freedom that hold it.
    """
    return 2 * kinetic / (dof * units.kB)
