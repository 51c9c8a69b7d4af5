"""What the workers' scripts do, beside arithmetic and beside transformers."""

import importlib
import json
import subprocess
import sys

import pytest
import torch

from chemscale.benchmarking.processes import WORKERS
from chemscale.benchmarking.works import WORKS
from chemscale.models.chemgpt import ChemGPTConfig


@pytest.fixture
def script(monkeypatch):
    """A module of the folder of workers, imported as an interpreter that runs one of them does."""
    monkeypatch.syspath_prepend(str(WORKERS))

    def script(name):
        found = importlib.import_module(name)
        assert str(WORKERS) in found.__file__
        return found

    yield script
    for name in {path.stem for path in WORKERS.glob("*.py")}:
        sys.modules.pop(name, None)


def test_flops_and_bytes_of_a_product_are_counted(script):
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    with script("turns").Counting() as counted:
        (a @ b).view(7, 3)
    assert counted.flops == 2 * 3 * 5 * 7
    assert counted.bytes == 4 * (15 + 35 + 21)
    assert counted.per_unit(2.0) == {"flops": 105.0, "bytes": 142.0}


def test_the_second_derivative_is_counted(script):
    x, w = torch.ones(8, 4, requires_grad=True), torch.ones(4, 4, requires_grad=True)
    with script("turns").Counting() as counted:
        (force,) = torch.autograd.grad((x @ w).tanh().sum(), x, create_graph=True)
        force.square().sum().backward()
    # Forward, its derivative, and two products for each of these two in the second pass.
    assert counted.flops == 6 * 2 * 8 * 4 * 4


MEASURED = """
import json, torch
from turns import Memory
memory = Memory("cpu")
memory.begin()
block = torch.ones(40 * 2**20 // 4)
print(json.dumps(memory.peak()))
"""


def test_memory_of_steps_is_what_they_added():
    # In an interpreter of its own, as workers are: one that ran other tests gives memory back meanwhile.
    command = [sys.executable, "-c", MEASURED]
    ran = subprocess.run(command, cwd=WORKERS, capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout)
    assert 35 < found["step_mib"] < 200
    assert found["peak_mib"] > found["step_mib"]


def test_transformers_trains_a_model_of_as_many_numbers(script):
    pytest.importorskip("transformers")
    work = {**WORKS["chemgpt-4.7m"].model, "vocabulary": 50}
    model = script("transformers_models").model_of(work)
    embeddings = (50 + 2048) * 128
    config = ChemGPTConfig(50, 128)
    assert (
        sum(p.numel() for p in model.parameters()) - embeddings == config.parameter_counts()["non_embedding"]
    )


def test_symbols_after_an_end_do_not_count_as_generated(script, monkeypatch):
    pytest.importorskip("transformers")
    module = script("transformers_models")

    class Model:
        def eval(self):
            return self

        def generate(self, start, **keys):
            return torch.cat([start, torch.tensor([[5, 6, 2, 0], [5, 2, 9, 9], [7, 7, 7, 7]])], 1)

    step = module.generation_step({"batch": 3, "longest": 4}, Model(), "cpu")
    assert step() == 3 + 2 + 4


def test_a_training_step_of_another_code_lowers_its_loss(script):
    import numpy as np

    module = script("forces")
    weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    frames = module.Frames([], np.array([0.5, -0.5]), np.zeros((6, 3)))
    holder = torch.nn.Module()
    holder.weight = weight

    def predict():
        return weight * 1.0, torch.zeros(6, 3)

    step = module.training_step(module.Model("torch", holder, predict, 0), frames)
    before = (weight.detach() - torch.tensor([0.5, -0.5])).abs()
    assert step() == 6.0
    assert bool(((weight.detach() - torch.tensor([0.5, -0.5])).abs() < before).all())
    assert module.trainable(holder) == 2


def test_a_model_that_predicts_another_shape_is_not_timed(script):
    import numpy as np

    module = script("forces")
    holder = torch.nn.Linear(1, 1)
    frames = module.Frames([], np.zeros(2), np.zeros((6, 3)))
    model = module.Model("torch", holder, lambda: (torch.zeros(3), torch.zeros(6, 3)), 0)
    with pytest.raises(SystemExit, match="predicted"):
        module.training_step(model, frames)
