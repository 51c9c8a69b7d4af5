"""A point begins from a trained model: its shape, vocabulary and weights, known by what they are."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.common.sections import ConfigurationError
from chemscale.models.adaptation.groups import AdaptationError
from chemscale.molecules.loading import load_trained
from chemscale.molecules.tokenizers.growing import grow
from chemscale.molecules.tokenizers.published import ChemGPTTokenizer
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer, TokenizerError
from chemscale.points.build import resolve_config
from chemscale.points.parents.language import LanguageParent
from chemscale.points.parents.parent import open_parent
from chemscale.points.run import fit, open_record, train_point
from chemscale.points.trained.export import export_model
from chemscale.records import RunRecord
from chemscale.training.signals import Interrupted
from tests.helpers.paths import real_data
from tests.helpers.points import point_in
from tests.helpers.sickness import losses

SHORT = ("budget.steps=6", "trainer.checkpoint_steps=3", "trainer.validate_every=6", "model.layers=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, smiles):
    """Molecules to learn from first, without chlorine, and the others."""
    made = tmp_path_factory.mktemp("parents")
    (made / "first.smi").write_text("".join(f"{s}\n" for s in smiles[:200] if "Cl" not in s))
    (made / "second.smi").write_text("".join(f"{s}\n" for s in smiles[150:300]))
    return made


@pytest.fixture(scope="module")
def parent(folder):
    """The directory of a model that is trained."""
    point = point_in(folder, folder / "first.smi", *SHORT)
    train_point(point, [])
    return point.directory


def begun(folder, parent, *more, runs=None):
    """A point that begins from it. What ``point_in`` says of the shape is the parent's."""
    own = (f"runs={runs}",) if runs else ()
    return point_in(folder, folder / "second.smi", *SHORT, f"model.from={parent}", *more, *own)


def composed(*overrides):
    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        return compose("train", [*overrides, "logger=none"])


def test_the_shape_and_the_weights_are_the_parents(folder, parent):
    point = begun(folder, parent)
    model, tokenizer = load_trained(parent, "cpu")
    assert point.corpus.tokenizer == tokenizer
    assert point.name.endswith("-tuned")
    started = point.build_module().model
    assert started.training
    assert started.config == model.config
    for ours, theirs in zip(started.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_shape_that_nobody_stated_is_taken_and_a_stated_one_refused(parent):
    taken = resolve_config(composed(f"model.from={parent}"))["model"]
    assert not {"width", "layers", "heads"} & taken.keys()
    words = [f"model.from={parent}", "model.width=64"]
    stated = resolve_config(composed(*words), words)
    assert stated["model"]["width"] == 64
    of_the_point = resolve_config(composed(*words), words[:1], words)
    assert of_the_point["model"]["width"] == 64


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("model.width=16",), r"model.width=16: .* has 8, and its weights fit no other shape"),
        (("model.freeze=blocks:0-7",), "model.freeze=blocks:0-7: .* numbered 0 to 1"),
        (("model.lora.alpha=3",), r"model.lora.rank=8"),
        (("model.lora.rank=2", "model.new_symbols=grow"), "new symbol.*model.lora.also=tokens"),
        (("model.new_symbols=grow", "model.freeze=tokens"), "Leave tokens out of model.freeze"),
        (("model.new_symbols=keep",), "model.new_symbols='keep': give drop or grow"),
        (("model.freeze=3",), "model.freeze=3"),
    ],
)
def test_what_contradicts_the_parent_is_refused_by_its_key(folder, parent, more, message):
    with pytest.raises((ConfigurationError, AdaptationError), match=message):
        begun(folder, parent, *more)


@pytest.mark.parametrize("more", ["model.freeze=blocks", "model.lora.rank=2", "model.new_symbols=grow"])
def test_what_means_nothing_without_a_parent_is_refused(folder, more):
    with pytest.raises(ConfigurationError, match=r"random weights.*model\.from"):
        point_in(folder, folder / "second.smi", *SHORT, more)


def test_what_is_no_trained_chemgpt_is_refused_with_its_path(folder, parent, tmp_path):
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(parent / "record.json", unfinished)
    potential = shutil.copytree(parent, tmp_path / "potential")
    record = json.loads((potential / "record.json").read_text())
    (potential / "record.json").write_text(json.dumps(record | {"family": "painn"}))
    damaged = shutil.copytree(parent / "model", tmp_path / "damaged")
    (damaged / "config.json").write_text('{"model_type": "gpt_neo"}')
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, message in {
        tmp_path / "nowhere": "no such run",
        unfinished: "not done",
        potential: "painn; only ChemGPTs",
        damaged: "config.json there is damaged",
        empty: "no config.json",
    }.items():
        with pytest.raises(ConfigurationError, match=rf"model\.from={path}: .*{message}"):
            open_parent(str(path), LanguageParent)


