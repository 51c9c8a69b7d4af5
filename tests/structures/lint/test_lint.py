"""The linter: silent on sound data, and each fault is named with its way out."""

from dataclasses import replace

import numpy as np
import pytest
from ase import units

from chemscale.structures.lint import lint, report
from chemscale.structures.lint.counting import Group
from chemscale.structures.lint.geometry import fingerprints
from chemscale.structures.lint.labels import bond_pull
from chemscale.structures.sources import open_source
from tests.helpers.paths import real_data
from tests.helpers.structures import WATER, springs, toy_blocks


def rotated(block, seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return replace(block, positions=block.positions @ q + 3.0, forces=block.forces @ q)


def change(block, **values):
    return replace(block, **values)


rng = np.random.default_rng(1)
FAULTS = {
    "gradients passed as forces": (
        lambda b: change(b, forces=-b.forces),
        "force sign",
        "Set data.units.gradients=true",
    ),
    "Hartree passed as eV": (
        lambda b: change(b, energies=b.energies / units.Hartree, forces=b.forces / units.Hartree),
        "energy and force units",
        "data.units.energy=Hartree",
    ),
    "energies alone in Hartree": (
        lambda b: change(b, energies=b.energies / units.Hartree),
        "energy and force units",
        "energies in Hartree beside forces in eV/Å",
    ),
    "kcal/mol passed as eV": (
        lambda b: change(b, energies=b.energies / 0.0433641, forces=b.forces / 0.0433641),
        "energy and force units",
        "data.units.energy=kcal/mol",
    ),
    "Bohr passed as Å": (
        lambda b: change(b, positions=b.positions / units.Bohr, forces=b.forces * units.Bohr),
        "length unit",
        "data.units.length=Bohr",
    ),
    "a shuffled energy column": (
        lambda b: change(b, energies=rng.permutation(b.energies)),
        "shuffled labels",
        "it is the energies that belong to other rows",
    ),
    "a shuffled force column": (
        lambda b: change(b, forces=b.forces[rng.permutation(len(b))]),
        "shuffled labels",
        "it is the forces that belong to other rows",
    ),
}


def faults_of(blocks):
    return [f for f in lint({"train": lambda: iter(blocks)}) if f.severity != "note"]


@pytest.fixture(scope="module", params=["toy", "ethanol", "acac"])
def blocks(request):
    if request.param == "toy":
        return [rotated(b, seed) for seed, b in enumerate(toy_blocks(300, noise=0.05))]
    file = {"ethanol": "rmd17_ethanol.npz", "acac": "botnet_acac__train_300K.xyz"}[request.param]
    return list(open_source(real_data(f"atoms/{file}")).blocks())


def test_sound_data_pass(blocks):
    assert faults_of(blocks) == []


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_and_the_way_out_is_named(blocks, name):
    spoil, check, words = FAULTS[name]
    found = faults_of([spoil(b) for b in blocks])
    assert [f.check for f in found if f.severity == "error"][:1] == [check], found
    assert any(words in f.message for f in found), found


def test_atomisation_energies_in_hartree_are_caught_by_the_stiffness_of_bonds(blocks):
    def spoil(block):
        return change(
            block, energies=(block.energies - block.energies.mean()) / units.Hartree,
            forces=block.forces / units.Hartree,
        )  # fmt: skip

    found = faults_of([spoil(b) for b in blocks])
    assert any("pull stretched bonds back" in f.message and "Hartree" in f.message for f in found)


RELEASED = (
    "modelforge_samples__SPICE-1.1.4_n2.hdf5",
    "modelforge_samples__ani1_n5.hdf5",
    "rmd17_benzene.npz",
    "botnet_3bpa__train_300K.xyz",
    "nff_ethanol_ccsdt__ethanol_ccsd_t-train.npz",
)


@pytest.mark.parametrize("file", RELEASED)
def test_released_data_read_by_their_readers_have_no_errors(file):
    source = open_source(real_data(f"atoms/{file}"))
    assert [f for f in lint({"train": source.blocks}) if f.severity == "error"] == []


def test_without_neighbours_bonds_tell_the_sign():
    single = [change(b, forces=-b.forces).select(np.arange(30)) for b in toy_blocks(30, noise=0.05)]
    lonely = [replace(b, energies=np.full(len(b), np.nan)) for b in single]
    found = faults_of(lonely)
    assert any("push stretched bonds further apart" in f.message for f in found)


def test_copies_are_found_however_they_are_turned_or_ordered():
    water, methanol = toy_blocks(40)
    order = np.array([0, 2, 1])
    copy = rotated(replace(water.select(np.array([7])), positions=water.positions[[7]][:, order],
                           forces=water.forces[[7]][:, order]))  # fmt: skip
    found = [f for f in faults_of([water, methanol, copy]) if f.check == "duplicates"]
    assert "1 frames repeat" in found[0].message
    leaking = lint({"train": lambda: iter([water]), "test": lambda: iter([copy, methanol])})
    errors = {f.check: f.message for f in leaking if f.severity == "error"}
    assert "1 of 41 frames of the test part" in errors["leakage"]
    assert "Z = [6]" in errors["element coverage"]


def test_different_elements_and_geometries_have_different_fingerprints():
    water, _ = toy_blocks(200)
    prints = fingerprints(water.numbers, water.positions)
    assert len(np.unique(prints[:, 0])) == 200
    other = fingerprints(np.array([16, 1, 1]), water.positions)
    assert not np.isin(prints, other).any()
    moved = fingerprints(water.numbers, rotated(water).positions)
    assert ((prints == moved).any(axis=1)).all()


def test_missing_labels_outliers_and_net_forces_are_counted():
    water, methanol = toy_blocks(100)
    water.energies[:10] = np.nan
    water.forces[20:30] = np.nan
    methanol.forces[5, 0] = np.nan
    methanol.energies[50] += 40.0
    methanol.forces[60:63, :, 2] += 2.0
    water.positions[99, 1] = water.positions[99, 2] + 0.1
    found = {f.check: f for f in lint({"train": lambda: iter([water, methanol])})}
    assert (
        "190 have an energy, 190 have forces, 1 forces of some atoms only" in found["missing labels"].message
    )
    assert "methanol, row 150" in found["outliers"].message
    assert "In 3 of 200 frames" in found["net force"].message
    assert "0.173 Å in water, row 99" in found["close atoms"].message


def test_the_report_puts_errors_first_and_names_what_passed(blocks):
    lines = report(lint({"train": lambda: iter([change(b, forces=-b.forces) for b in blocks])}))
    assert lines[0].startswith("ERROR · force sign")
    assert lines[-1].startswith("ok · ")
    assert "force sign" not in lines[-1]


def test_the_order_of_compositions_changes_nothing():
    def stretched(name, numbers, rest, frames, stiffness):
        positions = rest + np.random.default_rng(0).normal(0, 0.015, (frames, *rest.shape))
        labels = [springs(rest, p, stiffness) for p in positions]
        forces = np.array([f for _, f in labels])
        return Group(name, numbers, positions, np.array([e for e, _ in labels]), forces, np.arange(frames))

    hydrogen = stretched("H2", np.array([1, 1]), np.array([[0.0, 0, 0], [0.7, 0, 0]]), 12, 60.0)
    water = stretched("water", *WATER, 40, 15.0)
    assert bond_pull([hydrogen, water]) == pytest.approx(bond_pull([water, hydrogen]))
