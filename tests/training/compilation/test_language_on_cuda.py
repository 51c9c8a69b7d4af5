"""Compiled language models on a GPU: what they are traced to, and, where there is one, what they compute."""

import json
import os
import subprocess
import sys

import pytest
import torch

from chemscale.testing.fake_cuda.device import (
    START,
    NoFakeDeviceError,
    build_library,
    environment,
    torch_folder,
)
from chemscale.training.compilation.language import compile_language_model
from tests.helpers.compiled_language import data_of, gap, loss_and_gradients, task_of


@pytest.mark.slow
def test_the_graph_for_a_gpu_has_its_attention_and_nothing_on_the_host(tmp_path):
    """One kernel a layer forwards and one backwards; no rectangle, no operation of ours, no wait."""
    try:
        library = build_library()
    except NoFakeDeviceError as error:
        pytest.skip(str(error))
    torch_library = torch_folder() / "lib" / "libtorch_cpu.so"
    module, result = "tests.helpers.language_on_cuda", tmp_path / "traced.json"
    command = [sys.executable, "-c", START, str(torch_library), str(library), module, str(result)]
    done = subprocess.run(command, env=environment(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(result.read_text())
    calls = found["calls"]
    assert calls["torch_attn._varlen_attn.default"] == 2
    assert calls["torch_attn._varlen_attn_backward.default"] == 2
    rectangles = ("chemscale.document_attention", "aten.index", "aten.bmm", "aten._local_scalar_dense")
    assert not [name for name in calls if name.startswith(rectangles)]
    assert (found["elsewhere"], found["waits"]) == ([], [])


@pytest.mark.gpu
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_steps_on_a_gpu_follow_those_of_the_model(corpus, cuda_graph):
    """Some steps with an optimizer: a CUDA graph that is wrong overwrites gradients before they are used."""
    task, plain = task_of(corpus), task_of(corpus)
    data, device = data_of(corpus, filled=True), torch.device("cuda")
    task.model.to(device)
    plain.model.to(device)
    batches = [data.training_batches()[i].to(device) for i in range(8)]
    with torch.autocast("cuda", torch.bfloat16):
        step, difference = compile_language_model(task, batches[0], data.longest, cuda_graph=cuda_graph)
    assert not difference.exceeds("bf16-mixed")
    optimizers = [torch.optim.AdamW(t.model.parameters(), lr=1e-3, fused=True) for t in (task, plain)]
    losses = []
    for batch in batches:
        for optimizer, nll in zip(optimizers, (step, plain.nll), strict=True):
            with torch.autocast("cuda", torch.bfloat16):
                loss = nll(batch).sum() / batch.size
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach().clone())
    compiled, expected = torch.stack(losses[::2]), torch.stack(losses[1::2])
    torch.testing.assert_close(compiled, expected, rtol=1e-2, atol=1e-2)
    weights = [list(t.model.parameters()) for t in (task, plain)]
    assert gap(*weights) < 0.1


@pytest.mark.gpu
def test_a_step_that_is_computed_again_on_a_gpu_has_the_same_bits(corpus):
    task, data = task_of(corpus), data_of(corpus, filled=True)
    task.model.to("cuda")
    batch = data.training_batches()[1].to(torch.device("cuda"))
    torch.use_deterministic_algorithms(True)
    try:
        with torch.autocast("cuda", torch.bfloat16):
            step, _ = compile_language_model(task, batch, data.longest)
        first, again = (loss_and_gradients(step, batch, task, "bf16-mixed") for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
