"""Batches go to a device while the host goes on."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.helpers.points import point_in, potential_in


class Transfers(TorchFunctionMode):
    """Notes what ``to`` and ``pin_memory`` are called with; nothing is pinned where there is no GPU."""

    def __init__(self):
        super().__init__()
        self.waited, self.went, self.pinned = 0, 0, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name == "to" and torch.device("meta") in (*args, (kwargs or {}).get("device")):
            going = bool((kwargs or {}).get("non_blocking"))
            self.went, self.waited = self.went + going, self.waited + (not going)
        if name == "pin_memory":
            self.pinned += 1
            return args[0]
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("task", ["language", "potential"])
def test_every_tensor_of_a_batch_is_pinned_and_sent_without_waiting(tmp_path, smiles_file, task):
    point = point_in(tmp_path, smiles_file) if task == "language" else potential_in(tmp_path)
    module, batch = point.build_module(), point.data.training_batches()[0]
    with Transfers() as transfers:
        moved = module.transfer_batch_to_device(batch.pin_memory(), torch.device("meta"), 0)
    assert transfers.waited == 0
    assert transfers.went == transfers.pinned >= 4
    assert moved.counts == batch.counts
