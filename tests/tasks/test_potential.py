"""The potential's Lightning module: losses over labels that exist, averaged weights, metrics in meV."""

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from chemscale.models.potentials import build
from chemscale.models.schnet import SchNetConfig
from chemscale.records import Loss
from chemscale.structures.graphs import collate
from chemscale.tasks.averaging import WeightAverage
from chemscale.tasks.losses import EnergyForceLoss, Errors, error_of
from chemscale.tasks.optimisation import AdamW, Plateau, Schedule
from chemscale.tasks.potential import InteratomicPotential
from chemscale.testing.checks import molecule


def labelled(seed, energy=1.0):
    structure = molecule(seed, atoms=5).with_neighbours(4.0)
    structure.energy, structure.forces = energy, np.ones((5, 3))
    return structure


def module(**loss):
    torch.manual_seed(0)
    potential = build(SchNetConfig(width=8, layers=1, cutoff=4.0), (1, 6, 8))
    return InteratomicPotential(potential, EnergyForceLoss(**loss), AdamW(1e-3), Schedule(), 10)


def test_a_missing_label_weighs_nothing():
    whole = [labelled(0), labelled(1)]
    partly = [labelled(0), labelled(1)]
    partly[1].energy, partly[1].forces = np.nan, None
    task = module()
    sums = [task.validation_step(collate(s), 0) for s in (whole[:1], partly)]
    for key in ("energies", "components", "energy_absolute", "force_square", "energy_objective"):
        assert float(sums[0][key]) == pytest.approx(float(sums[1][key]), rel=1e-6), key


def test_missing_labels_leave_gradients_finite():
    task, structures = module(), [labelled(0), labelled(1)]
    structures[1].forces[2] = np.nan
    structures[0].energy = np.nan
    sum(task.loss.sums(task.errors(task.model, collate(structures)))).backward()
    assert all(p.grad.isfinite().all() for p in task.model.parameters() if p.grad is not None)


@pytest.mark.parametrize("lost", ["energy", "forces"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("weights", [{}, {"energy": 0.0}, {"energy": 1.0, "forces": 1e-9}])
def test_a_prediction_that_is_not_finite_is_no_error_of_0(lost, value, weights):
    task = module(**weights)
    predict = task.model.forward

    def spoilt(*args, **kwargs):
        result = predict(*args, **kwargs)
        getattr(result, lost)[0] = value
        return result

    task.model.forward = spoilt
    structures = [labelled(0), labelled(1)]
    structures[1].energy = np.nan
    sums = {k: float(v) for k, v in task.validation_step(collate(structures), 0).items()}
    loss = Loss(1, task.validation_metrics(sums))
    spoilt_keys = {key for key, found in loss.values.items() if not np.isfinite(found)}
    other = "forces" if lost == "energy" else "energy"
    assert {f"{lost}_mae", f"{lost}_rmse", "objective"} <= spoilt_keys
    assert not any(key.startswith(other) for key in spoilt_keys)
    assert not loss.is_finite


def test_what_has_no_label_is_absent_and_never_0():
    task, structures = module(), [labelled(0)]
    structures[0].energy = np.nan
    step = {k: float(v) for k, v in task.validation_step(collate(structures), 0).items()}
    metrics = task.validation_metrics(step)
    assert set(metrics) == {"objective", "forces_mae", "forces_rmse"}
    assert metrics["objective"] > 0
    only_energies = module(forces=0.0)
    step = {k: float(v) for k, v in only_energies.validation_step(collate(structures), 0).items()}
    assert np.isnan(only_energies.validation_metrics(step)["objective"])
    assert set(task.training_metrics([0.0, 6.0, 0.0, 3.0])) == {"loss", "force_loss"}
    assert task.training_metrics([0.0, 6.0, 0.0, 3.0])["loss"] == 20.0


def test_metrics_are_in_mev():
    task = module()
    batch = collate([labelled(0, energy=3.0)])
    metrics = task.validation_metrics({k: float(v) for k, v in task.validation_step(batch, 0).items()})
    result = task.model.eval()(batch)
    error = float(result.energy - 3.0)
    assert metrics["energy_mae"] == pytest.approx(1e3 * abs(error))
    assert metrics["energy_mae_per_atom"] == pytest.approx(1e3 * abs(error) / 5)
    assert metrics["forces_mae"] == pytest.approx(1e3 * float((result.forces - 1).abs().mean()))


def test_energies_alone_need_no_forces():
    task = module(forces=0.0, energy=1.0)
    errors = task.errors(task.model, collate([labelled(0)]))
    assert errors.forces is None
    errors.energy.square().sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in task.model.parameters())


@pytest.mark.parametrize(("kind", "expected"), [("mse", 4.0), ("mae", 2.0), ("huber", 0.5 * (2 - 0.25))])
def test_losses_are_what_their_names_say(kind, expected):
    loss = EnergyForceLoss(kind=kind, delta=0.5, per_atom=False)
    missing = error_of(torch.ones(1, 3), torch.full((1, 3), float("nan")))
    one = torch.zeros(1, dtype=torch.int64)
    errors = Errors(torch.tensor([2.0]), missing, None, torch.tensor([4.0]), one)
    energy, forces, stress = loss.sums(errors)
    assert float(energy) == pytest.approx(expected)
    assert float(forces) == float(stress) == 0.0


def test_bad_losses_and_averages_are_refused():
    with pytest.raises(ValueError, match="one of them must be above 0"):
        EnergyForceLoss(energy=0, forces=0)
    task = module()
    with pytest.raises(ValueError, match="ema=1"):
        InteratomicPotential(task.model, task.loss, AdamW(1e-3), Schedule(), 10, ema=1)


def test_the_average_forgets_its_first_weights():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    average = WeightAverage(model, 0.999)
    average.update(model)
    torch.nn.init.ones_(model.weight)
    for _ in range(100):
        average.update(model)
    assert 0.99 < float(average.module.weight) < 1


def test_the_average_is_what_pytorchs_is_and_goes_on_from_its_state_to_the_bit():
    """Its checkpoints are those of version 0.1.0, which used PyTorch's class."""

    def weighed(average, current, updates):
        n = float(updates)
        torch._foreach_lerp_(average, current, 1 - min(0.9, (1 + n) / (10 + n)))

    model = torch.nn.BatchNorm1d(3)
    ours, theirs = WeightAverage(model, 0.9), AveragedModel(model, multi_avg_fn=weighed)
    for n in range(15):
        torch.nn.init.normal_(model.weight)
        model.running_mean.fill_(n)
        ours.update(model)
        theirs.update_parameters(model)
        if n == 7:
            state = theirs.state_dict()
            assert list(ours.state_dict()) == list(state)
            ours = WeightAverage(torch.nn.BatchNorm1d(3), 0.9)
            ours.load_state_dict(state)
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key


def test_a_plateau_lowers_the_rate_and_ends_the_run():
    task = module()
    task.schedule = Plateau(factor=0.5, patience=0, stop_below=2e-4)
    task.configure_optimizers()
    ends = [task.validated(1.0) for _ in range(4)]
    assert ends == [False, False, False, True]
