"""Potentials, run for real: a sweep over data sizes, interruption, and the use of what was trained."""

import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import units
from ase.io import read, write
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from chemscale.models.potential import UnknownElementError
from chemscale.points.trained.prediction import predict_file
from chemscale.records import State, find_records
from chemscale.structures.calculator import ChemscaleCalculator
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.sources.starter import StarterFrames, write_starter
from tests.helpers.preloaded import python
from tests.helpers.runs import assert_same_run, finish, wait_for_step

SMALL = [
    "model.width=8",
    "model.layers=2",
    "trainer.accelerator=cpu",
    "trainer.log_every=4",
    "trainer.validate_every=20",
    "trainer.threads=1",
    "data.count=240",
    "data.validation_fraction=0.2",
    "logger=jsonl",
]


@pytest.fixture(scope="session")
def structures(tmp_path_factory) -> Path:
    """A folder with 240 starter frames, as the first run would make it."""
    folder = tmp_path_factory.mktemp("structures")
    write_starter(folder / "starter-240.npz", 240, workers=1)
    return folder


def command(structures: Path, *arguments: str) -> list[str]:
    return [python(), "-m", "chemscale.train", *SMALL, f"structures={structures}", *arguments]


def start(folder: Path, structures: Path, *arguments: str):
    return subprocess.Popen(
        command(structures, *arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, structures):
    folder = tmp_path_factory.mktemp("sweep")
    output = finish(
        start(folder, structures, "+sweep=painn_data", "data.frames=40,80,160", "budget.steps=60")
    )
    return folder, output


def test_a_data_sweep_ends_with_a_law_of_the_force_error(sweep):
    folder, output = sweep
    records = sorted((r for _, r in find_records(folder / "runs")), key=lambda r: r.data.unique_frames)
    assert [r.data.unique_frames for r in records] == [40, 80, 160]
    assert all(r.state is State.DONE for r in records)
    law = json.loads((folder / "runs" / "painn_data" / "law" / "law.json").read_text())
    assert (law["axis"], law["unit"]) == ("frames", "forces_mae")
    assert "α·x^(−β): α = " in output
    assert "F MAE, meV/Å" in output


def test_the_record_counts_frames_atoms_and_flops(sweep):
    folder, _ = sweep
    for _, record in find_records(folder / "runs"):
        assert record.data.frames == 60 * 8
        assert record.data.edges > record.data.atoms > record.data.frames
        assert record.data.tokens == 0
        assert record.parameters.capacity == 16
        assert record.compute.flops > 3 * record.compute.flops_6nd
        assert {"energy_mae", "energy_mae_per_atom", "forces_mae", "forces_rmse", "objective"} <= set(
            record.final.values
        )
        assert record.truth["atoms_per_second"] > 0


@pytest.mark.slow
def test_an_interrupted_potential_continues_to_the_same_numbers(tmp_path, structures):
    arguments = [
        "task=potential",
        "budget.steps=160",
        "batch.accumulate=2",
        "batch.frames=null",
        "batch.atoms=60",
    ]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    finish(start(whole, structures, *arguments))
    process = start(cut, structures, *arguments)
    wait_for_step(cut, 40)
    process.send_signal(signal.SIGTERM)
    finish(process, status=130)
    directory, record = next(find_records(cut / "runs"))
    assert record.state is State.PREEMPTED
    assert "continues at step" in finish(start(cut, structures, *arguments))
    first = next(find_records(whole / "runs"))[0]
    assert_same_run(first, directory)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, structures):
    """A SchNet that knows its molecules well enough to move them."""
    folder = tmp_path_factory.mktemp("trained")
    finish(
        start(folder, structures, "task=potential", "model=schnet", "model.width=16", "budget.steps=150",
              "data.test_fraction=0.1", "optimizer.lr=0.01")
    )  # fmt: skip
    return next(find_records(folder / "runs"))[0]


@pytest.fixture
def ethanol(structures):
    source = StarterFrames(structures / "starter-240.npz")
    block = next(b for b in source.blocks() if b.name == "CCO")
    from ase import Atoms

    return Atoms(block.numbers, block.positions[0])