def test_the_identity_hashes_the_weights_and_not_the_path(folder, parent, tmp_path):
    here = begun(folder, parent)
    there = begun(folder, shutil.copytree(parent / "model", tmp_path / "model"))
    again = tmp_path / "exported"
    export_model(parent, again)
    assert here.identity == there.identity == begun(folder, again).identity
    assert here.identity != begun(folder, parent, "model.freeze=blocks").identity
    assert (
        begun(folder, parent, "model.freeze=blocks").identity
        == begun(folder, parent, "model.freeze=[blocks]").identity
    )
    fresh = point_in(folder, folder / "second.smi", *SHORT)
    assert {"from", "parent", "lora", "freeze", "new_symbols"}.isdisjoint(fresh.config["model"])


def test_other_weights_at_the_same_place_are_another_point_and_refused_within_one(folder, parent, tmp_path):
    model = shutil.copytree(parent / "model", tmp_path / "model")
    point = begun(folder, model)
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    weights["transformer.ln_f.bias"] += 1
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigurationError, match="other weights lie there"):
        point.build_module()
    assert begun(folder, model).identity != point.identity


def test_molecules_outside_the_vocabulary_are_counted_or_taken_in(folder, parent):
    dropped, grown = begun(folder, parent), begun(folder, parent, "model.new_symbols=grow")
    assert "hold symbols that its vocabulary lacks and are left out" in dropped.describe_parent()
    assert len(grown.data.train) > len(dropped.data.train)
    ours, theirs = grown.corpus.tokenizer.symbols, dropped.corpus.tokenizer.symbols
    assert ours[: len(theirs)] == theirs
    assert "[Cl]" in ours[len(theirs) :]
    started, whole = grown.build_module().model, load_trained(parent, "cpu")[0]
    rows = started.token_embedding.weight
    assert torch.equal(rows[: len(whole.token_embedding.weight)], whole.token_embedding.weight)
    assert "left out" not in grown.describe_parent()


def test_a_published_vocabulary_does_not_grow():
    published = ChemGPTTokenizer.load(real_data("chemgpt/pubchem10M_selfiesv2_tokenizer.tokenizer.json"))
    with pytest.raises(TokenizerError, match=r"published one.*model\.new_symbols=drop"):
        grow(published, SelfiesTokenizer.from_symbols(["[C]", "[C@@H1]"], stereo=True))


class Stop(pl.Callback):
    """Asks for a stop after a step."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("more", [("model.freeze=[embeddings,'blocks:0']",), ("model.lora.rank=2",)])
def test_a_run_that_is_stopped_goes_on_to_the_bit_and_its_model_is_an_ordinary_one(
    folder, parent, tmp_path, more
):
    ends = []
    for name in ("whole", "stopped"):
        point = begun(folder, parent, *more, runs=tmp_path / name)
        if name == "stopped":
            with pytest.raises(Interrupted):
                fit(point, open_record(point, []), extra=[Stop()])
            point = begun(folder, parent, *more, runs=tmp_path / name)
        train_point(point, [])
        ends.append(point.directory)
    whole, stopped = ends
    assert losses(whole) == losses(stopped)
    weights = [(end / "model" / "model.safetensors").read_bytes() for end in ends]
    assert weights[0] == weights[1] != (parent / "model" / "model.safetensors").read_bytes()
    export_model(stopped, tmp_path / "exported")
    assert (tmp_path / "exported" / "model.safetensors").read_bytes() == weights[0]


def test_the_record_names_the_parent_and_a_plan_says_what_is_trained(folder, parent, tmp_path):
    point = begun(folder, parent, "model.lora.rank=2", runs=tmp_path)
    record = open_record(point, [])
    again = RunRecord.load(point.directory)
    theirs = RunRecord.load(parent)
    assert record.parent == again.parent
    assert (again.parent["identity"], again.parent["name"]) == (theirs.identity, theirs.name)
    assert again.parent["weights_sha256"] == point.config["model"]["parent"]
    assert "parent" not in json.loads(Path(parent / "record.json").read_text())
    trained = again.parent["trained_parameters"]
    assert f"{trained:,} numbers are trained" in point.describe_parent()
    full = begun(folder, parent)
    assert point.memory().optimizer == 8 * trained
    assert point.memory().total < full.memory().total
    assert point.amount("flops") < full.amount("flops")
