"""A potential in LAMMPS, OpenMM and i-PI beside ASE: largest differences of a trajectory, steps a second.

    python -m benchmarks.engines MODEL [--steps 500] [--dtype float64] [--engines ase lammps openmm ipi]

Ethanol in vacuum, NVE at 300 K, half a femtosecond a step, one thread. Each engine runs the trajectory of its
own. For the differences every tenth frame is computed again by ``ChemscaleCalculator``; the time is that of
a second stretch of as many steps without looking. Drift: the slope of the total energy, meV an atom and ps.
i-PI's frames are read from its files, of which energies have eight digits and forces five.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.io import read, write
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

from chemscale.models.potential import Potential
from chemscale.structures.calculator import ChemscaleCalculator

FEMTOSECONDS, EVERY = 0.5, 10
Frame = tuple[np.ndarray, float, np.ndarray, float]
"""Positions (Å), potential energy (eV), forces (eV/Å), total energy (eV)."""


@dataclass
class Figures:
    """What one engine did."""

    name: str
    frames: list[Frame] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0

    def row(self, reference: ChemscaleCalculator, atoms: Atoms) -> str:
        """Differences, drift and speed in words."""
        energies, forces = [], []
        for positions, energy, force, _ in self.frames:
            atoms.positions = positions
            atoms.calc = reference
            energies.append(abs(energy - atoms.get_potential_energy()))
            forces.append(np.abs(force - atoms.get_forces()).max())
        totals = np.array([frame[3] for frame in self.frames])
        picoseconds = np.arange(len(totals)) * EVERY * FEMTOSECONDS / 1000
        drift = np.polyfit(picoseconds, totals, 1)[0] * 1000 / len(atoms) if len(totals) > 2 else np.nan
        return (
            f"{self.name:16s} |ΔE| {max(energies):.1e} eV  |ΔF| {max(forces):.1e} eV/Å  "
            f"drift {drift:+.3f} meV/atom/ps  {self.steps / self.seconds:7.1f} steps/s"
        )


def start() -> Atoms:
    """Ethanol with velocities of 300 K."""
    atoms = molecule("CH3CH2OH", vacuum=8.0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(1))
    return atoms


def run(name: str, frames: Iterator[Frame], long: Any, steps: int) -> Figures:
    """Look at a trajectory, then time as many steps."""
    found = Figures(name, list(frames), steps=steps)
    began = time.perf_counter()
    long(steps)
    found.seconds = time.perf_counter() - began
    return found


def with_ase(model: Potential, steps: int) -> Figures:
    """Velocity Verlet of ASE."""
    atoms = start()
    atoms.calc = ChemscaleCalculator(model)
    dynamics = VelocityVerlet(atoms, FEMTOSECONDS * units.fs)

    def frames() -> Iterator[Frame]:
        for _ in range(steps // EVERY):
            dynamics.run(EVERY)
            energy = atoms.get_potential_energy()
            yield atoms.positions.copy(), energy, atoms.get_forces(), energy + atoms.get_kinetic_energy()

    return run("ase", frames(), dynamics.run, steps)


def with_lammps(model: Potential, steps: int, through: str) -> Figures:
    """``fix nve`` of LAMMPS."""
    from chemscale.structures.engines.lammps import attach, open_lammps

    lmp, atoms = open_lammps(["-log", "none", "-screen", "none"]), start()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "atoms.data"
        write(path, atoms, format="lammps-data", specorder=["C", "H", "O"], masses=True)
        for line in ("units metal", "atom_modify map array", "boundary m m m", f"read_data {path}"):
            lmp.command(line)
    for line in ("velocity all create 300 1", "fix move all nve", f"timestep {FEMTOSECONDS / 1000}"):
        lmp.command(line)
    attach(lmp, model, ["C", "H", "O"], through=through)

    def frames() -> Iterator[Frame]:
        for _ in range(steps // EVERY):
            lmp.command(f"run {EVERY} post no")
            order = np.argsort(lmp.numpy.extract_atom("id", nelem=len(atoms), dim=1).reshape(-1))
            x, f = (lmp.numpy.extract_atom(name, nelem=len(atoms), dim=3)[order] for name in "xf")
            yield x, lmp.get_thermo("pe"), f, lmp.get_thermo("etotal")

    return run(f"lammps, {through}", frames(), lambda count: lmp.command(f"run {count} post no"), steps)


def with_openmm(model: Potential, steps: int) -> Figures:
    """OpenMM's Verlet on its reference platform, whose numbers are float64."""
    import openmm

    from chemscale.structures.engines.openmm import KJ_PER_MOL, add_potential

    atoms, system = start(), openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    add_potential(system, atoms.numbers, model)
    integrator = openmm.VerletIntegrator(FEMTOSECONDS / 1000)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(atoms.positions / units.nm)
    context.setVelocitiesToTemperature(300, 1)

    def frames() -> Iterator[Frame]:
        for _ in range(steps // EVERY):
            integrator.step(EVERY)
            state = context.getState(energy=True, forces=True, positions=True)
            energy = state.getPotentialEnergy()._value * KJ_PER_MOL
            kinetic = state.getKineticEnergy()._value * KJ_PER_MOL
            forces = state.getForces(asNumpy=True)._value * KJ_PER_MOL / units.nm
            yield state.getPositions(asNumpy=True)._value * units.nm, energy, forces, energy + kinetic

    return run("openmm", frames(), integrator.step, steps)


INPUT = """<simulation verbosity='low'><output prefix='out'>
<properties stride='{every}' filename='log'>
[potential{{electronvolt}}, conserved{{electronvolt}}]</properties>
<trajectory stride='{every}' filename='pos' format='ase'>positions{{ase}}</trajectory>
<trajectory stride='{every}' filename='force' format='ase'>forces{{ase}}</trajectory></output>
<total_steps>{steps}</total_steps><prng><seed>1</seed></prng>
<ffsocket name='a' mode='unix' pbc='False'><latency>1e-4</latency>
<address>{address}</address></ffsocket>
<system><initialize nbeads='1'><file mode='xyz' units='angstrom'>start.xyz</file>
<cell mode='abc' units='angstrom'>[40, 40, 40]</cell>
<velocities mode='thermal' units='kelvin'>300</velocities>
</initialize><forces><force forcefield='a'/></forces><motion mode='dynamics'><dynamics mode='nve'>
<timestep units='femtosecond'>{step}</timestep></dynamics></motion>
<ensemble><temperature units='kelvin'>300</temperature></ensemble></system></simulation>"""


def with_ipi(model: Potential, steps: int) -> Figures:
    """One bead of i-PI; the time is that of the second half of its steps, start and end of i-PI left out."""
    from chemscale.structures.engines.ipi import serve

    atoms, found = start(), Figures("i-pi", steps=steps)
    with tempfile.TemporaryDirectory() as folder:
        here, address = Path(folder), f"engines-{os.getpid()}"
        write(here / "start.xyz", atoms, format="xyz")
        asked = {"steps": 2 * steps, "every": EVERY, "step": FEMTOSECONDS, "address": address}
        (here / "input.xml").write_text(INPUT.format(**asked))
        times: list[float] = []
        original = ChemscaleCalculator.calculate

        def timed(self: ChemscaleCalculator, *arguments: Any, **options: Any) -> None:
            original(self, *arguments, **options)
            times.append(time.perf_counter())

        ChemscaleCalculator.calculate = timed  # type: ignore[method-assign]
        program = Path(sys.executable).parent / "i-pi"
        server = subprocess.Popen([program, "input.xml"], cwd=here, stdout=subprocess.DEVNULL)
        try:
            serve(model, atoms, unixsocket=address)
        finally:
            ChemscaleCalculator.calculate = original  # type: ignore[method-assign]
            server.wait(60)
        found.seconds = times[-1] - times[-1 - steps]
        log = np.loadtxt(here / "out.log")
        places, pulls = (read(next(here.glob(f"out.{kind}_0*")), ":") for kind in ("pos", "force"))
        for (energy, total), place, pull in zip(log, places, pulls, strict=True):
            forces = pull.arrays["forces"] if "forces" in pull.arrays else pull.get_forces()
            found.frames.append((place.positions, energy, forces, total))
    return found


def main() -> None:
    """Run the engines that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__,
    )
    parser.add_argument("model", help="a run or a model folder")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--engines", nargs="+", default=["ase", "lammps", "openmm", "ipi"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    reference = ChemscaleCalculator(options.model, dtype=getattr(torch, options.dtype))
    potential = reference.potential
    size = sum(weights.numel() for weights in potential.network.parameters())
    print(f"{options.model}: {size:,} weights, {options.dtype}, {options.steps} steps of ethanol")
    engines = {
        "ase": with_ase,
        "lammps": lambda model, steps: with_lammps(model, steps, "external"),
        "mliap": lambda model, steps: with_lammps(model, steps, "mliap"),
        "openmm": with_openmm,
        "ipi": with_ipi,
    }
    for name in options.engines:
        print(engines[name](potential, options.steps).row(reference, molecule("CH3CH2OH")), flush=True)


if __name__ == "__main__":
    main()
