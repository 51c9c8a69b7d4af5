"""Ranks adopt a compiled step together or not at all, and say why in one line."""

import logging
import threading

import pytest
import torch
from torch import nn

from chemscale.training.compilation.adoption import adopt
from chemscale.training.compilation.comparison import Difference, compare
from chemscale.training.distributed.control import Control
from chemscale.training.distributed.ranks import Ranks

EXACT = Difference(1e-7, "energies")


class Together:
    """Control of threads in the place of ranks."""

    def __init__(self, rank, world, barrier, box):
        self.ranks, self.barrier, self.box = Ranks(rank=rank, world=world), barrier, box

    def gather(self, value):
        self.box[self.ranks.rank] = value
        self.barrier.wait(10)
        found = list(self.box)
        self.barrier.wait(10)
        return found

    def any(self, flag):
        return any(self.gather(flag))


def adopt_on_ranks(makers):
    """What each rank adopts."""
    barrier, box, found = threading.Barrier(len(makers)), [None] * len(makers), {}

    def run(rank):
        found[rank] = adopt(makers[rank], "32", Together(rank, len(makers), barrier, box))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(makers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return [found[rank] for rank in range(len(makers))]


def test_a_right_step_is_adopted(caplog):
    with caplog.at_level(logging.INFO):
        assert adopt(lambda: ("step", EXACT), "32", Control(Ranks())) == "step"
    assert "Compiled in" in caplog.text


@pytest.mark.parametrize("value", [0.009, float("nan")])
def test_a_step_with_wrong_gradients_is_left_with_one_line(value, caplog):
    wrong = Difference(value, "network.embedding.weight")
    assert adopt(lambda: ("step", wrong), "32", Control(Ranks())) is None
    (record,) = caplog.records
    assert "network.embedding.weight" in record.message
    assert "trainer.compile=false" in record.message


def test_the_first_rank_of_a_node_compiles_before_the_others():
    order = []
    makers = [lambda rank=rank: order.append(rank) or ("step", EXACT) for rank in range(3)]
    assert adopt_on_ranks(makers) == ["step"] * 3
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2]


def test_a_rank_that_cannot_compile_keeps_all_from_it():
    def fails():
        raise RuntimeError("no space left")

    assert adopt_on_ranks([lambda: ("step", EXACT), fails]) == [None, None]


def test_a_gradient_that_is_lost_is_found_though_values_agree():
    weight = nn.Parameter(torch.tensor([2.0, 3.0]))

    def right(state):
        return {"y": state["weight"] ** 2}

    def wrong(state):
        return {"y": state["weight"] * state["weight"].detach()}

    assert compare(right, right, {"weight": weight}).value == 0
    found = compare(right, wrong, {"weight": weight})
    assert (found.where, found.value) == ("weight", pytest.approx(0.5))
    assert weight.grad is None


def test_a_weight_that_begins_at_zero_hides_nothing():
    state = {"last": nn.Parameter(torch.zeros(3)), "first": nn.Parameter(torch.ones(3))}

    def right(values):
        return {"y": values["last"] * values["first"]}

    def wrong(values):
        return {"y": values["last"] * values["first"].detach()}

    assert compare(right, wrong, state).where == "first"
