"""One budget, whatever its unit."""

import pytest

from chemscale.points.build import choose_budget
from chemscale.training.budget import Budget, BudgetError, Epoch

EPOCH = Epoch(cuts=100, amounts={"tokens": 50_000, "molecules": 1250}, flops=1e9)
NONE = {"steps": None, "tokens": None, "molecules": None, "epochs": None, "flops": None}


@pytest.mark.parametrize(
    ("unit", "amount", "steps"),
    [("steps", 7, 7), ("epochs", 2, 50), ("tokens", 50_001, 26), ("molecules", 125, 3), ("flops", 1e9, 25)],
)
def test_steps_spend_at_least_the_budget(unit, amount, steps):
    assert Budget(unit, amount).steps(EPOCH, cuts_per_step=4) == steps


def test_a_unit_that_the_data_do_not_have_is_refused():
    with pytest.raises(
        BudgetError, match=r"budget\.frames: choose one of steps, epochs, flops, tokens, molecules"
    ):
        Budget("frames", 10).steps(EPOCH, cuts_per_step=1)


def test_exactly_one_unit_is_needed():
    with pytest.raises(BudgetError, match="none"):
        Budget.from_mapping(NONE)
    with pytest.raises(BudgetError, match=r"budget\.tokens=10, budget\.epochs=1"):
        Budget.from_mapping(NONE | {"epochs": 1, "tokens": 10})
    with pytest.raises(BudgetError, match="above 0"):
        Budget.from_mapping(NONE | {"epochs": -1})


def test_the_unit_named_on_the_command_line_wins():
    from_file = NONE | {"epochs": 1, "steps": 5}
    assert choose_budget(from_file, ["budget.steps=5"]) == NONE | {"steps": 5}
    assert choose_budget(from_file, ["seed=1"]) == from_file
