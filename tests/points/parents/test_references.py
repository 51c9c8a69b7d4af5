"""Reference energies of a trained potential follow another level of theory by what the labels say."""

import numpy as np
import pytest

from chemscale.points.parents.references import fit_shifts, predicted_energies, refit
from chemscale.points.run import train_point
from chemscale.structures.references import compositions
from tests.helpers.levels import toy_file
from tests.helpers.points import potential_in

OFFSETS = {1: 0.731, 6: -12.25, 8: 101.5}
SHORT = ("budget.steps=30", "trainer.validate_every=30", "trainer.checkpoint_steps=null")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("levels")
    toy_file(made / "old.extxyz")
    toy_file(made / "new.extxyz", offsets=OFFSETS)
    return made


@pytest.fixture(scope="module")
def parent(folder):
    point = potential_in(folder, *SHORT, f"data.path={folder}/old.extxyz")
    train_point(point, [])
    return point.directory


@pytest.fixture(scope="module")
def moved(folder, parent):
    """A point of the new level that begins from it."""
    return begun(folder, parent, "new")


def begun(folder, parent, name, *more):
    return potential_in(folder, *SHORT, f"data.path={folder}/{name}.extxyz", f"model.from={parent}", *more)


def test_offsets_of_elements_are_found_to_a_millionth_and_the_error_is_the_parents(folder, parent, moved):
    old, new = begun(folder, parent, "old"), moved
    theirs = np.array(old.beginning.parent.references)
    shift = np.array(new.statistics.references) - np.array(old.statistics.references)
    assert shift == pytest.approx([OFFSETS[z] for z in (1, 6, 8)], abs=1e-6)
    assert new.statistics.scale == old.beginning.parent.scale
    assert new.statistics.neighbours == old.beginning.parent.neighbours
    counts = compositions(old.store, old.data.train, old.statistics.elements)
    every = np.arange(len(old.data.train))
    parents = old.store.energies(old.data.train) - predicted_energies(
        old.beginning.parent.load(), old.data, every
    )
    begins = new.store.energies(new.data.train) - predicted_energies(new.build_potential(), new.data, every)
    least = parents - counts @ (np.array(old.statistics.references) - theirs)
    assert begins == pytest.approx(least, abs=1e-4), "float32 weights, energies of 2,000 eV"
    assert np.square(begins).mean() <= np.square(parents).mean() + 1e-8
    assert "shifted" in " ".join(new.notes)


def test_kept_references_are_the_parents(folder, parent, moved):
    point = begun(folder, parent, "new", "model.references=parent")
    assert point.statistics.references == point.beginning.parent.references
    assert point.config["model"]["references"] == "parent"
    assert point.identity != moved.identity
    assert "stay the parent's" in " ".join(point.notes)


def test_shifts_are_exact_where_labels_are_the_networks_own_plus_offsets(moved):
    point = moved
    model = point.beginning.parent.load()
    every = np.arange(len(point.data.train))
    counts = compositions(point.store, point.data.train, (1, 6, 8))
    exact = predicted_energies(model, point.data, every) + counts @ np.array([0.5, -3.0, 7.25])
    real = point.store._energies
    point.store._energies = np.array(real)
    point.store._energies[point.data.train] = exact
    found = refit(model, point.data, ())
    point.store._energies = real
    assert np.array(found.values) - model.references.numpy() == pytest.approx([0.5, -3.0, 7.25], abs=1e-6)


def test_without_energies_they_stay(moved):
    point = moved
    real = point.store._energies
    point.store._energies = np.full_like(np.array(real), np.nan)
    found = refit(point.beginning.parent.load(), point.data, ())
    point.store._energies = real
    assert found.values == point.beginning.parent.references
    assert "No training frame has an energy" in found.notes[0]


def test_what_compositions_do_not_determine_is_the_smallest_that_fits():
    water = np.tile([2.0, 0.0, 1.0], (5, 1))
    shifts, rank = fit_shifts(water, np.full(5, 10.0), np.zeros(3, bool))
    assert rank == 1
    assert shifts == pytest.approx([4.0, 0.0, 2.0])


def test_a_new_element_takes_what_is_its_own_and_the_others_stay():
    counts = np.tile([3.0, 1.0], (4, 1))  # hydrogen, and nitrogen that the parent did not know
    shifts, _ = fit_shifts(counts, np.full(4, -1480.0), np.array([False, True]))
    assert shifts == pytest.approx([0.0, -1480.0])
    several = np.array([[3.0, 1.0], [2.0, 0.0], [6.0, 2.0], [4.0, 0.0]])
    shifts, rank = fit_shifts(several, several @ [0.25, -1480.0], np.array([False, True]))
    assert (rank, *shifts) == (2, pytest.approx(0.25), pytest.approx(-1480.0))
    kept, _ = fit_shifts(several, several @ [0.0, -1480.0], np.array([False, True]), keep=True)
    assert kept == pytest.approx([0.0, -1480.0])
