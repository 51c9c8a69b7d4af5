"""The command simulates, goes on, and says in one paragraph what it refuses."""

import subprocess

import pytest
import torch
from ase.build import molecule
from ase.io import write

from chemscale.models.painn import PaiNNConfig
from chemscale.models.potentials import build, save_potential
from tests.helpers.preloaded import python


def run(folder, *arguments):
    command = [python(), "-m", "chemscale.simulate", "model", "water.xyz", "--out", "out", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_simulation_is_made_lengthened_and_refused_another_step(tmp_path):
    torch.manual_seed(0)
    save_potential(build(PaiNNConfig(width=8, layers=1), (1, 8)), tmp_path / "model")
    write(tmp_path / "water.xyz", molecule("H2O"))
    made = run(tmp_path, "--time", "10fs", "--every", "4")
    assert made.returncode == 0, made.stderr
    assert "all steps are done" in made.stdout
    assert "O0-H1" in made.stdout
    lengthened = run(tmp_path, "--time", "12fs", "--every", "4")
    assert "24 steps" in lengthened.stdout
    assert len((tmp_path / "out" / "log.csv").read_text().splitlines()) == 1 + 7
    other = run(tmp_path, "--time", "12fs", "--every", "4", "--timestep", "1fs")
    assert other.returncode == 2
    assert "holds another simulation" in other.stderr
    assert "Traceback" not in other.stderr
