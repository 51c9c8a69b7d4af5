"""Runs of language models whose steps are compiled: the same run, also when it is cut in two."""

import logging
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from chemscale.common.sections import ConfigurationError
from chemscale.molecules.data_module import BatchShape, MoleculeDataModule
from chemscale.points.run import fit, open_record
from chemscale.records import RunRecord
from chemscale.training.compilation.decision import Compilation, decide
from chemscale.training.compilation.install import BACKEND, REPLAYED, fill_batches, may_replay
from chemscale.training.compilation.toolchain import missing_for_compiling
from chemscale.training.settings import MicroBatching
from tests.helpers.points import point_in

pytestmark = pytest.mark.skipif(
    bool(missing_for_compiling(cuda=False, forces=False)), reason="there is no compiler here"
)
MODEL = ("model.width=16", "model.layers=2", "model.heads=4", "batch.accumulate=2", "budget.steps=10")
EVERY = ("trainer.checkpoint_steps=3", "trainer.validate_every=5", *MODEL)


def test_batches_are_filled_where_steps_are_compiled_and_only_there(corpus):
    data = MoleculeDataModule(corpus, BatchShape(512, 256), seed=0)
    for on in (True, False):
        fill_batches(SimpleNamespace(data=data, compilation=Compilation(on, "")))
        lengths = {data.training_batches()[i].tokens.numel() for i in range(5)}
        assert (lengths == {512}) is on


def test_recomputed_blocks_are_not_compiled():
    run = {"cuda": True, "here": False, "steps": 10**6, "strategy": "single", "precision": "bf16-mixed"}
    assert decide("auto", **run, forces=False).on
    left_out = decide("auto", **run, forces=False, recompute=True)
    assert not left_out.on
    assert "checkpoint_activations" in left_out.reason
    with pytest.raises(ConfigurationError, match=r"trainer\.compile=true.*checkpoint_activations"):
        decide(True, **run, forces=False, recompute=True)


@pytest.mark.parametrize(
    ("change", "replayed"),
    [
        ({}, True),
        ({"strategy": "ddp"}, False),
        ({"precision": "32"}, False),
        ({"settings": SimpleNamespace(micro_batching=MicroBatching(2))}, False),
    ],
)
def test_small_models_are_replayed_where_a_gradient_is_used_before_the_next_batch(change, replayed):
    point = {"strategy": "single", "precision": "bf16-mixed"}
    point |= {"settings": SimpleNamespace(micro_batching=MicroBatching()), **change}

    def task(width, device="cuda"):
        config = SimpleNamespace(width=width)
        return SimpleNamespace(model=SimpleNamespace(config=config), device=torch.device(device))

    assert may_replay(task(REPLAYED), SimpleNamespace(**point)) is replayed
    assert not may_replay(task(2 * REPLAYED), SimpleNamespace(**point))
    assert not may_replay(task(REPLAYED, "cpu"), SimpleNamespace(**point))


def trained(folder, smiles_file, *overrides):
    """What a run leaves: its losses by step, its weights, its record."""
    point = point_in(folder, smiles_file, *EVERY, *overrides)
    fit(point, open_record(point, []))
    losses = (point.directory / "metrics.jsonl").read_text()
    return point, losses, RunRecord.load(point.directory)


@pytest.fixture
def with_backend(monkeypatch, caplog):
    """Set the backend; at the end, see that no run went on without compilation."""
    caplog.set_level(logging.INFO)
    yield lambda backend: monkeypatch.setenv(BACKEND, backend)
    told = [record.getMessage() for record in caplog.get_records("call")]
    assert any(text.startswith("Compiled in") for text in told)
    assert not any("without compilation" in text for text in told)


def test_a_compiled_run_is_the_run_that_is_not_compiled(tmp_path, smiles_file, with_backend):
    with_backend("trace")
    plain, _, expected = trained(tmp_path / "a", smiles_file, "trainer.compile=false")
    compiled, _, found = trained(tmp_path / "b", smiles_file, "trainer.compile=true")
    assert compiled.identity == plain.identity
    assert found.data == expected.data
    assert found.compute.flops == expected.compute.flops
    assert found.final.values == pytest.approx(expected.final.values, rel=1e-5)
    for name, weight in load_file(plain.model_folder / "model.safetensors").items():
        other = load_file(compiled.model_folder / "model.safetensors")[name]
        torch.testing.assert_close(other, weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_run_that_is_cut_in_two_ends_with_the_same_bits(
    tmp_path, smiles_file, with_backend, backend
):
    with_backend(backend)
    whole, *_ = trained(tmp_path / "whole", smiles_file, "trainer.compile=true")
    torch._dynamo.reset()
    trained(tmp_path / "cut", smiles_file, "trainer.compile=true", "pause=0.4")
    torch._dynamo.reset()
    cut, _, record = trained(tmp_path / "cut", smiles_file, "trainer.compile=true")
    assert record.attempts == 2
    expected, found = (load_file(p.model_folder / "model.safetensors") for p in (whole, cut))
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name
    assert RunRecord.load(whole.directory).final == record.final
