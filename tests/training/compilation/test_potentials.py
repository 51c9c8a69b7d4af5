"""A compiled step predicts as its potential does: values, forces and the gradients of a loss on both."""

import pytest
import torch

from chemscale.models.potentials import build, read_config
from chemscale.structures.graphs import collate
from chemscale.tasks.losses import EnergyForceLoss
from chemscale.tasks.optimisation import AdamW, Schedule
from chemscale.tasks.potential import InteratomicPotential
from chemscale.testing.checks import crystal, molecule
from chemscale.training.compilation import potentials, tracing
from chemscale.training.compilation.potentials import compile_potential, read_tensors

SMALL = {
    "schnet": {"layers": 1, "radial": 4},
    "painn": {"layers": 2, "radial": 4},
    "nequip": {"layers": 2, "radial": 4},
    "mace": {"layers": 1, "radial": 4},
    "allegro": {"layers": 2, "radial": 4, "tensors": 2, "l_max": 1},
    "spookynet": {"layers": 1, "radial": 4, "electrostatics": True},
}


def task_of(family, stress=0.0, **more):
    torch.manual_seed(0)
    config = read_config({"family": family, "width": 4, **SMALL[family], **more})
    model = build(config, (1, 6, 8), references=(-13.0, -1030.0, -2040.0), scale=1.7, neighbours=9.0)
    loss = EnergyForceLoss(energy=1.0, forces=10.0, stress=stress)
    return InteratomicPotential(model, loss, AdamW(lr=1e-3), Schedule("constant"), 10).train()


def batch_of(model, frames, seed=0, make=molecule):
    return collate([make(seed + i).with_neighbours(model.cutoff) for i in range(frames)])


def gradients(model, predict, batch):
    found = predict(batch)
    total = found.energy.square().sum() * 1e-6 + (found.forces - 1).square().sum()
    weights = list(model.parameters())
    each = torch.autograd.grad(total, weights, allow_unused=True)
    pairs = zip(weights, each, strict=True)
    return found, torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs])


def assert_same(model, compiled, batch):
    ours, ours_grad = gradients(model, compiled, batch)
    theirs, theirs_grad = gradients(model, model, batch)
    torch.testing.assert_close(ours.energy, theirs.energy, rtol=0, atol=2e-5)
    torch.testing.assert_close(ours.forces, theirs.forces, rtol=1e-5, atol=2e-5)
    assert (ours_grad - theirs_grad).norm() < 2e-5 * theirs_grad.norm()


def assert_holds(task, make=molecule):
    compiled, difference = compile_potential(task, batch_of(task.model, 3, make=make), "trace")
    assert not difference.exceeds("32")
    for frames in (2, 4, 7):
        batch = batch_of(task.model, frames, seed=frames, make=make)
        assert compiled.graph.takes(read_tensors(task.model, batch))
        assert_same(task.model, compiled, batch)


@pytest.mark.parametrize(
    "family",
    ["schnet", *(pytest.param(f, marks=pytest.mark.slow) for f in SMALL if f != "schnet")],
)
def test_one_trace_holds_for_batches_of_every_size(family):
    assert_holds(task_of(family))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["painn", "mace"])
def test_one_trace_holds_for_crystals(family):
    assert_holds(task_of(family), crystal)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["painn", "mace"])
def test_a_compiled_step_on_stresses_has_the_loss_and_the_gradients_of_the_potential(family):
    task = task_of(family, stress=100.0)

    def labelled(frames, seed):
        batch = batch_of(task.model, frames, seed=seed, make=crystal)
        batch.energy = torch.zeros(frames, dtype=torch.float64)
        batch.forces = torch.zeros_like(batch.pos)
        batch.stress = torch.full((frames, 3, 3), 0.01, dtype=torch.float64)
        return batch

    compiled, difference = compile_potential(task, labelled(3, 0), "trace")
    assert not difference.exceeds("32")
    for frames in (2, 5):
        batch = labelled(frames, frames)
        assert compiled.graph.takes(read_tensors(task.model, batch))
        sums, slopes = [], []
        for predict in (compiled, lambda b: task.model(b, stress=True)):
            found = predict(batch)
            total = task.loss.sums(task._errors_of(found, batch)).stress
            each = torch.autograd.grad(total, list(task.model.parameters()), allow_unused=True)
            sums.append(total.detach())
            slopes.append(torch.cat([g.flatten() for g in each if g is not None]))
        torch.testing.assert_close(*sums, rtol=1e-5, atol=1e-9)
        assert (slopes[0] - slopes[1]).norm() < 1e-4 * slopes[1].norm()
        assert slopes[1].norm() > 0


