"""Errors of potentials by group and element, their intervals, and the page."""

import numpy as np
import pytest
import torch

from chemscale.structures.evaluation import tables
from chemscale.structures.evaluation.errors import Sums
from chemscale.structures.evaluation.text import describe_groups
from chemscale.testing.checks import crystal
from tests.helpers.label_errors import compared, frame


def test_errors_are_those_computed_by_hand():
    forces = np.array([[0.1, 0, 0], [0, 0, 0], [0, -0.4, 0]])
    errors = compared([frame([1, 6]), frame([8])], [0.2, -0.3], forces)
    found = tables.values(errors)
    assert found["energy_mae"] == pytest.approx(250)
    assert found["energy_mae_per_atom"] == pytest.approx((100 + 300) / 2)
    assert found["forces_mae"] == pytest.approx(500 / 9)
    assert found["forces_rmse"] == pytest.approx(np.sqrt((100**2 + 400**2) / 9))
    assert not any(key.startswith("stress") for key in found)


def test_forces_are_counted_on_the_atoms_of_an_element_and_energies_in_its_frames():
    forces = np.array([[0.1, 0, 0], [0, 0, 0], [0, -0.4, 0]])
    errors = compared([frame([1, 6]), frame([8])], [0.2, -0.3], forces)
    rows = {group.name: group for group in tables.elements(errors)}
    assert set(rows) == {"H", "C", "O"}
    assert rows["H"].errors["forces"].mae == pytest.approx(100 / 3)
    assert rows["C"].errors["forces"].mae == 0
    assert rows["H"].errors["energy"].mae == rows["C"].errors["energy"].mae == pytest.approx(200)
    assert rows["O"].errors["per_atom"].mae == pytest.approx(300)


def test_a_label_that_is_missing_is_no_error_of_0():
    errors = compared([frame([1]), frame([8], np.nan)], [0.2, 7.0], np.zeros((2, 3)))
    row = tables.row(errors.of("energy"))
    assert (row.frames, row.labels, row.mae) == (1, 1, pytest.approx(200))
    nothing = compared([frame([8], np.nan)], [7.0], np.zeros((1, 3)))
    assert np.isnan(tables.row(nothing.of("energy")).mae)
    assert tables.table(nothing, ["x"], np.zeros(1, int))[0].to_dict()["errors"].keys() == {"forces"}


def test_a_prediction_that_is_not_finite_is_no_error_of_0():
    errors = compared([frame([1]), frame([8])], [np.nan, 0.1], np.full((2, 3), np.inf))
    assert np.isnan(tables.values(errors)["energy_mae"])
    assert tables.values(errors)["forces_mae"] == np.inf


def test_stress_errors_are_of_crystals_with_a_label():
    alone, without = crystal().with_neighbours(3.0), crystal().with_neighbours(3.0)
    alone.stress, without.stress = np.zeros((3, 3)), np.full((3, 3), np.nan)
    for each in (alone, without):
        each.numbers = np.resize(np.array([11, 17], np.uint8), len(each.numbers))
    atoms = len(alone.numbers) + len(without.numbers) + 1
    stress = torch.full((3, 3, 3), 0.002, dtype=torch.float64)
    stress[2] = np.nan  # of a molecule
    errors = compared([alone, without, frame([1])], [0.0] * 3, np.zeros((atoms, 3)), stress)
    row = tables.row(errors.of("stress"))
    assert (row.frames, row.labels) == (1, 9)
    assert row.mae == row.rmse == pytest.approx(2.0)


def test_groups_add_up_to_all_frames():
    frames = [frame([1], e) for e in (0.0, 0.1, 0.2, 0.5)]
    errors = compared(frames, [0.0] * 4, np.zeros((4, 3)))
    whole, *groups = tables.table(errors, ["cold", "hot"], np.array([0, 1, 1, 1]))
    assert [(g.name, g.frames) for g in groups] == [("hot", 3), ("cold", 1)]
    of = {g.name: g.errors["energy"].mae for g in groups}
    assert (3 * of["hot"] + of["cold"]) / 4 == pytest.approx(whole.errors["energy"].mae)
    assert len(list(describe_groups(groups, "config_type"))) == 3
    assert tables.table(errors, ["cold"], np.zeros(4, int))[1:] == []


@pytest.mark.parametrize("frames", [tables.MIN_FRAMES, 200])
def test_the_interval_of_the_mae_holds_the_truth_as_often_as_it_says(frames):
    """Frames differ in size and in how wrong they are, as those of real sets do."""
    rng = np.random.default_rng(0)

    def drawn(k):
        atoms = rng.integers(3, 30, k)
        scale = rng.lognormal(0.0, 0.6, k) * atoms**0.3
        return 3 * atoms, scale * 3 * atoms * rng.gamma(20, 1 / 20, k)

    counts, absolute = drawn(400_000)
    truth = absolute.sum() / counts.sum()
    inside = 0
    for _ in range(2000):
        counts, absolute = drawn(frames)
        low, high = tables.interval(Sums(counts, absolute, absolute, absolute))
        inside += low <= truth <= high
    assert 0.92 <= inside / 2000 <= 0.975


def test_few_frames_have_no_interval():
    errors = compared([frame([1], 0.1)] * (tables.MIN_FRAMES - 1), [0.0] * 39, np.zeros((39, 3)))
    row = tables.row(errors.of("energy"))
    assert row.mae == pytest.approx(100)
    assert np.isnan(row.low)
