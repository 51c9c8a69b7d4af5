"""A card holds what is known of a model, and nothing else."""

import json
import math
import shutil

import pytest
import yaml

from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer
from chemscale.points.run import train_point
from chemscale.points.trained.card import CardSettings, Described, front_matter, write_card
from chemscale.points.trained.export import ExportError, export
from tests.helpers.points import point_in, potential_in

LAW = {
    "kind": "axis",
    "axis": "N",
    "unit": "nats_per_token",
    "formula": "a·N^-b",
    "parameters": {"a": 2.5, "b": 0.125},
    "intervals": {"a": [2.0, 3.0], "b": [0.1, None]},
    "level": 0.9,
    "data": {"points": [{}, {}, {}]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory, smiles):
    """A run with checkpoints of two steps, a law beside it and what was found out about it later."""
    folder = tmp_path_factory.mktemp("card")
    (folder / "molecules.smi").write_text("\n".join(smiles[:80]))
    few = ("budget.steps=4", "trainer.checkpoint_steps=2", "trainer.validate_every=2")
    point = point_in(folder, folder / "molecules.smi", *few)
    train_point(point, [])
    law = point.directory.parent / "law"
    law.mkdir()
    (law / "law.json").write_text(json.dumps(LAW))
    (point.directory / "probe-bbbp.json").write_text(json.dumps({"roc_auc": 0.75, "seeds": {"spread": 0.5}}))
    return point.directory


def card_of(folder):
    text = (folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_tells_data_training_law_losses_and_metrics(run, tmp_path):
    export(run, tmp_path / "out", license="mit", datasets=("me/molecules",), check=False)
    front, body = card_of(tmp_path / "out")
    record = json.loads((run / "record.json").read_text())
    assert front["license"] == "mit"
    assert front["datasets"] == ["me/molecules"]
    assert {"chemistry", "selfies"} <= set(front["tags"])
    assert front["pipeline_tag"] == "text-generation"
    (result,) = front["model-index"][0]["results"]
    assert {m["type"]: m["value"] for m in result["metrics"]} == record["final"]["values"]
    counts = json.loads(next(run.parents[2].glob("corpora/*/manifest.json")).read_text())["counts"]
    for text in (
        f"| training molecules | {counts['train']:,} |",
        f"`{record['data_hash']}`",
        "| steps | 4 of 4 |",
        "`a·N^-b` with a = 2.5 (2 to 3, 90%), b = 0.125 (0.1 to ∞, 90%)",
        "3 runs of the sweep",
        f"| nats per token | {record['final']['values']['nats_per_token']:.4g} |",
        "| roc_auc | 0.75 |",
        "| seeds spread | 0.5 |",
        "doi     = {10.1038/s42256-023-00740-3}",
    ):
        assert text in body


def test_the_card_is_one_that_the_hub_reads(run, tmp_path):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is an optional dependency")
    export(run, tmp_path / "out", check=False)
    card = hub.ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "unknown"
    assert card.data.eval_results[0].metric_type == "nats_per_token"


def test_an_earlier_step_has_its_own_numbers(run, tmp_path):
    export(run, tmp_path / "out", step=2, check=False)
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (row,) = [row for row in rows if (row["kind"], row["step"]) == ("validation", 2)]
    assert facts["losses"]["values"]["nats_per_token"] == row["nats_per_token"]
    assert set(facts["losses"]["values"]) == {"nats_per_token", "nats_per_molecule", "nats_per_heavy_atom"}
    assert facts["training"]["seen"]["tokens"] == row["tokens"]
    assert "| steps | 2 of 4 |" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("form", ["hf", "gpt2"])
def test_nothing_that_leaves_names_a_place_on_this_machine(run, tmp_path, form):
    export(run, tmp_path / "out", form=form, check=False)
    for path in (tmp_path / "out").iterdir():
        assert str(run.parents[2]).encode() not in path.read_bytes(), path.name
        assert path.stat().st_mode & 0o777 == (tmp_path / "out" / "README.md").stat().st_mode & 0o777


def test_a_folder_that_was_exported_is_exported_again_with_all_that_is_known(run, tmp_path):
    export(run, tmp_path / "first", check=False)
    done = export(tmp_path / "first", tmp_path / "second", form="gpt2", check=False)
    assert done.step is None
    assert "| steps | 4 of 4 |" in (tmp_path / "second" / "README.md").read_text()
    export(run / "model", tmp_path / "third", check=False)
    assert (tmp_path / "third" / "README.md").read_text() == (tmp_path / "first" / "README.md").read_text()


def test_a_run_whose_checkpoints_are_gone_still_has_its_model(run, tmp_path):
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    export(tmp_path / "run", tmp_path / "out", check=False)
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert weights == (run / "model" / "model.safetensors").read_bytes()
    with pytest.raises(ExportError, match="does not have a whole checkpoint of step 2"):
        export(tmp_path / "run", tmp_path / "other", step=2, check=False)


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def cut_short(folder):
    weights = folder / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-100])


