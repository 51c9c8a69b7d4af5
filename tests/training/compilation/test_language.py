"""Compiled steps of language models: the losses and gradients of the model itself, from one graph."""

import pytest
import torch
from torch._dynamo.exc import RecompileError
from torch._dynamo.utils import counters

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.kernels import compiled as compiled_kernels
from chemscale.models.kernels import opaque, varlen
from chemscale.models.kernels.compiled import use_kernels
from chemscale.training.compilation.language import compile_language_model, read_tensors, reads_on_host
from tests.helpers.compiled_language import autocast, data_of, gap, loss_and_gradients, task_of

PRECISIONS = ["32", pytest.param("bf16-mixed", marks=pytest.mark.slow)]


@pytest.fixture
def without_kernels():
    """The model computes with PyTorch's operations alone, as its trace does but for attention."""
    use_kernels(False)
    yield
    use_kernels(True)


def compiled(task, data, precision="32", backend="aot_eager"):
    first = data.training_batches()[0]
    with autocast(precision):
        step, difference = compile_language_model(task, first, data.longest, backend)
    assert not difference.exceeds(precision)
    return step


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_graph_gives_every_batch_the_gradients_of_the_model(corpus, precision, without_kernels):
    """To the bit beside the model on the same batch, and to rounding beside the batch without filler."""
    task, data, plain = task_of(corpus), data_of(corpus, filled=True), data_of(corpus, filled=False)
    counters.clear()
    step = compiled(task, data, precision)
    documents = set()
    for number in range(6):
        batch = data.training_batches()[number]
        found = loss_and_gradients(step, batch, task, precision)
        assert gap(found, loss_and_gradients(task.nll, batch, task, precision)) == 0
        unfilled = loss_and_gradients(task.nll, plain.training_batches()[number], task, precision)
        assert gap(found, unfilled) < 1e-6
        documents.add(len(batch.documents.offsets))
    assert len(documents) > 2
    assert counters["stats"]["unique_graphs"] == 1


def test_the_graph_agrees_with_the_model_whose_kernels_are_on(corpus):
    task, data = task_of(corpus), data_of(corpus, filled=True)
    step, batch = compiled(task, data, backend="trace"), data.training_batches()[2]
    expected = loss_and_gradients(task.nll, batch, task)
    assert gap(loss_and_gradients(step, batch, task), expected) < 2e-6


def test_weights_are_those_of_the_present_step(corpus, without_kernels):
    """The graph holds no copy of them: it takes what the optimizer left."""
    task, data = task_of(corpus), data_of(corpus, filled=True)
    step, batch = compiled(task, data, backend="trace"), data.training_batches()[1]
    before = step(batch).detach()
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.mul_(0.5)
    after = step(batch).detach()
    assert torch.equal(after, task.nll(batch))
    assert not torch.allclose(before, after)


def test_a_batch_that_the_code_does_not_hold_for_is_computed_by_the_model(corpus, monkeypatch, caplog):
    task, data = task_of(corpus, layers=1), data_of(corpus, filled=True)
    step, batch = compiled(task, data, backend="trace"), data.training_batches()[1]

    def refuse(tensors):
        raise RecompileError("another kind of size")

    monkeypatch.setattr(step, "graph", refuse)
    for _ in range(2):
        assert torch.equal(step(batch), task.nll(batch))
    assert [record.message for record in caplog.records].count(
        "A batch was computed by the model itself, not by compiled code: another kind of size"
    ) == 1


def test_a_batch_of_another_length_is_computed_by_the_model(corpus):
    task, data = task_of(corpus, layers=1), data_of(corpus, filled=True)
    step = compiled(task, data, backend="trace")
    other = data_of(corpus, filled=True, tokens=256).training_batches()[0]
    assert torch.equal(step(other), task.nll(other))


@pytest.mark.parametrize("part", ["_attention", "_backward"])
def test_a_graph_whose_values_or_gradients_are_wrong_is_found_out(corpus, monkeypatch, part):
    """By so little that no loss would show it."""
    right = getattr(opaque, part)
    monkeypatch.setattr(opaque, part, lambda *given: right(*given) * (1 + 1e-3))
    task, data = task_of(corpus), data_of(corpus, filled=True)
    first = data.training_batches()[0]
    _, difference = compile_language_model(task, first, data.longest, "trace")
    assert difference.exceeds("32")


def test_micro_batches_that_are_filled_add_up_to_the_gradient_of_the_step(corpus):
    task = task_of(corpus)
    parts = data_of(corpus, filled=True, accumulate=2)
    step, batches = compiled(task, parts, backend="trace"), parts.training_batches()
    whole = data_of(corpus, filled=False).training_batches()[1]
    expected = torch.autograd.grad(task.nll(whole).sum() / whole.step_tokens, list(task.model.parameters()))
    total = [torch.zeros_like(g) for g in expected]
    for batch in (batches[2], batches[3]):
        loss = step(batch).sum() / batch.step_tokens
        each = torch.autograd.grad(loss, list(task.model.parameters()))
        total = [a + b for a, b in zip(total, each, strict=True)]
    assert gap(total, expected) < 2e-6


@pytest.mark.parametrize(
    ("autocasts", "heads", "kernels", "ampere", "on_host"),
    [
        (True, 4, True, True, False),
        (False, 4, True, True, True),
        (True, 1, True, True, True),
        (True, 4, False, True, True),
        (True, 4, True, False, True),
    ],
    ids=["bf16", "float32", "heads of 512", "without kernels", "before Ampere"],
)
def test_a_gpu_gets_the_offsets_where_its_attention_reads_them(
    autocasts, heads, kernels, ampere, on_host, monkeypatch
):
    """The kernel on the GPU, everything else on the host: the graph is given the one or the other."""
    model = ChemGPT(ChemGPTConfig(10, 512, layers=1, heads=heads))
    monkeypatch.setattr(varlen, "_has_flash", lambda index: ampere)
    monkeypatch.setattr(compiled_kernels, "_wanted", kernels)
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", autocasts)
    try:
        assert reads_on_host(model, torch.device("cuda")) is on_host
        assert reads_on_host(model, torch.device("cpu"))
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


@pytest.mark.parametrize("on_host", [True, False])
def test_offsets_for_the_host_are_not_fetched_from_where_the_batch_went(corpus, on_host):
    batch = data_of(corpus, filled=True).training_batches()[0]
    there = batch.to(torch.device("meta"))  # it holds no numbers that could be read back
    found = read_tensors(there, on_host=on_host)["offsets"]
    assert found.device.type == ("cpu" if on_host else "meta")
    assert found.shape == read_tensors(batch, on_host=True)["offsets"].shape
    if on_host:
        assert torch.equal(found, read_tensors(batch, on_host=True)["offsets"])


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_generated_code_agrees_with_the_model(corpus, precision):
    task, data = task_of(corpus), data_of(corpus, filled=True)
    step = compiled(task, data, precision, backend="inductor")
    for number in range(3):
        batch = data.training_batches()[number]
        found = loss_and_gradients(step, batch, task, precision)
        expected = loss_and_gradients(task.nll, batch, task, precision)
        assert gap(found, expected) < (1e-5 if precision == "32" else 2e-2)
