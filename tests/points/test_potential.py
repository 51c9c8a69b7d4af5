"""What a potential cannot learn from its data is refused before neighbours are found."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from hydra import compose, initialize_config_dir

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.points.build import read_point
from chemscale.points.cost import estimate
from chemscale.points.estimates.advice import describe_precision
from chemscale.points.uncertainty.chosen import ChosenFrames
from tests.helpers.structures import toy_blocks

SMALL = ("model.width=4", "model.layers=1", "batch.frames=4", "budget.steps=2", "logger=none", "lint=off")


def frame(numbers, positions, energy, forces, **info):
    atoms = Atoms(numbers, positions, info={"REF_energy": energy, **info})
    atoms.arrays["REF_forces"] = forces
    return atoms


def molecules(**info):
    return [
        frame(block.numbers, *labels, **info)
        for block in toy_blocks(10)
        for labels in zip(block.positions, block.energies, block.forces, strict=True)
    ]


def lone(symbol, energy, **info):
    return frame(symbol, [(0, 0, 0)], energy, np.zeros((1, 3)), **info)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads the point that a command line describes, on frames that are written first."""
    monkeypatch.chdir(tmp_path)

    def read_frames(frames, *overrides):
        write("frames.extxyz", frames)
        typed = ["task=potential", "data=structures", "data.path=frames.extxyz", *SMALL, *overrides]
        with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
            return read_point(compose("train", typed), typed)

    return read_frames


def test_several_charges_of_one_molecule_need_a_network_that_knows_them(read, tmp_path):
    frames = [*molecules(charge=0, spin=1), *molecules(charge=1, spin=2)]
    with pytest.raises(ValueError, match=r"painn knows no charge.*\+1 .*Use model=spookynet"):
        read(frames, "model=painn", "data.references=minimum_norm")
    assert not list(tmp_path.glob("structures/*/edges*"))
    point = read(frames, "model=spookynet", "data.references=minimum_norm")
    assert point.origin["data"]["electrons"] == [[0, 1], [1, 2]]


def test_electrostatics_of_molecules_are_refused_for_crystals(read, tmp_path):
    crystals = [atoms.copy() for atoms in molecules()]
    for atoms in crystals:
        atoms.set_cell([6, 6, 6])
        atoms.pbc = True
    typed = ("model=spookynet", "model.electrostatics=true", "data.references=minimum_norm")
    with pytest.raises(
        ValueError, match=r"model\.electrostatics=true is for molecules .* 20 of 40 frames are"
    ):
        read([*molecules(), *crystals], *typed)
    assert not list(tmp_path.glob("structures/*/edges*"))
    assert read(molecules(), *typed).model.electrostatics


def test_crystals_that_are_not_selected_do_not_matter_and_those_that_are_do(read):
    crystals = [atoms.copy() for atoms in molecules()]
    for atoms in crystals:
        atoms.set_cell([6, 6, 6])
        atoms.pbc = True
    held = [atoms.copy() for atoms in molecules()[::4]]
    for atoms in held:
        atoms.positions *= 1.01
    write("held.extxyz", held)
    of_both = ([*molecules(), *crystals], "data.validation_path=held.extxyz", "data.references=minimum_norm")
    store = read(*of_both, "model=painn").store
    is_crystal = store.is_periodic(store.part("train"))
    typed = ("model=spookynet", "model.electrostatics=true", "data.selection=chosen.json")
    ChosenFrames(store.hash, tuple(np.flatnonzero(~is_crystal).tolist())).save(Path("chosen.json"))
    assert len(read(*of_both, *typed).data.train) == 20
    late = np.concatenate([np.flatnonzero(~is_crystal), np.flatnonzero(is_crystal)[-1:]])
    ChosenFrames(store.hash, tuple(late.tolist())).save(Path("chosen.json"))
    with pytest.raises(ValueError, match=r"is for molecules in vacuum, but 1 of "):
        read(*of_both, *typed)
    assert len(read(*of_both, *typed, "data.frames=20").data.train) == 20


def test_the_plan_says_where_reference_energies_come_from(read):
    atoms = [
        lone(symbol, e, config_type="IsolatedAtom")
        for symbol, e in (("H", -13.6), ("C", -1036), ("O", -2046))
    ]
    point = read([*atoms, *molecules()], "model=painn")
    assert point.statistics.references == (-13.6, -1036.0, -2046.0)
    assert "Reference energies of H, C, O: isolated atoms of the data." in point.describe_data()


@pytest.mark.parametrize("given", ["{H: -13.6, C: -1036, O: -2046}", "{1: -13.6, 6: -1036, 8: -2046}"])
def test_energies_of_atoms_are_given_by_symbol_or_number(read, given):
    point = read(molecules(), "model=painn", f"data.references={given}")
    assert point.statistics.references == (-13.6, -1036.0, -2046.0)


@pytest.mark.parametrize("given", ["{H: -13.6, C: null}", "{H: -13.6, C: nan}", "isolatedatoms"])
def test_what_is_no_energy_is_refused_before_data_are_prepared(read, tmp_path, given):
    with pytest.raises(ValueError, match=r"data\.references"):
        read(molecules(), "model=painn", f"data.references={given}")
    assert not (tmp_path / "structures").exists()


def test_flops_are_counted_on_frames_that_have_neighbours(read):
    ions = [lone("O", -2000.0, charge=1) for _ in range(200)]
    for number, ion in enumerate(ions):
        ion.positions += number
    point = read([*molecules(), *ions], "model=painn", "data.references=minimum_norm")
    assert point.store.sizes[point.data.train[:2]].tolist() == [1, 1]
    assert np.isfinite(point.amount("flops"))
    with pytest.raises(ValueError, match=r"model\.cutoff=0\.1: no training frame of .* has atoms this near"):
        read(molecules(), "model=painn", "model.cutoff=0.1", "data.references=minimum_norm")


# --- what the plan says of a GPU ---

JOB = ("launcher=slurm", "launcher.gpu=h100", "data.references=minimum_norm")


def test_the_time_of_a_job_is_estimated_by_what_a_step_launches_whatever_its_frames(read):
    few, many = (read(molecules(), "model=painn", *JOB, f"batch.frames={n}") for n in (2, 16))
    small, large = few.work(), many.work()
    assert small.operations == large.operations > 200
    assert large.moved > 4 * small.moved
    assert large.flops > 4 * small.flops
    plan = estimate(few)
    assert plan.seconds == pytest.approx(few.steps * (4.5e-3 + 6e-6 * small.operations), rel=0.01)


def test_a_gpu_needs_memory_for_an_outer_product_that_a_cpu_makes_in_parts(read):
    shape = ("model=allegro", "model.l_max=2", "model.width=16", "batch.frames=32")
    on_gpu = read(molecules(), *shape, *JOB)
    on_cpu = read(molecules(), *shape, *JOB, "trainer.accelerator=cpu")
    assert on_gpu.memory().activations > 1.005 * on_cpu.memory().activations


def test_float32_of_a_potential_is_left_for_tf32(read):
    (line,) = describe_precision([read(molecules(), "model=painn", *JOB)], [])
    assert "67 TFLOP/s, 494 with tf32" in line
    assert "tried on the forces" in line
