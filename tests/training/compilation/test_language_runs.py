"""Runs of language models whose steps are compiled: the same run, also when it is cut in two."""

import logging

import pytest
import torch
from safetensors.torch import load_file

from chemscale.points.run import fit, open_record
from chemscale.records import RunRecord
from chemscale.training.compilation.install import BACKEND
from chemscale.training.compilation.toolchain import missing_for_compiling
from tests.helpers.points import point_in

pytestmark = pytest.mark.skipif(
    bool(missing_for_compiling(cuda=False, forces=False)), reason="there is no compiler here"
)
MODEL = ("model.width=16", "model.layers=2", "model.heads=4", "batch.accumulate=2", "budget.steps=10")
EVERY = ("trainer.checkpoint_steps=3", "trainer.validate_every=5", *MODEL)


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