def test_the_calculator_agrees_with_the_model_and_moves_atoms_downhill(trained, ethanol):
    ethanol.calc = ChemscaleCalculator(trained)
    start_energy = ethanol.get_potential_energy()
    assert ethanol.calc.results["energies"].sum() == pytest.approx(start_energy)
    assert ethanol.get_forces().shape == (9, 3)
    assert np.abs(ethanol.get_forces().sum(0)).max() < 1e-6
    BFGS(ethanol, logfile=None).run(fmax=0.05, steps=200)
    assert np.abs(ethanol.get_forces()).max() < 0.06
    assert ethanol.get_potential_energy() < start_energy


def test_energy_is_conserved_in_nve_dynamics(trained, ethanol):
    ethanol.calc = ChemscaleCalculator(trained, dtype=torch.float64)
    BFGS(ethanol, logfile=None).run(fmax=0.05, steps=100)
    MaxwellBoltzmannDistribution(ethanol, temperature_K=300, rng=np.random.default_rng(0))
    drift = {}
    for step in (0.5, 0.25):
        atoms = ethanol.copy()
        atoms.set_momenta(ethanol.get_momenta())
        atoms.calc = ethanol.calc
        dynamics = VelocityVerlet(atoms, step * units.fs)
        totals = []
        dynamics.attach(lambda atoms=atoms, totals=totals: totals.append(atoms.get_total_energy()))
        dynamics.run(int(100 / step))
        drift[step] = float(np.std(totals))
    assert drift[0.5] < 2e-3
    assert drift[0.25] < 0.4 * drift[0.5]  # second order: a quarter, were the forces exact


def test_an_element_that_was_never_seen_is_refused(trained, ethanol):
    ethanol.numbers[0] = 14
    ethanol.calc = ChemscaleCalculator(trained)
    with pytest.raises(UnknownElementError, match=r"Z = \[14\] are not known"):
        ethanol.get_potential_energy()


def test_a_file_that_cannot_be_predicted_leaves_nothing_behind(trained, ethanol, tmp_path):
    stranger = ethanol.copy()
    stranger.numbers[0] = 14
    write(tmp_path / "in.extxyz", [ethanol, stranger])
    with pytest.raises(UnknownElementError, match=r"Z = \[14\] are not known"):
        predict_file(trained, tmp_path / "in.extxyz", tmp_path / "out.extxyz", batch=1)
    assert [p.name for p in tmp_path.iterdir()] == ["in.extxyz"]


def test_the_test_part_is_evaluated_and_the_result_kept(trained, structures):
    done = subprocess.run(
        [python(), "-m", "chemscale.evaluate", str(trained), "--part", "test"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "forces_mae" in done.stdout
    kept = json.loads((trained / "evaluation-test.json").read_text())
    assert kept["frames"] > 0
    assert kept["labels"]["force_components"] > 0
    assert kept["values"]["forces_mae"] < 2000


def test_files_are_predicted_in_batches_and_nothing_is_overwritten(trained, structures, tmp_path):
    store = build_store(
        StarterFrames(structures / "starter-240.npz"), tmp_path / "store", SplitPolicy(validation=0.2)
    )
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for number in range(5):
        s = store.structure(number)
        atoms = Atoms(s.numbers, s.positions)
        atoms.calc = SinglePointCalculator(atoms, energy=s.energy, forces=s.forces)
        frames.append(atoms)
    write(tmp_path / "in.extxyz", frames)
    run = [
        python(),
        "-m",
        "chemscale.predict",
        str(trained),
        "in.extxyz",
        "--out",
        "out.extxyz",
        "--batch",
        "2",
    ]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "5 structures" in done.stdout
    assert "against 5 labels" in done.stdout
    predicted = read(tmp_path / "out.extxyz", ":")
    calculator = ChemscaleCalculator(trained)
    for atoms, again in zip(frames, predicted, strict=True):
        alone = atoms.copy()
        alone.calc = calculator
        assert again.get_potential_energy() == pytest.approx(alone.get_potential_energy(), abs=1e-3)
        np.testing.assert_allclose(again.get_forces(), alone.get_forces(), atol=1e-4)
    again = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "out.extxyz exists" in again.stderr
