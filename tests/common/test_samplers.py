"""Loaders of training: which batches, built by whom."""

from types import SimpleNamespace

import pytest
import torch

from chemscale.common.samplers import training_loader
from tests.helpers.points import point_in, potential_in


def trainer_on(device, step=3, steps=9):
    strategy = SimpleNamespace(root_device=torch.device(device))
    return SimpleNamespace(strategy=strategy, global_step=step, max_steps=steps)


def loader_of(point, device, workers):
    batches = point.data.training_batches()
    return training_loader(batches, trainer_on(device), accumulate=1, skipped=[], workers=workers)


@pytest.mark.parametrize(
    ("device", "cores", "workers", "expected"),
    [("cuda", 8, None, 2), ("cuda", 2, None, 0), ("cuda", 8, 0, 0), ("cpu", 8, None, 0), ("cpu", 8, 3, 3)],
)
def test_batches_are_built_beside_training_where_a_gpu_trains_and_cores_are_free(
    tmp_path, smiles_file, monkeypatch, device, cores, workers, expected
):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    loader = loader_of(point_in(tmp_path, smiles_file), device, workers)
    assert loader.num_workers == expected
    assert loader.pin_memory is (device == "cuda")


@pytest.mark.parametrize("task", ["language", "potential"])
def test_batches_that_others_build_are_those_of_this_process_in_the_same_order(tmp_path, smiles_file, task):
    point = point_in(tmp_path, smiles_file) if task == "language" else potential_in(tmp_path)
    name = "tokens" if task == "language" else "pos"
    alone, helped = (list(loader_of(point, "cpu", workers)) for workers in (0, 2))
    assert len(alone) == 6
    assert all(torch.equal(getattr(a, name), getattr(b, name)) for a, b in zip(alone, helped, strict=True))
    assert [a.counts for a in alone] == [b.counts for b in helped]
