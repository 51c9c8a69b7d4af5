"""Isolated atoms are references and nothing else; a crystal with one atom in its cell is none of them."""

import numpy as np
import pytest

from chemscale.structures.blocks import Block
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.references import ReferenceEnergyError, reference_energies, statistics
from tests.helpers.structures import ATOMS, ToySource, toy_blocks

BINDING = -3.0  # eV an atom


def atom(z, energy, name="IsolatedAtom", *, row=1000, cell=None, charge=0, spin=0):
    """One frame of one atom, in vacuum or in a cubic cell."""
    return Block(
        name,
        np.array([z]),
        np.zeros((1, 1, 3)),
        np.array([energy]),
        np.zeros((1, 1, 3)),
        np.array([row]),
        np.array([charge]),
        np.array([spin]),
        None if cell is None else np.eye(3)[None] * cell,
        None if cell is None else np.ones((1, 3), bool),
    )


def molecules():
    blocks = toy_blocks(20)
    for block in blocks:
        block.energies += BINDING * len(block.numbers)
    return blocks


def store_of(blocks, folder, **policy):
    return build_store(ToySource(blocks), folder, SplitPolicy(**{"validation": 0.2, **policy}))


def found(store, method="fit", cutoff=5.0, elements=None):
    return reference_energies(
        store, np.asarray(store.part("train")), elements or store.elements, method, cutoff
    )


@pytest.mark.parametrize("name", ["IsolatedAtom", "isolated_atom", "train/Isolated Atom", "C"])
@pytest.mark.parametrize("method", ["fit", "isolated"])
def test_isolated_atoms_are_the_references_and_in_no_part(tmp_path, name, method):
    atoms = [atom(z, ATOMS[z], name, row=1000 + z) for z in ATOMS]
    store = store_of([atoms[0], *molecules(), *atoms[1:]], tmp_path / "s")
    assert found(store, method).values == tuple(ATOMS[z] for z in (1, 6, 8))
    assert found(store, method).notes == ("Reference energies of H, C, O: isolated atoms of the data.",)
    parts = np.concatenate([store.part(part) for part in ("train", "validation", "test")])
    assert sorted(set(range(43)) - set(parts.tolist())) == sorted(store.part("isolated"))
    assert store.sizes[parts].min() > 1
    assert store.manifest["counts"]["isolated"] == 3
    (note,) = store.manifest["notes"]
    assert note.startswith("Isolated atoms, in no part: 3 (C, H, O). They give the reference energies")


@pytest.mark.parametrize("turn", [1, -1])
def test_a_primitive_cell_is_no_isolated_atom_in_any_order_of_frames(tmp_path, turn):
    strained = [atom(29, -1000 + 0.01 * i, "fcc", row=i, cell=2.5 + 0.05 * i) for i in range(10)]
    blocks = [atom(29, -996.49, cell=9.0), *strained][::turn]
    store = store_of(blocks, tmp_path / "s")
    assert found(store, "isolated").values == found(store).values == (-996.49,)
    assert len(store.part("train")) + len(store.part("validation")) == 10
    with pytest.raises(ReferenceEnergyError, match="with one atom in its cell is none"):
        found(store_of(strained, tmp_path / "bulk"), "isolated")


def test_an_atom_called_isolated_in_a_small_cell_is_said(tmp_path):
    strained = [atom(29, -1000 + 0.01 * i, "fcc", row=i, cell=2.5 + 0.05 * i) for i in range(10)]
    store = store_of([*strained, atom(29, -999.0, cell=2.6)], tmp_path / "s")
    said = "Isolated atoms with an image within 4 Å: 1, as IsolatedAtom, row 1000."
    assert any(note.startswith(said) for note in store.manifest["notes"])


