"""A potential in OpenMM gives in every step what the ASE calculator gives, in OpenMM's units."""

import copy
import tomllib

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from chemscale.models.potential import BoundaryError, UnknownElementError
from chemscale.models.potentials import save_potential
from chemscale.models.spookynet import SpookyNetConfig
from chemscale.structures.engines.openmm import KJ_PER_MOL, OpenMMError, add_potential
from tests.helpers.engines import ethanol, expected, largest, random_potential, salt
from tests.helpers.paths import ROOT

openmm = pytest.importorskip("openmm")
app = pytest.importorskip("openmm.app")
unit = openmm.unit


def topology_of(atoms):
    made = app.Topology()
    residue = made.addResidue("ALL", made.addChain())
    for symbol in atoms.symbols:
        made.addAtom(symbol, app.Element.getBySymbol(symbol), residue)
    if atoms.pbc.all():
        made.setPeriodicBoxVectors(np.asarray(atoms.cell) * unit.angstrom)
    return made


def system_of(atoms):
    made = openmm.System()
    for mass in atoms.get_masses():
        made.addParticle(mass)
    if atoms.pbc.all():
        made.setDefaultPeriodicBoxVectors(*(np.asarray(atoms.cell) * 0.1))
    return made


def context_of(system, atoms, step=0.0005):
    made = openmm.Context(
        system, openmm.VerletIntegrator(step), openmm.Platform.getPlatformByName("Reference")
    )
    made.setPositions(atoms.positions * 0.1)
    return made


def results(context):
    state = context.getState(energy=True, forces=True, positions=True, enforcePeriodicBox=False)
    return (
        state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) * KJ_PER_MOL,
        state.getForces(asNumpy=True)._value * KJ_PER_MOL / 10,
        state.getPositions(asNumpy=True)._value * 10,
        (state.getPotentialEnergy() + state.getKineticEnergy())._value * KJ_PER_MOL,
    )


@pytest.fixture
def crystal():
    """As OpenMM takes boxes: a along x, b in the xy plane, and skewed by half a length at most."""
    atoms = salt()
    return Atoms(atoms.numbers, atoms.positions, cell=[[5, 0, 0], [1, 4.5, 0], [1, 1, 9.0]], pbc=True)


def test_a_trajectory_has_the_energies_and_forces_of_the_calculator(crystal):
    potential = random_potential(size=0.1)
    for atoms in (ethanol(), crystal):
        system = system_of(atoms)
        force = add_potential(system, topology_of(atoms), potential, device="cpu")
        assert force.usesPeriodicBoundaryConditions() == atoms.pbc.all()
        context = context_of(system, atoms)
        context.setVelocitiesToTemperature(300, 7)
        totals, energies = [], []
        for _ in range(10):
            context.getIntegrator().step(2)  # two of half a femtosecond
            energy, forces, positions, total = results(context)
            atoms.positions = positions
            wanted_energy, wanted_forces, _ = expected(potential, atoms)
            assert energy == pytest.approx(wanted_energy, abs=1e-8)
            assert largest(forces, wanted_forces) < 1e-8
            totals.append(total)
            energies.append(energy)
        assert np.ptp(totals) < 0.25 * np.ptp(energies)
        assert np.ptp(energies) > 1e-4


def test_some_particles_are_a_system_of_their_own():
    potential = random_potential()
    atoms = ethanol() + Atoms("Ar", [[20, 0, 0]])
    system = system_of(atoms)
    force = add_potential(
        system, topology_of(atoms), potential, particles=range(9), device="cpu", force_group=3
    )
    assert force.getForceGroup() == 3
    energy, forces, _, _ = results(context_of(system, atoms))
    wanted_energy, wanted_forces, _ = expected(potential, ethanol())
    assert energy == pytest.approx(wanted_energy, abs=1e-8)
    assert largest(forces[:9], wanted_forces) < 1e-8
    assert not forces[9].any()


def test_charge_and_multiplicity_reach_the_network():
    potential = random_potential(
        SpookyNetConfig(width=8, layers=1, cutoff=4.0, electrostatics=True), size=0.1
    )
    ion = molecule("OH")
    system = system_of(ion)
    add_potential(system, ion.numbers, potential, charge=-1, spin=1, device="cpu")
    energy, forces, _, _ = results(context_of(system, ion))
    neutral = expected(potential, ion)[0]
    ion.info.update(charge=-1, spin=1)
    assert energy == pytest.approx(expected(potential, ion)[0], abs=1e-8)
    assert abs(energy - neutral) > 1e-6
    assert largest(forces, expected(potential, ion)[1]) < 1e-8


