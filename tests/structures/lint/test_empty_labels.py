"""Labels that say nothing: zeros, constants, copies of other arrays, too few digits."""

from dataclasses import replace

import numpy as np
import pytest

from chemscale.structures.blocks import Block
from chemscale.structures.lint import lint
from tests.helpers.structures import toy_blocks


def found(check, *blocks):
    return [f for f in lint({"train": lambda: iter(blocks)}) if f.check == check and f.severity != "note"]


def zeroed(block, frames):
    block.forces[frames] = 0.0
    return block


@pytest.mark.parametrize("frames", [1, 2, 40])
def test_forces_that_are_all_zero_are_an_error(frames):
    water = toy_blocks(frames)[0]
    (finding,) = found("zero forces", zeroed(water, slice(None)))
    assert finding.severity == "error"
    assert f"In {frames} of {frames} frames every force is exactly zero" in finding.message


def test_zero_forces_in_all_but_a_few_frames_are_an_error():
    (finding,) = found("zero forces", zeroed(toy_blocks(40)[0], slice(3, None)))
    assert finding.severity == "error"
    assert "In 37 of 40 frames" in finding.message


def test_one_zero_frame_of_many_is_a_warning():
    assert found("zero forces", zeroed(toy_blocks(400)[0], slice(0, 1)))[0].severity == "warning"


def test_an_atom_that_never_has_a_force_was_held_fixed():
    _, methanol = toy_blocks(10)
    methanol.forces[:, 2] = 0.0
    (finding,) = found("zero forces", methanol)
    assert finding.severity == "error"
    assert "those with the numbers 2 (from 0; 1 of 6)" in finding.message


def salt(displaced):
    positions = np.repeat(np.array([[[0.0, 0, 0], [2.8, 2.8, 2.8]]]), 4, axis=0)
    positions[:, 1, 0] += displaced * np.arange(4)
    return Block("CsCl", np.array([55, 17]), positions, np.arange(4.0), np.zeros((4, 2, 3)), np.arange(4),
                 cells=np.repeat(5.6 * np.eye(3)[None], 4, axis=0), pbc=np.ones((4, 3), bool))  # fmt: skip


def test_zeros_that_symmetry_demands_are_sound():
    assert found("zero forces", salt(displaced=0.0)) == []
    assert found("zero forces", salt(displaced=0.1))[0].severity == "error"


def test_a_single_atom_has_no_force():
    atom = Block(
        "H", np.array([1]), np.zeros((3, 1, 3)), np.full(3, -13.6), np.zeros((3, 1, 3)), np.arange(3)
    )
    assert found("zero forces", atom)[0].message == "no forces"
    assert found("constant labels", atom)[0].severity == "not checked"


CONSTANT = {
    "one energy for all": lambda b: replace(b, energies=np.full(len(b), -2073.2)),
    "energies of zero": lambda b: replace(b, energies=np.zeros(len(b))),
    "forces of one frame for all": lambda b: replace(b, forces=np.repeat(b.forces[:1], len(b), axis=0)),
    "positions for forces": lambda b: replace(b, forces=b.positions),
    "positions in another unit for forces": lambda b: replace(b, forces=b.positions * 51.4),
}


@pytest.mark.parametrize("name", CONSTANT)
@pytest.mark.parametrize("frames", [3, 40])
def test_labels_that_are_those_of_something_else_are_an_error(name, frames):
    findings = found("constant labels", *(CONSTANT[name](b) for b in toy_blocks(frames)))
    assert findings[0].severity == "error", findings


def test_one_energy_a_molecule_where_others_vary_is_a_warning():
    water, methanol = toy_blocks(40)
    few = replace(water.select(np.arange(5)), energies=np.full(5, -2073.0))
    assert found("constant labels", few, methanol)[0].severity == "warning"


def test_one_energy_for_molecules_of_one_frame_each_is_an_error():
    water, methanol = toy_blocks(2)
    rows = [replace(b.select(np.array([0])), energies=np.array([-1.0])) for b in (water, methanol)]
    rows.append(replace(rows[0], numbers=[16, 1, 1]))
    assert found("constant labels", *rows)[0].severity == "error"


def test_energies_of_few_values_were_rounded():
    water = toy_blocks(200)[0]
    (finding,) = found("precision", replace(water, energies=np.round(water.energies, 0)))
    assert finding.severity == "error"
    assert found("precision", replace(water, energies=np.round(water.energies, 4))) == []


def test_16_bit_labels_are_recognised_in_the_unit_of_the_file():
    water = toy_blocks(200)[0]
    half = water.forces.astype(np.float16).astype(float)
    assert "16-bit numbers in eV" in found("precision", replace(water, forces=half))[0].message
    kcal = (water.forces / 0.0433641).astype(np.float16).astype(float) * 0.04336411
    assert "16-bit numbers in kcal/mol" in found("precision", replace(water, forces=kcal))[0].message
    energies = replace(water, energies=water.energies.astype(np.float16).astype(float))
    assert found("precision", energies)[0].severity == "error"
    assert found("precision", replace(water, forces=np.round(water.forces, 3))) == []