def another_vocabulary(folder):
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"[Cl]"', '"[At]"'))


def a_gpt2(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without_weights, "no model.safetensors there"),
        (cut_short, "damaged or not a model"),
        (another_vocabulary, "is not the one that these weights were trained with"),
        (a_gpt2, "for other programs: give the run"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_and_nothing_is_left(run, tmp_path, damage, words):
    shutil.copytree(run / "model", tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(ValueError, match=words):
        export(tmp_path / "model", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_a_folder_whose_provenance_is_gone_is_exported_with_what_is_left(run, tmp_path, content):
    shutil.copytree(run / "model", tmp_path / "model")
    (tmp_path / "model" / "generation_config.json").unlink()
    if content:
        (tmp_path / "model" / "provenance.json").write_text(content)
    export(tmp_path / "model", tmp_path / "out", form="gpt2", check=False)
    _, body = card_of(tmp_path / "out")
    assert body.count("Not recorded in the folder that this was exported from.") == 2


def test_a_place_that_is_no_folder_is_refused(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="no folder can be made there"):
        export(run, tmp_path / "file" / "out")


def test_a_loss_that_is_no_number_is_said_and_never_a_zero(tmp_path):
    tokenizer = SelfiesTokenizer.from_symbols(["[C]", "[O]"], stereo=False)
    losses = {"step": 3, "values": {"nats_per_token": None, "nats_per_molecule": 2.0}}
    what = Described("odd", "hf", {"losses": losses}, tokenizer, 16)
    front = front_matter(what, CardSettings())
    assert [m["type"] for m in front["model-index"][0]["results"][0]["metrics"]] == ["nats_per_molecule"]
    write_card(tmp_path, what, CardSettings())
    _, body = card_of(tmp_path)
    assert "| nats per token | not a number |" in body
    assert not math.isnan(front["model-index"][0]["results"][0]["metrics"][0]["value"])


def test_a_potential_has_a_card_and_no_other_form(tmp_path):
    point = potential_in(tmp_path, "budget.steps=2", "trainer.validate_every=2")
    train_point(point, [])
    done = export(point.directory, tmp_path / "out")
    front, body = card_of(tmp_path / "out")
    assert front["library_name"] == "chemscale"
    assert "interatomic-potential" in front["tags"]
    assert "ChemscaleCalculator" in body
    assert done.difference is None
    assert "dispersion" not in body
    record = json.loads((point.directory / "record.json").read_text())
    record["config"]["data"]["subtract"] = {"method": "d3bj", "functional": "pbe"}
    (point.directory / "record.json").write_text(json.dumps(record))
    export(point.directory, tmp_path / "less")
    assert "dispersion was subtracted (d3bj of pbe)" in card_of(tmp_path / "less")[1]
    with pytest.raises(ExportError, match=r"--as onnx is for ChemGPTs|ONNX needs"):
        export(point.directory, tmp_path / "other", form="onnx")
    assert not (tmp_path / "other").exists()