def test_a_copy_reads_the_model_from_its_folder_and_holds_no_weights(tmp_path):
    potential = random_potential()
    save_potential(potential, tmp_path / "model")
    atoms = ethanol()
    system = system_of(atoms)
    add_potential(system, atoms.numbers, tmp_path / "model", device="cpu")
    written = openmm.XmlSerializer.serialize(system)
    weights = sum(p.numel() * p.element_size() for p in potential.network.parameters())
    assert len(written) < weights
    again = openmm.XmlSerializer.deserialize(written)
    for made in (again, copy.deepcopy(system)):
        assert results(context_of(made, atoms))[0] == pytest.approx(expected(potential, atoms)[0], abs=1e-8)
    in_memory = system_of(atoms)
    add_potential(in_memory, atoms.numbers, potential, device="cpu")
    with pytest.raises(openmm.OpenMMException, match="could not be pickled"):
        openmm.XmlSerializer.serialize(in_memory)


def test_a_simulation_that_falls_apart_stops_and_says_so():
    potential = random_potential()
    atoms = ethanol()
    system = system_of(atoms)
    add_potential(system, atoms.numbers, potential, device="cpu")
    context = context_of(system, atoms)
    atoms.positions[3] = np.nan
    context.setPositions(atoms.positions * 0.1)
    with pytest.raises(openmm.OpenMMException, match=r"atom 3 .* fell apart"):
        context.getIntegrator().step(1)


def test_what_does_not_match_is_refused_before_a_step():
    potential = random_potential(elements=(1, 6, 8))
    atoms = ethanol()
    system = system_of(atoms)
    with pytest.raises(OpenMMError, match="9 particles and the topology 8 atoms"):
        add_potential(system, atoms.numbers[:8], potential)
    with pytest.raises(OpenMMError, match="9 is none of the 9"):
        add_potential(system, atoms.numbers, potential, particles=[0, 9])
    with pytest.raises(OpenMMError, match="each of them once"):
        add_potential(system, atoms.numbers, potential, particles=[0, 0])
    with pytest.raises(OpenMMError, match="Particle 8 is no atom"):
        add_potential(system, [*atoms.numbers[:8], 0], potential)
    with pytest.raises(UnknownElementError, match=r"\[7\]"):
        add_potential(system, [*atoms.numbers[:8], 7], potential)
    charged = random_potential(SpookyNetConfig(width=8, layers=1, cutoff=4.0, electrostatics=True))
    with pytest.raises(BoundaryError, match="periodic"):
        add_potential(system, atoms.numbers, charged, periodic=True)
    assert system.getNumForces() == 0


@pytest.fixture
def ml_potential():
    """OpenMM-ML with our potential in it, also where this package was installed before it had the name."""
    ml = pytest.importorskip("openmmml")
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    module, name = groups["openmmml.potentials"]["chemscale"].split(":")
    factory = getattr(__import__(module, fromlist=[name]), name)
    if "chemscale" not in ml.MLPotential._implFactories:
        ml.MLPotential.registerImplFactory("chemscale", factory())
    assert isinstance(ml.MLPotential._implFactories["chemscale"], factory)
    return ml.MLPotential


def test_openmm_ml_knows_the_potential_by_name(ml_potential, crystal):
    potential = random_potential()
    for atoms in (ethanol(), crystal):
        system = ml_potential("chemscale", model=potential).createSystem(topology_of(atoms), device="cpu")
        energy, forces, _, _ = results(context_of(system, atoms))
        wanted_energy, wanted_forces, _ = expected(potential, atoms)
        assert energy == pytest.approx(wanted_energy, abs=1e-8)
        assert largest(forces, wanted_forces) < 1e-8
    with pytest.raises(OpenMMError, match="needs model=RUN"):
        ml_potential("chemscale")


def test_openmm_ml_puts_a_force_field_around_the_potential(ml_potential):
    potential = random_potential()
    atoms = ethanol()
    springs = openmm.HarmonicBondForce()
    springs.addBond(0, 1, 0.15, 1e5)
    system = system_of(atoms)
    system.addForce(springs)
    mixed = ml_potential("chemscale", model=potential, device="cpu").createMixedSystem(
        topology_of(atoms), system, range(9)
    )
    energy, _, _, _ = results(context_of(mixed, atoms))
    assert energy == pytest.approx(expected(potential, atoms)[0], abs=1e-8)