def test_an_atom_without_an_image_in_the_cutoff_is_isolated_whatever_its_name(tmp_path):
    strained = [atom(29, -1000 + 0.01 * i, "Cu", row=i, cell=2.5 + 0.05 * i) for i in range(10)]
    box = store_of([atom(29, -996.5, "Cu", cell=7.0), *strained], tmp_path / "box")
    assert found(box, "isolated", cutoff=6.0).values == (-996.5,)
    with pytest.raises(ReferenceEnergyError, match="no isolated neutral atom of Cu"):
        found(box, "isolated", cutoff=7.5)
    far = store_of([atom(29, -996.5, "Cu", cell=12.0), *strained], tmp_path / "far")
    assert found(far).values == (-996.5,)


def test_atoms_that_contradict_each_other_are_refused_with_both_values(tmp_path):
    atoms = [atom(1, -13.6, row=7), atom(1, -12.0, row=8)]
    store = store_of([*molecules(), *atoms], tmp_path / "s")
    for method in ("fit", "isolated"):
        both = r"of H contradict.*-13\.600000 eV .*row 7.*-12\.000000 eV .*row 8.* 0\.01 eV"
        with pytest.raises(ReferenceEnergyError, match=both):
            found(store, method)
    assert "Isolated atoms of the data, not used: 2 (data.references)." in found(store, "minimum_norm").notes
    assert found(store, {1: 0.0, 6: 0.0, 8: 0.0}).values == (0.0, 0.0, 0.0)


def test_ions_and_excited_states_are_no_references(tmp_path):
    atoms = [
        atom(8, ATOMS[8] + 2.0, row=1, spin=1),
        atom(8, ATOMS[8], row=2, spin=3),
        atom(8, ATOMS[8] - 1.4, row=3, charge=-1, spin=2),
        atom(8, ATOMS[8] + 0.004, row=4),
        atom(8, ATOMS[8] - 5.0, "O", row=5),
        atom(1, ATOMS[1], row=6),
        atom(6, np.nan, row=7),
        atom(6, ATOMS[6], row=8),
    ]
    store = store_of([*molecules(), *atoms], tmp_path / "s")
    assert found(store).values == tuple(ATOMS[z] for z in (1, 6, 8))
    assert len(store.part("isolated")) == 7
    assert store.manifest["notes"][-1].startswith(
        "Frames called IsolatedAtom that have a charge or several atoms: 1, for example IsolatedAtom, row 3."
    )


def test_elements_without_an_isolated_atom_are_fitted_to_what_is_left_and_named(tmp_path):
    store = store_of([*molecules(), atom(1, ATOMS[1]), atom(6, ATOMS[6], row=2)], tmp_path / "s")
    references = found(store)
    assert references.values[:2] == (ATOMS[1], ATOMS[6])
    train = np.asarray(store.part("train"))
    bonds = [BINDING * len(store.numbers(f)) for f in train]
    assert references.values[2] == pytest.approx(ATOMS[8] + np.mean(bonds), abs=1.0)
    assert references.notes[1].startswith("There is no isolated atom of O: fitted to what the others leave")


def test_atoms_on_another_scale_of_energies_are_said(tmp_path):
    in_hartree = [atom(z, ATOMS[z] / 27.2, row=1000 + z) for z in ATOMS]
    store = store_of([*molecules(), *in_hartree], tmp_path / "s")
    assert "which no bonds have: the atoms are in another unit" in found(store).notes[1]


def test_an_element_of_isolated_atoms_alone_is_unknown_to_the_potential(tmp_path):
    store = store_of([*molecules(), *(atom(z, -10.0 * z, row=z) for z in (1, 6, 7, 8))], tmp_path / "s")
    assert store.elements == (1, 6, 8)
    train = np.asarray(store.part("train"))
    assert statistics(store, train, np.full(len(train), 6), "fit").references == (-10.0, -60.0, -80.0)


def test_published_parts_keep_the_atoms_that_are_in_them(tmp_path):
    published = {"train": np.array([0, 1, 50]), "test": np.arange(2, 9)}
    source = ToySource([*molecules(), atom(1, -13.6, row=50)], published)
    store = build_store(source, tmp_path / "s", SplitPolicy(validation=0.0))
    assert len(store.part("train")) == 3
    assert not len(store.part("isolated"))
