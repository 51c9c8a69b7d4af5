"""Stress in the loss and the metrics, and weights of frames."""

import numpy as np
import pytest
import torch

from chemscale.models.potentials import build
from chemscale.models.schnet import SchNetConfig
from chemscale.structures.graphs import collate
from chemscale.tasks.losses import EnergyForceLoss
from chemscale.tasks.optimisation import AdamW, Schedule
from chemscale.tasks.potential import InteratomicPotential
from chemscale.testing.checks import crystal, molecule


def module(**loss):
    torch.manual_seed(0)
    elements = tuple(sorted({*crystal().numbers.tolist(), *molecule(0, atoms=5).numbers.tolist()}))
    potential = build(SchNetConfig(width=8, layers=1, cutoff=4.0), elements, dtype=torch.float64)
    return InteratomicPotential(potential, EnergyForceLoss(**loss), AdamW(1e-3), Schedule(), 10)


def a_crystal(stress=None):
    found = crystal().with_neighbours(4.0)
    found.energy, found.forces, found.stress = 1.0, np.zeros((len(found.numbers), 3)), stress
    return found


def a_molecule(seed=0):
    found = molecule(seed, atoms=5).with_neighbours(4.0)
    found.energy, found.forces = 1.0, np.zeros((5, 3))
    return found


def metrics(task, *batches):
    steps = [task.validation_step(collate(b), 0) for b in batches]
    sums = {key: sum(float(step.get(key, 0.0)) for step in steps) for key in steps[0]}
    return task.validation_metrics(sums)


def test_stress_errors_are_of_the_nine_components_in_mev_per_cubic_angstrom():
    task, label = module(), np.full((3, 3), 0.01)
    found = metrics(task, [a_crystal(label)])
    stress = task.model.eval()(collate([a_crystal()]), stress=True).stress[0].detach().numpy()
    assert found["stress_mae"] == pytest.approx(1e3 * np.abs(stress - label).mean())
    assert found["stress_rmse"] == pytest.approx(1e3 * np.sqrt(np.square(stress - label).mean()))


def test_frames_without_a_stress_are_no_part_of_its_error():
    task, label = module(), np.full((3, 3), 0.01)
    alone = metrics(task, [a_crystal(label)])
    beside = metrics(
        task, [a_crystal(label), a_crystal(np.full((3, 3), np.nan)), a_molecule()], [a_molecule()]
    )
    assert beside["stress_mae"] == pytest.approx(alone["stress_mae"], rel=1e-9)
    assert "stress_mae" not in metrics(task, [a_molecule()])


def test_the_stress_term_has_the_gradient_of_its_finite_difference():
    task = module(energy=0.0, forces=0.0, stress=3.0)
    batch = collate([a_crystal(np.full((3, 3), 0.01)), a_molecule()])

    def objective():
        return task.loss.sums(task.errors(task.model.train(), batch)).stress

    objective().backward()
    weight = next(p for p in task.model.parameters() if p.grad is not None and p.grad.abs().max() > 1e-9)
    at = np.unravel_index(int(weight.grad.abs().argmax()), weight.shape)
    step, slope = 1e-5, float(weight.grad[at])
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[at] += sign * step
        values.append(float(objective().detach()))
        with torch.no_grad():
            weight[at] -= sign * step
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-5)
    assert all(p.grad.isfinite().all() for p in task.model.parameters() if p.grad is not None)


def test_a_loss_of_stress_alone_is_a_loss():
    task = module(energy=0.0, forces=0.0, stress=1.0)
    assert np.isnan(metrics(task, [a_molecule()])["objective"])
    assert metrics(task, [a_crystal(np.zeros((3, 3)))])["objective"] > 0


def test_a_weight_multiplies_every_term_of_its_frame():
    task = module(stress=2.0)
    label = np.full((3, 3), 0.01)
    alone, weighed, heavy = [a_crystal(label)], [a_crystal(label), a_molecule()], [a_crystal(label)]
    weighed[1].weight, heavy[0].weight = 0.0, 4.0
    sums = [task.loss.sums(task.errors(task.model, collate(frames))) for frames in (alone, weighed, heavy)]
    for term in ("energy", "forces", "stress"):
        first, second, third = (float(getattr(each, term).detach()) for each in sums)
        assert second == pytest.approx(first, rel=1e-9), term
        assert third == pytest.approx(4 * first, rel=1e-9), term
    assert metrics(task, alone) == metrics(task, heavy)  # frames that are validated on weigh the same
