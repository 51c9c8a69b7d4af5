"""Reference energies: exact where they are determined, refused where they are not."""

import numpy as np
import pytest

from chemscale.structures import references
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.references import ReferenceEnergyError, reference_energies, statistics
from chemscale.structures.store import FrameStore
from tests.helpers.structures import ATOMS, ToySource, toy_blocks


@pytest.fixture
def store(tmp_path):
    blocks = toy_blocks(10, noise=0.0)
    hydrogen = toy_blocks(1)[0]
    hydrogen.numbers, hydrogen.name = np.array([1, 1, 1], np.uint8), "trihydrogen"
    hydrogen.energies = np.array([3 * ATOMS[1]])
    return build_store(ToySource([*blocks, hydrogen]), tmp_path / "s", SplitPolicy(validation=0.0))


def test_a_determined_system_gives_back_the_energies_of_the_atoms(store):
    frames = np.asarray(store.part("train"))
    found = reference_energies(store, frames, (1, 6, 8), "fit").values
    np.testing.assert_allclose(found, [ATOMS[z] for z in (1, 6, 8)], atol=1e-6)


def test_a_degenerate_system_is_refused_with_the_way_out_and_minimum_norm_takes_it(tmp_path):
    store = build_store(ToySource(toy_blocks(5, noise=0.0)[1:]), tmp_path / "d", SplitPolicy(validation=0.0))
    frames = np.asarray(store.part("train"))
    with pytest.raises(ReferenceEnergyError, match=r"rank 1, but there are 3 .*minimum_norm"):
        reference_energies(store, frames, (1, 6, 8), "fit")
    hydrogen, carbon, oxygen = reference_energies(store, frames, (1, 6, 8), "minimum_norm").values
    total = sum(ATOMS[z] * n for z, n in ((1, 4), (6, 1), (8, 1)))
    assert 4 * hydrogen + carbon + oxygen == pytest.approx(total)


def test_given_energies_must_cover_every_element(store):
    frames = np.asarray(store.part("train"))
    given = reference_energies(store, frames, (1, 6, 8), {1: -13.6, 6: -1030.0, 8: -2040.0, 92: 0.0})
    assert given.values == (-13.6, -1030.0, -2040.0)
    with pytest.raises(ReferenceEnergyError, match="does not give C"):
        reference_energies(store, frames, (1, 6, 8), {1: -13.6, 8: -2040.0})
    with pytest.raises(ReferenceEnergyError, match="no isolated neutral atom of H, C, O"):
        reference_energies(store, frames, (1, 6, 8), "isolated", cutoff=5.0)


def test_an_element_that_no_training_frame_has_is_named(store):
    frames = np.asarray(store.part("train"))
    with pytest.raises(ReferenceEnergyError, match=r"None of them holds N\."):
        reference_energies(store, frames, (1, 6, 7, 8), "fit")


def test_the_scale_is_the_force_rms_or_the_spread_of_energies(tmp_path):
    blocks = toy_blocks(20)
    store = build_store(ToySource(blocks), tmp_path / "f", SplitPolicy(validation=0.0))
    frames = np.asarray(store.part("train"))
    everything = np.concatenate([b.forces.ravel() for b in blocks])
    found = statistics(store, frames, np.full(len(frames), 12), "minimum_norm")
    assert found.scale == pytest.approx(float(np.sqrt((everything**2).mean())))
    for block in blocks:
        block.forces[:] = np.nan
    unlabelled = build_store(ToySource(blocks), tmp_path / "e", SplitPolicy(validation=0.0))
    only_energies = statistics(unlabelled, frames, np.full(len(frames), 12), "minimum_norm")
    assert 0 < only_energies.scale < 1


def test_a_scale_without_anything_to_measure_is_said(tmp_path):
    water = toy_blocks(4, noise=0.0)[0]
    water.forces[:] = np.nan
    store = build_store(ToySource([water]), tmp_path / "s", SplitPolicy(validation=0.0))
    found = statistics(store, np.asarray(store.part("train")), np.full(4, 6), "minimum_norm")
    assert found.scale == 1.0
    assert found.notes == ("Neither forces nor energies of the training frames differ: the scale is 1 eV.",)


def test_frames_without_an_energy_take_no_part_in_the_fit(tmp_path):
    blocks = toy_blocks(6, noise=0.0)
    hydrogen = toy_blocks(1)[0]
    hydrogen.numbers, hydrogen.name = np.array([1, 1, 1], np.uint8), "trihydrogen"
    hydrogen.energies = np.array([3 * ATOMS[1]])
    blocks[0].energies[:3] = np.nan
    store = build_store(ToySource([*blocks, hydrogen]), tmp_path / "s", SplitPolicy(validation=0.0))
    found = statistics(store, np.asarray(store.part("train")), np.full(13, 6), "fit")
    np.testing.assert_allclose(found.references, [ATOMS[z] for z in (1, 6, 8)], atol=1e-6)
    assert np.isfinite(found.scale)


@pytest.mark.parametrize("method", ["fit", "minimum_norm"])
def test_a_fit_that_takes_frames_up_part_by_part_is_that_of_the_whole(store, monkeypatch, method):
    frames = np.asarray(store.part("train"))
    whole = reference_energies(store, frames, (1, 6, 8), method).values
    monkeypatch.setattr(references, "WHOLE", 5)
    monkeypatch.setattr(references, "AT_ONCE", 4)
    np.testing.assert_allclose(reference_energies(store, frames, (1, 6, 8), method).values, whole, rtol=1e-12)


def test_what_a_fit_part_by_part_cannot_determine_is_refused_by_the_same_words(tmp_path, monkeypatch):
    store = build_store(ToySource(toy_blocks(5, noise=0.0)[1:]), tmp_path / "d", SplitPolicy(validation=0.0))
    frames = np.asarray(store.part("train"))
    messages = []
    for whole in (references.WHOLE, 2):
        monkeypatch.setattr(references, "WHOLE", whole)
        with pytest.raises(ReferenceEnergyError) as refused:
            reference_energies(store, frames, (1, 6, 8, 9), "fit")
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
    assert "None of them holds F" in messages[0]


def test_neither_a_fit_nor_the_scale_of_energies_alone_reads_all_frames_together(tmp_path, monkeypatch):
    blocks = toy_blocks(15)
    for block in blocks:
        block.forces = np.full_like(block.forces, np.nan)
    store = build_store(ToySource(blocks), tmp_path / "energies", SplitPolicy(validation=0.2))
    frames = np.asarray(store.part("train"))
    whole = statistics(store, frames, np.full(len(frames), 6), "minimum_norm")
    atoms, matrices = [], []
    read, compose = FrameStore.atomic_numbers, references.compositions
    monkeypatch.setattr(
        FrameStore,
        "atomic_numbers",
        lambda self, some: atoms.append(int(self.sizes[some].sum())) or read(self, some),
    )
    monkeypatch.setattr(
        references,
        "compositions",
        lambda store, some, elements: matrices.append(len(some)) or compose(store, some, elements),
    )
    for name, value in (("WHOLE", 5), ("AT_ONCE", 4), ("ATOMS_AT_ONCE", 13)):
        monkeypatch.setattr(references, name, value)
    again = statistics(store, frames, np.full(len(frames), 6), "minimum_norm")
    assert max(matrices) <= 4
    assert max(atoms) <= 13
    np.testing.assert_allclose(again.scale, whole.scale, rtol=1e-6)
