"""The linter: silent on sound data, and each fault is named with its way out."""

from dataclasses import replace

import numpy as np
import pytest
from ase import units

from chemscale.structures.lint import CHECKS, lint, report, verdicts
from chemscale.structures.sources import open_source
from tests.helpers.paths import real_data
from tests.helpers.structures import rotated, toy_blocks


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
    return [f for f in lint({"train": lambda: iter(blocks)}) if f.severity in ("error", "warning")]


@pytest.fixture(scope="module", params=["toy", "ethanol", "acac"])
def blocks(request):
    if request.param == "toy":
        return [rotated(b, seed) for seed, b in enumerate(toy_blocks(300, noise=0.05))]
    file = {"ethanol": "rmd17_ethanol.npz", "acac": "botnet_acac__train_300K.xyz"}[request.param]
    return list(open_source(real_data(f"atoms/{file}")).blocks())


def test_sound_molecules_pass_every_check_but_leakage_and_stress_which_they_lack(blocks):
    told = verdicts(lint({"train": lambda: iter(blocks)}))
    assert told == {c: "not checked" if c in ("leakage", "stress") else "ok" for c in CHECKS}


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
    "modelforge_samples__ani2x_minimal.hdf5",
    "rmd17_benzene.npz",
    "botnet_3bpa__train_300K.xyz",
    "nff_ethanol_ccsdt__ethanol_ccsd_t-train.npz",
    "aimnet2_sample__dataset.h5",
)


@pytest.mark.parametrize("file", RELEASED)
def test_released_data_read_by_their_readers_have_no_errors(file):
    source = open_source(real_data(f"atoms/{file}"))
    assert [f for f in lint({"train": source.blocks}) if f.severity == "error"] == []


def test_subsets_of_sound_data_have_no_errors_however_small(blocks):
    random = np.random.default_rng(2)
    for frames in (2, 3, 5, 10, 20, 30, 50):
        for _ in range(4):
            chosen = blocks[0].select(random.choice(len(blocks[0]), frames, replace=False))
            assert [f for f in faults_of([chosen]) if f.severity == "error"] == []


def test_without_energies_bonds_tell_the_sign():
    lonely = [
        replace(b, forces=-b.forces, energies=np.full(len(b), np.nan)) for b in toy_blocks(15, noise=0.05)
    ]
    assert any("push stretched bonds further apart" in f.message for f in faults_of(lonely))


def test_relaxed_conformers_have_energies_without_forces_and_are_not_called_shuffled():
    block = toy_blocks(60, noise=0.05)[1]
    relaxed = replace(block, forces=1e-4 * block.forces, energies=rng.normal(-3000, 0.2, 60))
    assert not any(f.check == "shuffled labels" for f in faults_of([relaxed]))


def test_rounded_energies_of_tiny_steps_are_not_called_shuffled():
    block = toy_blocks(100, noise=0.05)[1]
    steps = np.linspace(0, 0.004, 100)[:, None, None]
    still = replace(
        block, positions=block.positions[:1] + steps * np.array([1.0, 0, 0]) * np.eye(6)[0][:, None]
    )
    still = replace(still, forces=np.repeat(block.forces[:1], 100, axis=0) + 1e-6 * block.forces,
                    energies=np.round(rng.normal(-3000, 3e-4, 100), 3))  # fmt: skip
    assert not any(f.check == "shuffled labels" for f in faults_of([still]))


@pytest.mark.parametrize(
    ("spoil", "check", "reason"),
    [
        (lambda b: change(b, forces=np.full_like(b.forces, np.nan)), "force sign", "no forces"),
        (lambda b: change(b, forces=np.full_like(b.forces, np.nan)), "zero forces", "no forces"),
        (lambda b: change(b, energies=np.full(len(b), np.nan)), "shuffled labels", "no energies"),
        (lambda b: b.select(np.arange(2)), "outliers", "fewer than 20 frames"),
        (lambda b: b.select(np.arange(1)), "duplicates", "fewer than 2 frames"),
        (lambda b: b, "leakage", "one part only"),
    ],
)
def test_a_check_that_did_not_run_says_why_and_is_never_ok(spoil, check, reason):
    found = lint({"train": lambda: iter([spoil(toy_blocks(40)[0])])})
    assert verdicts(found)[check] == "not checked"
    told = [line for line in report(found) if line.startswith("not checked") and check in line]
    assert len(told) == 1
    assert reason in told[0]
    assert not any(check in line for line in report(found) if line.startswith("ok"))


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
    assert "In 3 of 189 frames" in found["net force"].message
    assert "0.173 Å in water, row 99" in found["close atoms"].message


def test_isolated_atoms_beside_molecules_are_no_outliers():
    _, methanol = toy_blocks(60)
    oxygen = replace(methanol.select(np.arange(1)), numbers=[8], positions=np.zeros((1, 1, 3)),
                     forces=np.zeros((1, 1, 3)), energies=np.array([-2041.0]))  # fmt: skip
    assert faults_of([oxygen, methanol]) == []


def test_the_report_puts_errors_first_and_names_what_passed(blocks):
    lines = report(lint({"train": lambda: iter([change(b, forces=-b.forces) for b in blocks])}))
    assert lines[0].startswith("ERROR · force sign")
    passed = next(line for line in lines if line.startswith("ok · "))
    assert "force sign" not in passed
    assert lines.index(passed) < len(lines) - 1
    assert all(line.startswith("not checked · ") for line in lines[lines.index(passed) + 1 :])