@pytest.mark.slow
@pytest.mark.parametrize("family", ["schnet", "nequip"])
def test_compiled_derivatives_are_those_of_the_potential(family):
    task = task_of(family)
    compiled, difference = compile_potential(task, batch_of(task.model, 3), "aot_eager")
    assert not difference.exceeds("32")
    for frames in (2, 5):
        batch = batch_of(task.model, frames, seed=frames)
        assert compiled.graph.takes(read_tensors(task.model, batch))
        assert_same(task.model, compiled, batch)


def test_steps_see_the_weights_as_they_are_now():
    task = task_of("schnet")
    compiled, _ = compile_potential(task, batch_of(task.model, 2), "trace")
    batch = batch_of(task.model, 3, seed=5)
    before = compiled(batch).forces
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert (compiled(batch).forces - before).abs().max() > 1e-3
    assert_same(task.model, compiled, batch)


def test_a_batch_that_the_code_does_not_hold_for_is_predicted_by_the_model():
    task = task_of("schnet")
    compiled, _ = compile_potential(task, batch_of(task.model, 2), "trace")
    for batch in (batch_of(task.model, 1), batch_of(task.model, 2, make=crystal)):
        assert not compiled.graph.takes(read_tensors(task.model, batch))
        assert_same(task.model, compiled, batch)


def test_a_first_batch_that_is_too_small_is_said_to_be():
    task = task_of("schnet")
    with pytest.raises(tracing.CompilationError, match=r"first batch has \w+ of shape \(1,\)"):
        compile_potential(task, batch_of(task.model, 1), "trace")


def test_a_trace_that_loses_second_derivatives_is_found_by_the_gradients(monkeypatch):
    task = task_of("painn")
    monkeypatch.setattr(tracing, "_remove_detach", lambda graph: None)
    compiled, difference = compile_potential(task, batch_of(task.model, 2), "trace")
    assert difference.exceeds("32")
    batch = batch_of(task.model, 3)
    torch.testing.assert_close(compiled(batch).forces, task.model(batch).forces)  # values say nothing


class WithoutGradient:
    """A graph whose energies of structures, which the loss takes, lost their gradient."""

    def __init__(self, graph):
        self.graph = graph

    def __call__(self, *given):
        energy, *others = self.graph(*given)
        return energy.detach(), *others


def test_energies_of_structures_are_compared_as_those_of_atoms_are(monkeypatch):
    whole = potentials.compile_graph
    monkeypatch.setattr(potentials, "compile_graph", lambda *given: WithoutGradient(whole(*given)))
    task = task_of("schnet")
    _, difference = compile_potential(task, batch_of(task.model, 3), "trace")
    assert difference.exceeds("32")


def test_a_model_that_reads_the_size_of_a_batch_is_not_compiled(monkeypatch):
    task = task_of("schnet")
    network = task.model.network
    plain = network.forward

    def forward(graph):
        return plain(graph) * (int(graph.types.shape[0]) / 20)

    monkeypatch.setattr(network, "forward", forward)
    with pytest.raises(tracing.CompilationError, match="batches with 18 z only"):
        compile_potential(task, batch_of(task.model, 2), "trace")


def test_weights_without_a_part_in_the_energy_get_no_gradient():
    task = task_of("schnet")
    task.model.network.unused = torch.nn.Linear(2, 2)
    compiled, _ = compile_potential(task, batch_of(task.model, 2), "trace")
    found = compiled(batch_of(task.model, 3))
    found.forces.square().sum().backward()
    assert task.model.network.unused.weight.grad is None
    assert task.model.network.embedding.weight.grad is not None


def test_autocast_stands_in_the_trace_and_is_not_applied_again():
    task = task_of("schnet")
    batch = batch_of(task.model, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        compiled, difference = compile_potential(task, batch_of(task.model, 2), "trace")
        assert not difference.exceeds("bf16-mixed")
        ours, theirs = compiled(batch), task.model(batch)
    torch.testing.assert_close(ours.forces, theirs.forces)
    plain = task.model(batch).forces
    assert (theirs.forces - plain).abs().max() > 1e-3 * plain.abs().max()  # it was bf16
