"""A potential begins from a trained one: shape, elements, scale and weights; a part of it is trained."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.common.sections import ConfigurationError
from chemscale.models.adaptation.groups import AdaptationError
from chemscale.models.potentials import load_potential
from chemscale.points.build import resolve_config
from chemscale.points.run import fit, open_record, train_point
from chemscale.points.trained.export import export_model
from chemscale.points.uncertainty.chosen import ChosenFrames
from chemscale.records import RunRecord
from chemscale.structures.calculator import ChemscaleCalculator
from chemscale.training.signals import Interrupted
from tests.helpers.levels import toy_file, toy_frames
from tests.helpers.points import potential_in
from tests.helpers.sickness import losses

SHORT = ("budget.steps=6", "trainer.checkpoint_steps=3", "trainer.validate_every=6", "model.layers=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tuned")
    toy_file(made / "new.extxyz", offsets={1: 0.5, 8: 3.0}, seed=9)
    toy_file(made / "ammonia.extxyz", ammonia=True, seed=9)
    return made


@pytest.fixture(scope="module")
def parent(folder):
    """The directory of a potential that is trained on water and methanol."""
    point = potential_in(folder, *SHORT)
    train_point(point, [])
    return point.directory


def begun(folder, parent, *more, data="new", runs=None):
    own = (f"runs={runs}",) if runs else ()
    return potential_in(
        folder, *SHORT, f"data.path={folder}/{data}.extxyz", f"model.from={parent}", "seed=1", *more, *own
    )


def composed(*overrides):
    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        return compose("train", ["task=potential", *overrides, "logger=none"])


def test_shape_elements_scale_and_weights_are_the_parents(folder, parent):
    point = begun(folder, parent)
    model = load_potential(parent / "model")
    started = point.build_module().model
    assert point.name.endswith("-tuned")
    assert (started.elements, started.cutoff) == (model.elements, model.cutoff)
    assert float(started.scale) == float(model.scale)
    assert started.header["neighbours"] == model.header["neighbours"] != point.data.train_edges.counts.mean()
    for (name, ours), theirs in zip(started.named_parameters(), model.parameters(), strict=True):
        assert ours.requires_grad, name
        assert torch.equal(ours, theirs), name


def test_a_shape_that_nobody_stated_is_taken_and_a_stated_one_kept_for_a_check(parent):
    taken = resolve_config(composed("model=nequip", f"model.from={parent}"))["model"]
    assert not {"width", "layers", "cutoff", "parity", "l_max", "basis"} & taken.keys()
    words = [f"model.from={parent}", "model.cutoff=5.0"]
    assert resolve_config(composed(*words), words)["model"]["cutoff"] == 5.0
    assert "cutoff" in resolve_config(composed("model.cutoff=6.0", f"model.from={parent}"))["model"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("model.width=16",), r"model.width=16: .* has 8, and its weights fit no other shape"),
        (("model.cutoff=4.0",), r"model.cutoff=4.0: .* has 5.0"),
        (("model=schnet",), r"model.family=schnet: .* is a painn. Add model=painn"),
        (("model.freeze=layers:0-7",), "model.freeze=layers:0-7: .* numbered 0 to 1"),
        (("model.freeze=blocks",), "model.freeze=blocks: no group"),
        (("model.lora.alpha=3",), r"model.lora.rank=8"),
        (("model.lora.rank=2", "model.lora.targets=radia"), "model.lora.targets=radia: no group"),
        (("model.replay=1.5",), "model.replay=1.5"),
        (("model.references=fit",), "model.references='fit': give refit or parent"),
        (("data.references={H:1,C:2,O:3}",), r"data.references=.*model.references"),
        (("data.references=isolated",), "data.references=isolated: with model.from"),
    ],
)
def test_what_contradicts_the_parent_is_refused_by_its_key(folder, parent, more, message):
    with pytest.raises((ConfigurationError, AdaptationError), match=message):
        begun(folder, parent, *more)


@pytest.mark.parametrize(
    "more", ["model.freeze=layers", "model.replay=0.2", "model.references=parent", "model.new_elements=add"]
)
def test_what_means_nothing_without_a_parent_is_refused(folder, more):
    with pytest.raises(ConfigurationError, match=r"random weights.*model\.from"):
        potential_in(folder, *SHORT, more)


def test_what_is_no_trained_potential_is_refused_with_its_path(folder, parent, tmp_path):
    language = shutil.copytree(parent, tmp_path / "language")
    record = json.loads((language / "record.json").read_text())
    (language / "record.json").write_text(json.dumps(record | {"family": "chemgpt"}))
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(parent / "record.json", unfinished)
    damaged = shutil.copytree(parent / "model", tmp_path / "damaged")
    (damaged / "config.json").write_text('{"format": "chemscale-potential-1"}')
    for path, message in {
        tmp_path / "nowhere": "no such run",
        language: "is a chemgpt; only potentials",
        unfinished: "not done",
        damaged: "config.json there is damaged",
    }.items():
        with pytest.raises(ConfigurationError, match=rf"model\.from={path}: .*{message}"):
            begun(folder, path)


@pytest.mark.slow
def test_the_identity_hashes_the_weights_and_not_the_path(folder, parent, tmp_path):
    here = begun(folder, parent)
    there = begun(folder, shutil.copytree(parent / "model", tmp_path / "model"))
    assert here.identity == there.identity
    frozen = begun(folder, parent, "model.freeze=layers")
    assert frozen.identity == begun(folder, parent, "model.freeze=[layers]").identity != here.identity
    fresh = potential_in(folder, *SHORT)
    assert {"from", "parent", "lora", "freeze", "replay", "references"}.isdisjoint(fresh.config["model"])


class Stop(pl.Callback):
    """Asks for a stop after a step."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("more", "frozen"),
    [
        (("model.freeze=[embeddings,'layers:0']", "model.replay=0.4"), ("embedding.", "layers.0.")),
        pytest.param(
            ("model.lora.rank=2", "model.lora.targets=layers"),
            ("embedding.", "readout."),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_run_that_is_stopped_goes_on_to_the_bit_and_its_model_is_an_ordinary_one(
    folder, parent, tmp_path, more, frozen
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
    assert weights[0] == weights[1]
    before, after = (load_file(d / "model" / "model.safetensors") for d in (parent, whole))
    assert before.keys() == after.keys()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    kept = {name for name in after if name.removeprefix("network.").startswith(frozen)}
    assert kept
    assert not moved & kept
    assert moved >= {"network.layers.1.context.0.weight", "network.layers.1.mix.weight"}
    export_model(stopped, tmp_path / "exported")
    assert (tmp_path / "exported" / "model.safetensors").read_bytes() == weights[0]
    atoms = toy_frames(1)[0]
    atoms.calc = ChemscaleCalculator(str(whole))
    assert np.isfinite(atoms.get_forces()).all()


@pytest.mark.slow
def test_the_record_names_the_parent_and_a_plan_says_what_is_trained(folder, parent, tmp_path):
    point = begun(folder, parent, "model.freeze=layers", "model.replay=0.2", runs=tmp_path)
    record = open_record(point, [])
    again, theirs = RunRecord.load(point.directory), RunRecord.load(parent)
    assert record.parent == again.parent
    assert (again.parent["identity"], again.parent["name"]) == (theirs.identity, theirs.name)
    assert again.parent["weights_sha256"] == point.config["model"]["parent"]
    assert again.parent["replay"]["data_hash"] == theirs.data_hash == point.config["model"]["replayed"]
    trained, full = again.parent["trained_parameters"], begun(folder, parent, "model.replay=0.2")
    assert f"{trained:,} numbers are trained" in point.describe_parent()
    assert again.parameters.all == full.parameter_counts()["all"] > trained
    assert point.memory().optimizer == 8 * trained < full.memory().optimizer
    assert point.amount("flops") < full.amount("flops")
    assert again.data.unique_frames == len(point.data.train)


def test_replayed_frames_are_the_parents_on_the_new_scale_of_energies(folder, parent):
    point = begun(folder, parent, "model.replay=0.5")
    new, replay = len(point.data.train), point.data.replay
    known = dict(zip(point.statistics.elements, point.statistics.references, strict=True))
    theirs = dict(zip(*(getattr(point.beginning.parent, k) for k in ("elements", "references")), strict=True))
    batches, seen = point.data.training_batches(), 0
    for number in range(point.epoch.cuts):
        batch, positions = batches[number], point.data.plan.frames(number)
        for row, position in enumerate(positions):
            if position >= new:
                frame = int(replay.frames[position - new])
                energy = replay.store.structure(frame).energy
                shift = sum(known[int(z)] - theirs[int(z)] for z in replay.store.numbers(frame))
                assert float(batch.energy[row]) == pytest.approx(energy + shift, abs=1e-9)
                seen += 1
        assert batch.step_energies == len(positions)
    assert seen == new == point.epoch.amounts["frames"] - new
    several = [point.data.training_batches(rank, 2)[0] for rank in range(2)]
    assert sum(b.counts["frames"] for b in several) == batches[0].counts["frames"]
    assert {b.step_components for b in several} == {batches[0].step_components}


def test_replayed_frames_are_those_that_the_parent_chose_weighed_as_it_weighed_them(folder, parent, tmp_path):
    record = json.loads((parent / "record.json").read_text())
    store = begun(folder, parent, "model.replay=0.5").data.replay.store
    chosen = ChosenFrames(store.hash, (7, 2, 11, 4, 1))
    chosen.save(tmp_path / "chosen.json")
    record["config"]["data"] |= {
        "selection": str(tmp_path / "chosen.json"), "selected": chosen.sha256, "frames": 4,
        "weights": {store.names[0]: 0.25},
    }  # fmt: skip
    picky = shutil.copytree(parent, tmp_path / "picky")
    (picky / "record.json").write_text(json.dumps(record))
    point = begun(folder, picky, "model.replay=0.5")
    replay, new = point.data.replay, len(point.data.train)
    assert replay.frames.tolist() == store.part("train")[[7, 2, 11, 4]].tolist()
    batches = point.data.training_batches()
    for position, frame in enumerate(replay.frames):
        (old,) = batches.members(np.array([new + position]))
        assert np.array_equal(old.positions, store.structure(int(frame)).positions)
        assert old.edges.max() < len(old.numbers)
        assert old.weight == (0.25 if store.groups[frame] == 0 else 1.0)


def test_labels_without_another_dispersion_are_said_and_never_replayed(folder, parent, tmp_path):
    other = shutil.copytree(parent, tmp_path / "other")
    header = json.loads((other / "model" / "config.json").read_text())
    header["data"]["subtract"] = {"method": "d3bj", "functional": "pbe", "three_body": False}
    (other / "model" / "config.json").write_text(json.dumps(header))
    with pytest.raises(ConfigurationError, match=r"model.replay=0.5: .*d3bj of pbe.*are total labels"):
        begun(folder, other, "model.replay=0.5")
    point = begun(folder, other)
    assert any("labels without d3bj of pbe" in note for note in point.notes)
    assert "subtract" not in point.origin["data"]


def test_replay_without_the_parents_data_is_refused_with_the_way_out(folder, parent, tmp_path):
    with pytest.raises(ConfigurationError, match=r"model.replay: .* no record of a run"):
        begun(folder, shutil.copytree(parent / "model", tmp_path / "only"), "model.replay=0.2")
    moved = shutil.copytree(parent, tmp_path / "moved")
    record = json.loads((moved / "record.json").read_text())
    record["config"]["structures"] = str(tmp_path / "elsewhere")
    record["config"]["data"]["path"] = str(folder / "new.extxyz")
    record["data_hash"] = "0" * 64
    (moved / "record.json").write_text(json.dumps(record))
    with pytest.raises(
        ConfigurationError, match=r"model.replay: .*the file holds other frames now.*leave model"
    ):
        begun(folder, moved, "model.replay=0.2")


def test_new_elements_are_refused_with_their_frames_or_added(folder, parent):
    with pytest.raises(ConfigurationError, match=r"knows H, C, O, but 12 of 48 frames hold N \(first .*add"):
        begun(folder, parent, data="ammonia")
    point = begun(folder, parent, "model.new_elements=add", data="ammonia")
    started = point.build_module().model
    assert started.elements == (1, 6, 7, 8)
    table = load_potential(parent / "model").network.embedding.weight
    assert torch.equal(started.network.embedding.weight[2], table.mean(0))
    nitrogen = float(started.references[2])
    assert nitrogen == pytest.approx(-1480.0, abs=5.0)
    assert "New elements: N" in " ".join(point.notes)
    assert point.beginning.note(started, None)["new_elements"] == [7]
    with pytest.raises(ConfigurationError, match=r"N would keep the numbers.*elements"):
        begun(folder, parent, "model.new_elements=add", "model.freeze=embeddings", data="ammonia")
    begun(
        folder,
        parent,
        "model.new_elements=add",
        "model.lora.rank=2",
        "model.lora.also=elements",
        data="ammonia",
    )
