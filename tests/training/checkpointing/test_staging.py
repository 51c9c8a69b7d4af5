"""The copy of a state that is written while training goes on."""

import pytest
import torch

from chemscale.training.checkpointing.staging import Staging


def state(device="cpu", size=3):
    weights = torch.arange(float(size), device=device)
    return {"weights": weights, "view": weights.view(1, -1).T, "moments": [torch.zeros(2, device=device), 7]}


def test_a_copy_holds_what_the_state_was_when_it_was_made():
    now = state()
    copy, wait = Staging().copy(now)
    wait()
    now["weights"].fill_(-1)
    assert copy["weights"].tolist() == [0, 1, 2]
    assert copy["view"].tolist() == [[0], [1], [2]]
    assert copy["moments"][1] == 7


def test_the_next_copy_takes_the_same_memory_where_the_shapes_are_the_same():
    staging = Staging()
    first = staging.copy(state())[0]
    places = [first["weights"].data_ptr(), first["view"].data_ptr(), first["moments"][0].data_ptr()]
    second = staging.copy({**state(), "weights": torch.full((3,), 9.0)})[0]
    assert [
        second["weights"].data_ptr(),
        second["view"].data_ptr(),
        second["moments"][0].data_ptr(),
    ] == places
    assert second["weights"].tolist() == [9, 9, 9]
    larger = staging.copy(state(size=4))[0]
    assert larger["weights"].tolist() == [0, 1, 2, 3]
    assert larger["moments"][0].data_ptr() == places[2]


@pytest.mark.gpu
def test_a_copy_of_a_gpu_is_queued_in_locked_memory_ahead_of_the_next_step():
    staging, now = Staging(), state("cuda", size=1 << 24)
    copy, wait = staging.copy(now)
    now["weights"].fill_(-1)
    wait()
    assert copy["weights"].is_pinned()
    assert copy["weights"][-1] == (1 << 24) - 1
    again, wait = staging.copy(now)
    wait()
    assert again["weights"].data_ptr() == copy["weights"].data_ptr()
    assert again["weights"][0] == -1
