"""Input that cannot be trained on is refused before anything is spent, and the message names the key."""

import os
import subprocess
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from chemscale.points.build import read_point
from chemscale.points.cost import plan_points
from chemscale.structures.sources.starter import write_starter
from tests.helpers.paths import ROOT
from tests.helpers.preloaded import python

CONF = ROOT / "conf"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads the point of a command line, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def read_overrides(*overrides: str):
        with initialize_config_dir(str(CONF), version_base=None):
            return read_point(compose("train", list(overrides)), overrides)

    return read_overrides


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corpora")


@pytest.fixture(scope="module")
def structures(tmp_path_factory) -> Path:
    """60 starter frames where the first run would have made them."""
    folder = tmp_path_factory.mktemp("structures")
    write_starter(folder / "starter-60.npz", 60, workers=1)
    return folder


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.width=30"], r"model\.width=30 cannot be shared"),
        (["batch.tokens=100"], r"batch\.tokens=100 must be a multiple"),
        (["data.molecules=100000"], r"data\.molecules=100000"),
        (["optimizer.lr=-1"], r"optimizer\.lr=-1"),
        (["schedule=plateau"], "schedule=plateau is for potentials"),
        (["sweep_name=../x"], r"sweep_name=\.\./x: its points would not lie below runs=runs"),
        (["~schedule"], "schedule is missing"),
    ],
)
def test_what_a_language_model_cannot_use_is_named(read, corpora, smiles_file, overrides, message):
    data = ["data=smiles", f"data.path={smiles_file}", "data.block=256", "data.prepare_workers=1"]
    with pytest.raises(ValueError, match=message):
        read(*data, f"corpora={corpora}", *overrides)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=painn"], "add task=potential"),
        (["task=potential", "+model.heads=4"], r"model\.heads: the chosen model has no such key"),
        (["task=potential", "batch.frames=null", "batch.atoms=5"], r"the largest structure has \d+ atoms"),
        (["task=potential", "data.frames=3"], r"Set data\.references=minimum_norm"),
        (["task=potential", "data.frames=1000"], r"has \d+ training frames"),
        (["task=potential", "lint=maybe"], "give warn, strict or off"),
    ],
)
def test_what_a_potential_cannot_use_is_named(read, structures, overrides, message):
    with pytest.raises(ValueError, match=message):
        read("data=starter_structures", "data.count=60", *overrides, f"structures={structures}")
    assert not Path("runs").exists()


def test_a_folder_that_takes_no_runs_is_refused_before_data_are_prepared(tmp_path, smiles_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("train", ["data=smiles", f"data.path={smiles_file}", "runs=file/runs"])
    with pytest.raises(ValueError, match=r"runs=file/runs: nothing can be written in .*file"):
        plan_points([config], [[]], [])
    assert not Path("corpora").exists()


def test_a_key_that_is_taken_out_has_the_value_that_its_section_gives_it(read, corpora, smiles_file):
    data = ["data=smiles", f"data.path={smiles_file}", "data.block=256", "data.prepare_workers=1"]
    data += [f"corpora={corpora}", "batch.tokens=512", "model.width=16"]
    point = read(*data, "~trainer.precision", "~trainer.clip", "~runs")
    assert point.precision == "32"
    assert point.directory.parent == Path("runs/single")


def test_the_command_line_says_it_in_one_paragraph(tmp_path, smiles_file):
    command = [python(), "-m", "chemscale.train", "model.nonsense=1", "data=smiles"]
    done = subprocess.run(
        [*command, f"data.path={smiles_file}"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "runs").exists()
