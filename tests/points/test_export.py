"""A model is exported with the vocabulary that it was trained with, whatever the data are now."""

import json
import shutil

import pytest

from chemscale.molecules.loading import load_trained
from chemscale.points.base import DESCRIPTION, DescriptionError
from chemscale.points.run import train_point
from chemscale.points.trained.export import ExportError, export_model
from tests.helpers.points import point_in

FEW = ("budget.steps=2", "trainer.checkpoint_steps=2", "trainer.validate_every=2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, smiles):
    """A run on molecules with a chlorine, whose file has a bromine in its place by now."""
    folder = tmp_path_factory.mktemp("export")
    data = folder / "molecules.smi"
    data.write_text("\n".join([*smiles[:80], "CCCl"]))
    point = point_in(folder, data, *FEW)
    train_point(point, [])
    data.write_text("\n".join([*(s for s in smiles[:80] if "I" not in s), "CCI"]))
    return point.directory


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def test_a_run_is_exported_with_its_own_vocabulary_after_the_data_changed(run, tmp_path):
    export_model(run, tmp_path / "out")
    model, tokenizer = load_trained(tmp_path / "out", "cpu")
    assert tokenizer == load_trained(run, "cpu")[1]
    assert "[Cl]" in tokenizer.symbols
    assert model.config.vocab_size == tokenizer.vocab_size


def test_a_run_is_exported_where_the_data_are_not(run, tmp_path, monkeypatch):
    config = json.loads((run / "record.json").read_text())
    config["config"] |= {"corpora": "/nowhere/corpora"}
    config["config"]["data"] |= {"path": "/nowhere/molecules.smi"}
    (run / "record.json").write_text(json.dumps(config))
    export_model(run, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        run / "model" / "model.safetensors"
    ).read_bytes()


def test_the_vocabulary_of_another_run_is_refused(run, tmp_path):
    description = run / DESCRIPTION
    tokens = (description / "tokenizer.json").read_text()
    (description / "tokenizer.json").write_text(tokens.replace('"[Cl]"', '"[Br]"').replace('"[I]"', '"[Cl]"'))
    with pytest.raises(DescriptionError, match="not the one"):
        export_model(run, tmp_path / "out")
    belongs = json.loads((description / "belongs.json").read_text())
    (description / "belongs.json").write_text(json.dumps(belongs | {"data_hash": "f" * 64}))
    with pytest.raises(DescriptionError, match="other data"):
        export_model(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_molecules_in_the_file_are_another_run(trained):
    point = point_in(trained.parents[2], trained.parents[2] / "molecules.smi", *FEW)
    assert point.directory.parent == trained.parent
    assert point.directory != trained


def test_weights_that_are_not_finite_are_not_exported(run, tmp_path, monkeypatch):
    def load(module, checkpoint):
        next(module.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr("chemscale.points.trained.checkpoint.load_weights", load)
    with pytest.raises(ExportError, match=r"step 2: model\.\S+ is not finite.*earlier --step"):
        export_model(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
