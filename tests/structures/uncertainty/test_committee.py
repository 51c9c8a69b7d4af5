"""Seeds of a sweep as one potential, and what is refused as no committee."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk, molecule
from ase.md.verlet import VelocityVerlet

from chemscale.models.painn import PaiNNConfig
from chemscale.models.potentials import build, load_potential, save_potential
from chemscale.records import Parameters, RecordError, RunRecord, State
from chemscale.structures.calculator import ChemscaleCalculator, structure_of
from chemscale.structures.graphs import collate
from chemscale.structures.uncertainty.committee import Committee, CommitteeError
from chemscale.structures.uncertainty.members import find_members, is_sweep
from chemscale.structures.uncertainty.prediction import largest_force_std

CONFIG = PaiNNConfig(width=8, layers=1, cutoff=4.0)


def made(seed: int, config=CONFIG, elements=(1, 6, 8, 29)):
    torch.manual_seed(seed)
    potential = build(config, elements, dtype=torch.float64)
    for weights in potential.network.parameters():
        weights.data += 0.2 * torch.randn_like(weights)
    return potential


def run(sweep: Path, seed: int, *, state=State.DONE, data_hash="abc", name="painn-w8-l1", **model):
    """A finished run of a seed, as training leaves it."""
    config = {
        "seed": seed,
        "model": {"family": "painn", "width": 8, **model},
        "data": {"source": "structures", "path": f"copy{seed}.xyz", "frames": None},
        "optimizer": {"lr": 0.001},
        "loss": {"forces": 10.0},
    }
    folder = sweep / f"{seed:02d}{data_hash}{name}"
    record = RunRecord(
        identity=folder.name,
        sweep=sweep.name,
        family="painn",
        name=name,
        config=config,
        versions={},
        git_revision=None,
        data_hash=data_hash,
        seed=seed,
        parameters=Parameters(1, 1, 1, 1),
        state=state,
    )
    folder.mkdir(parents=True)
    record.save(folder)
    save_potential(made(seed), folder / "model", {"data": {"level": "toy"}})
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for seed in range(3):
        run(tmp_path / "seeds", seed)
    return tmp_path / "seeds"


def test_the_calculator_of_a_sweep_gives_means_and_sample_deviations(sweep: Path):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    members = []
    for folder in sorted(sweep.iterdir()):
        each = atoms.copy()
        each.calc = ChemscaleCalculator(folder, device="cpu")
        members.append((each.get_potential_energy(), each.get_forces(), each.get_stress()))
    atoms.calc = ChemscaleCalculator(sweep, committee=True, device="cpu")
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    results["stress"] = atoms.get_stress()
    for key, values in zip(("energy", "forces", "stress"), zip(*members, strict=True), strict=True):
        stacked = np.array(values)
        assert np.allclose(results[key], stacked.mean(0), atol=1e-10)
        assert np.allclose(atoms.calc.results[f"{key}_std"], stacked.std(0, ddof=1), atol=1e-10)
    assert atoms.calc.results["forces_std"].shape == (4, 3)
    assert atoms.calc.results["stress_std"].shape == (6,)


def test_a_committee_conserves_energy(sweep: Path):
    atoms = molecule("CH3OH")
    atoms.calc = ChemscaleCalculator(f"{sweep}/painn*", committee=True, device="cpu")
    dynamics = VelocityVerlet(atoms, 0.2 * units.fs)
    before = atoms.get_total_energy()
    dynamics.run(20)
    assert abs(atoms.get_kinetic_energy()) > 1e-4
    assert atoms.get_total_energy() == pytest.approx(before, abs=2e-2 * atoms.get_kinetic_energy())


def test_a_list_of_runs_is_a_committee_and_a_batch_is_its_members(sweep: Path):
    folders = sorted(sweep.iterdir())[:2]
    committee = find_members(folders).load()
    names = ("CH3OH", "H2O")
    alone = [collate([structure_of(molecule(name)).with_neighbours(4.0)]) for name in names]
    both = committee(collate([structure_of(molecule(name)).with_neighbours(4.0) for name in names]))
    separate = [committee(each) for each in alone]
    assert torch.allclose(both.energy_std, torch.cat([each.energy_std for each in separate]))
    assert torch.allclose(both.forces_std, torch.cat([each.forces_std for each in separate]), atol=1e-10)
    worst = largest_force_std(both.forces_std, torch.tensor([0, 6, 9]))
    assert worst[1] == pytest.approx(float(torch.linalg.vector_norm(both.forces_std[6:], dim=1).max()))
    atoms = molecule("H2O")
    atoms.calc = ChemscaleCalculator(committee=[str(f) for f in folders], device="cpu")
    atoms.get_potential_energy()
    assert atoms.calc.results["energy_std"] == pytest.approx(float(both.energy_std[1]), rel=1e-6)


def test_points_that_differ_in_more_than_their_seed_are_refused_by_the_key(sweep: Path):
    run(sweep, 7, width=16, name="painn-w16-l1")
    with pytest.raises(CommitteeError, match=r"model\.width: 16, 8"):
        find_members(sweep)
    assert len(find_members(sweep / "painn-w8-l1").folders) == 3
    assert len(find_members(sweep / "painn-w8*").folders) == 3
    assert is_sweep(sweep)
    assert is_sweep(sweep / "painn-w8-l1")
    assert not is_sweep(sweep / "painn-w16-l1")
    assert not is_sweep(next(iter(sweep.iterdir())))


def test_other_data_and_a_seed_twice_are_refused(sweep: Path):
    run(sweep, 5, data_hash="def")
    with pytest.raises(CommitteeError, match="data: abc, def"):
        find_members(sweep)
    again = sweep.parent / "again"
    folder = run(again, 0)
    run(again, 1)
    copied = json.loads((folder / "record.json").read_text())
    other = again / "copy"
    other.mkdir()
    (other / "record.json").write_text(json.dumps(copied))
    save_potential(made(0), other / "model")
    with pytest.raises(CommitteeError, match="same seed"):
        find_members(again)


def test_runs_that_are_not_done_are_left_out_and_said(sweep: Path, caplog: pytest.LogCaptureFixture):
    run(sweep, 9, state=State.FAILED)
    assert len(find_members(sweep).folders) == 3
    assert "3 of 4 runs are finished" in caplog.text


def test_one_run_nothing_and_the_same_run_twice_are_no_committee(sweep: Path, tmp_path: Path):
    first = sorted(sweep.iterdir())[0]
    with pytest.raises(CommitteeError, match="is one run"):
        find_members(first)
    with pytest.raises(CommitteeError, match="0 finished potentials of 0 runs"):
        find_members(tmp_path / "nowhere" / "painn")
    with pytest.raises(CommitteeError, match="twice"):
        find_members([first, first / "model" / ".."])
    with pytest.raises(CommitteeError, match="two members or more"):
        find_members([first]).load()
    with pytest.raises(ValueError, match="committee=True with the folder"):
        ChemscaleCalculator(committee=str(sweep))
    with pytest.raises(ValueError, match="Give a model"):
        ChemscaleCalculator()
    with pytest.raises(RecordError):
        find_members([sweep / "nothing", first])


def test_members_of_other_elements_cutoffs_or_levels_are_refused():
    for other, what in (
        (made(1, elements=(1, 8)), "elements"),
        (made(1, dataclasses.replace(CONFIG, cutoff=5.0)), "cutoff"),
        (made(1).float(), "precision"),
    ):
        with pytest.raises(CommitteeError, match=what):
            Committee([made(0), other])
    without = made(1)
    without.header["data"] = {"subtract": {"method": "d3bj", "functional": "pbe", "three_body": False}}
    with pytest.raises(CommitteeError, match=r"data\.subtract\).*d3bj.*has None"):
        Committee([made(0), without])
    one, other = made(0), made(1)
    one.header["data"], other.header["data"] = {"level": "PBE"}, {"level": "GFN2-xTB"}
    with pytest.raises(CommitteeError, match="level of theory GFN2-xTB"):
        Committee([one, other])
    with pytest.raises(CommitteeError, match="twice"):
        Committee([one, one])


def test_factors_multiply_the_deviations_and_nothing_else(sweep: Path):
    batch = collate([structure_of(molecule("H2O")).with_neighbours(4.0)])
    members = find_members(sweep)
    plain, scaled = members.load()(batch), members.load(energy_factor=2.0, forces_factor=3.0)(batch)
    assert torch.equal(plain.energy, scaled.energy)
    assert torch.allclose(2 * plain.energy_std, scaled.energy_std)
    assert torch.allclose(3 * plain.forces_std, scaled.forces_std)
    assert load_potential(members.folders[0]).dtype == torch.float64
