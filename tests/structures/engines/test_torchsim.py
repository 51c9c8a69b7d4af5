"""TorchSim moves batches on our potentials: its own model tests pass, and its numbers are those of ASE."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError

from chemscale.models.potential import BoundaryError, UnknownElementError
from chemscale.models.potentials import CONFIGS, build
from chemscale.structures.blocks import SourceError
from chemscale.structures.calculator import ChemscaleCalculator

ts = pytest.importorskip("torch_sim", reason="needs TorchSim: pip install 'chemscale[torchsim]'")
torchsim = pytest.importorskip("chemscale.structures.engines.torchsim")
CPU = torch.device("cpu")
FAMILIES = ("schnet", "painn", "allegro", "spookynet", "nequip", "mace")
ELEMENTS = (1, 6, 8, 12, 14, 26, 29)


def potential(family="painn", dtype=torch.float64, **keys):
    """Random weights, large enough that every part of the network matters."""
    torch.manual_seed(0)
    made = build(CONFIGS[family](width=8, layers=1, cutoff=3.5, **keys), ELEMENTS, scale=2.0, dtype=dtype)
    for weights in made.network.parameters():
        weights.data += 0.1 * torch.randn_like(weights)
    return made


def model(*given, **keys):
    return torchsim.ChemscaleTorchSim(potential(*given, **keys), device="cpu")


def state_of(atoms, dtype=torch.float64):
    return ts.io.atoms_to_state(atoms, CPU, dtype)


def molecules():
    return [molecule("CH3CH2OH"), molecule("H2O"), molecule("C6H6")]


def crystals():
    found = [bulk("Cu", cubic=True), bulk("Si", cubic=True).repeat((2, 1, 1)), bulk("Fe")]
    for atoms in found:
        atoms.rattle(0.05, seed=1)
        atoms.positions += 7.0  # out of the cell
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_its_own_model_tests_pass(family):
    from torch_sim.models.interface import validate_model_outputs

    validate_model_outputs(model(family), CPU, torch.float64)


def test_its_own_model_tests_pass_in_float32():
    from torch_sim.models.interface import validate_model_outputs

    made = potential(dtype=torch.float32)
    given = torchsim.ChemscaleTorchSim(made, device="cpu", dtype=torch.float32)
    validate_model_outputs(given, CPU, torch.float32)
    assert given(state_of(molecules(), torch.float32))["forces"].dtype == torch.float32


@pytest.mark.parametrize("family", ["painn", "spookynet", "mace"])
@pytest.mark.parametrize("make", [molecules, crystals])
def test_a_batch_gets_what_the_calculator_gives_each(family, make):
    made, batch, start = potential(family), make(), 0
    found = torchsim.ChemscaleTorchSim(made, device="cpu")(state_of(batch))
    for number, atoms in enumerate(batch):
        atoms.calc = ChemscaleCalculator(made, device="cpu")
        assert float(found["energy"][number]) == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        forces = found["forces"][start : start + len(atoms)].numpy()
        start += len(atoms)
        assert np.abs(forces).max() > 1e-3 or len(atoms) == 1
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-10)
        if atoms.pbc.all():
            stress = atoms.get_stress(voigt=False)
            assert np.abs(stress).max() > 1e-5
            np.testing.assert_allclose(found["stress"][number].numpy(), stress, atol=1e-12)


def test_what_is_not_periodic_everywhere_has_no_stress():
    slab = fcc111("Cu", (1, 1, 3), vacuum=5.0)
    slab.calc = ChemscaleCalculator(potential(), device="cpu")
    with pytest.raises((NotImplementedError, PropertyNotImplementedError)):
        slab.get_stress()
    state = state_of(slab)
    state.pbc = torch.tensor([True, True, False])
    found = model()(state)
    assert found["stress"].shape == (1, 3, 3)
    assert found["stress"].isnan().all()
    assert float(found["energy"]) == pytest.approx(slab.get_potential_energy(), abs=1e-10)
    assert model()(state_of(molecules()))["stress"].isnan().all()


def test_energies_alone_come_without_forces_and_stress():
    given = model()
    given.compute_forces = given.compute_stress = False
    assert set(given(state_of(crystals()))) == {"energy"}


@dataclass
class Electrons:
    """A state that carries charges, as SimState does from TorchSim 0.6 on."""

    state: object
    charge: torch.Tensor | None = None
    spin: torch.Tensor | None = None
    total_charge: torch.Tensor | None = None

    def __getattr__(self, name):
        return getattr(self.state, name)


def test_the_charge_and_multiplicity_of_a_state_are_those_of_its_systems():
    pair = [molecule("CH3OH"), molecule("CH3OH")]
    state = Electrons(state_of(pair), torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0]))
    found = model("spookynet")(state)["energy"]
    pair[0].info.update(charge=1, spin=2)
    pair[1].info.update(charge=0, spin=1)
    calculator = ChemscaleCalculator(potential("spookynet"), device="cpu")
    expected = [calculator.get_potential_energy(atoms) for atoms in pair]
    assert abs(expected[0] - expected[1]) > 1e-6
    assert found.tolist() == pytest.approx(expected, abs=1e-10)
    fixed = torchsim.ChemscaleTorchSim(potential("spookynet"), device="cpu", charge=1, spin=2)
    assert float(fixed(state_of(pair))["energy"][0]) == pytest.approx(expected[0], abs=1e-10)


def test_a_charge_that_is_none_is_refused_by_the_number_of_its_system():
    pair = state_of([molecule("H2O"), molecule("CH3OH")])
    with pytest.raises(SourceError, match=r"System 1 .*charge"):
        model("spookynet")(Electrons(pair, torch.tensor([0.0, 0.5])))
    with pytest.raises(SourceError, match=r"System 0 .*charge"):
        model("spookynet")(Electrons(pair, torch.tensor([1.0, 0.0]), None, torch.tensor([0.0, 0.0])))


def test_what_is_no_structure_is_refused_by_its_number():
    state = state_of([molecule("H2O"), molecule("CH3OH")])
    state.positions[4, 1] = torch.nan
    with pytest.raises(SourceError, match="System 1 of the state: a coordinate is not finite"):
        model()(state)
    with pytest.raises(UnknownElementError, match="16"):
        model()(state_of(molecule("SH2")))


def test_electrostatics_of_molecules_has_no_stress_and_takes_no_crystal():
    given = model("spookynet", electrostatics=True)
    assert not given.compute_stress
    with pytest.raises(NotImplementedError, match="electrostatics"):
        given.compute_stress = True
    assert set(given(state_of(molecules()))) == {"energy", "forces"}
    with pytest.raises(BoundaryError):
        given(state_of(crystals()))


def test_another_precision_than_that_of_a_given_potential_is_refused():
    with pytest.raises(ValueError, match="float64"):
        torchsim.ChemscaleTorchSim(potential(), device="cpu", network_dtype=torch.float32)


def springs():
    """A potential on which atoms stay near where they are: random weights, mild."""
    torch.manual_seed(1)
    return build(CONFIGS["schnet"](width=8, layers=1, cutoff=4.0), ELEMENTS, scale=20.0, dtype=torch.float64)


def test_a_batch_relaxes_and_its_energy_is_kept_in_dynamics():
    given = torchsim.ChemscaleTorchSim(springs(), device="cpu")
    batch = [molecule("CH3CH2OH"), molecule("H2O")]
    before = given(state_of(batch))
    new = hasattr(ts, "Optimizer")
    relaxed = ts.optimize(
        batch, given, optimizer=ts.Optimizer.fire if new else ts.optimizers.fire, max_steps=40
    )
    assert (relaxed.energy < before["energy"] - 1e-2).all()
    moving = {"integrator": ts.Integrator.nve if new else ts.nve, "temperature": 300.0, "timestep": 0.0002}
    state = ts.integrate(batch, given, n_steps=1, **moving)
    start, first = total_energy(state), state.positions.clone()
    state = ts.integrate(state, given, n_steps=20, **moving)
    assert float((state.positions - first).abs().max()) > 1e-3
    assert float((total_energy(state) - start).abs().max()) < 1e-4


def total_energy(state):
    kinetic = ts.calc_kinetic_energy(masses=state.masses, momenta=state.momenta, system_idx=state.system_idx)
    return state.energy + kinetic
