"""A network that knows no charge is not given the same atoms with several."""

import numpy as np
import pytest

from chemscale.structures.charges import ChargeError, check_charges
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.references import statistics
from tests.helpers.structures import ToySource, toy_blocks


def store_of(folder, charges, spins):
    """Water and methanol, each with charges and multiplicities in turn."""
    blocks = toy_blocks(6)
    for block, own, multiplicities in zip(blocks, charges, spins, strict=True):
        block.charges = np.resize(np.array(own, np.int8), 6)
        block.spins = np.resize(np.array(multiplicities, np.uint8), 6)
    return build_store(ToySource(blocks), folder, SplitPolicy(validation=0.0))


def checked(store):
    return check_charges(store, np.asarray(store.part("train")), "painn")


def test_the_same_atoms_with_two_charges_are_refused_by_formula_charge_and_row(tmp_path):
    store = store_of(tmp_path / "s", [[0], [0, 1]], [[1], [1, 2]])
    words = r"painn knows no charge.*CH4O with the charges .*\+1 \(methanol, row"
    with pytest.raises(ChargeError, match=words) as error:
        checked(store)
    assert "0 (methanol, row" in str(error.value)
    assert "model=spookynet" in str(error.value)


def test_charges_of_different_formulas_and_multiplicities_are_said(tmp_path):
    (note,) = checked(store_of(tmp_path / "s", [[0], [1]], [[1, 3], [0]]))
    assert "charges 0 (6), +1 (6) and multiplicities 1 (3), 3 (3)" in note


def test_one_charge_is_nothing_to_say(tmp_path):
    assert checked(store_of(tmp_path / "a", [[0], [0]], [[0, 1], [1]])) == []
    assert checked(store_of(tmp_path / "b", [[-1], [-1]], [[1], [1]])) == []


def test_statistics_hold_the_states_of_the_training_subset(tmp_path):
    store = store_of(tmp_path / "s", [[0], [0, 1]], [[1], [1, 2]])
    train = np.asarray(store.part("train"))
    assert statistics(store, train, np.full(12, 6), "none").electrons == ((0, 1), (1, 2))
    waters = np.flatnonzero(store.sizes == 3)
    assert statistics(store, waters, np.full(6, 6), "none").electrons == ((0, 1),)
