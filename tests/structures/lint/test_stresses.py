"""Stresses are compared with energies between crystals in neighbouring cells: sign, unit, order and rows."""

from dataclasses import replace

import numpy as np
import pytest
from ase import units

from chemscale.structures.lint import lint, verdicts
from chemscale.structures.lint.evidence.sampling import Sampler, states_of
from chemscale.structures.lint.evidence.strains import strain_work
from chemscale.structures.lint.stresses import stress_findings
from tests.helpers.crystals import block_of, strained


@pytest.fixture(scope="module")
def sound():
    return block_of(strained(60))


def found(block, check="stress"):
    return [f for f in lint({"train": lambda: iter([block])}) if f.check == check]


def volumes(block):
    return np.abs(np.linalg.det(block.cells))[:, None, None]


def as_vasp_prints(stresses):
    """Stresses whose numbers xy, yz, zx were taken for yz, xz, xy."""
    wrong = stresses.copy()
    for (i, j), (p, q) in {(1, 2): (0, 1), (0, 2): (1, 2), (0, 1): (0, 2)}.items():
        wrong[:, i, j] = wrong[:, j, i] = stresses[:, p, q]
    return wrong


FAULTS = {
    "positive under compression": (lambda b: -b.stresses, "data.units.compression=true"),
    "GPa": (lambda b: b.stresses / units.GPa, "they look like GPa read as eV/Å³"),
    "kbar of VASP": (
        lambda b: -b.stresses / units.GPa * 10,
        "kbar read as eV/Å³, positive under",
    ),
    "Hartree/Bohr³": (lambda b: b.stresses / (units.Hartree / units.Bohr**3), "look like Hartree/Bohr^3"),
    "virials": (lambda b: -volumes(b) * b.stresses, "−V·σ, had been read as a stress"),
    "order": (lambda b: as_vasp_prints(b.stresses), "as VASP prints them"),
    "zeros": (lambda b: 0 * b.stresses, "60 of 60 stresses are exactly zero"),
    "one for all": (
        lambda b: np.repeat(b.stresses[:1], 60, axis=0),
        "exactly the stress of another geometry",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_stresses_is_found_and_named(fault, sound):
    spoil, message = FAULTS[fault]
    spoiled = replace(sound, stresses=spoil(sound))
    errors = [f for f in found(spoiled) if f.severity == "error"]
    assert len(errors) == 1, errors
    assert message in errors[0].message


def sampled(block):
    sampler = Sampler(1000, 0)
    sampler.add(block, states_of(block))
    return sampler.sample()


def test_stresses_of_other_rows_are_found():
    block = block_of(strained(250))
    wrong = replace(block, stresses=np.random.default_rng(0).permutation(block.stresses))
    errors = stress_findings(sampled(wrong))
    assert [f.severity for f in errors] == ["error"]
    assert "other rows" in errors[0].message
    assert not stress_findings(sampled(block))


def test_a_constant_pressure_that_energies_do_not_have_is_a_warning():
    block = block_of(strained(100))
    pulay = replace(block, stresses=block.stresses - 2 * units.GPa * np.eye(3))
    warnings = stress_findings(sampled(pulay))
    assert [f.severity for f in warnings] == ["warning"]
    assert "stresses lack +2.1 GPa in every frame" in warnings[0].message


def test_sound_stresses_pass_in_turned_and_wrapped_cells_too(sound):
    assert verdicts(found(sound))["stress"] == "ok"
    random = np.random.default_rng(0)
    turns = np.stack([np.linalg.qr(random.normal(size=(3, 3)))[0] for _ in range(60)])
    turns *= np.linalg.det(turns)[:, None, None]
    moved = sound.positions + random.integers(-1, 2, (60, 4, 3)) @ sound.cells
    turned = replace(
        sound,
        cells=sound.cells @ turns,
        positions=moved @ turns,
        forces=sound.forces @ turns,
        stresses=np.swapaxes(turns, 1, 2) @ sound.stresses @ turns,
    )
    assert verdicts(found(turned))["stress"] == "ok"


def test_the_work_of_stress_and_forces_is_the_change_of_energy():
    block = block_of(strained(40, strain=0.003, rattle=0.004))
    pairs = strain_work(sampled(block))
    assert len(pairs) >= 15
    error = np.abs(pairs.change - pairs.work - pairs.of_forces)
    assert np.median(error / np.abs(pairs.change)) < 0.01


def test_what_cannot_be_compared_is_not_checked_and_said(sound):
    one_cell = replace(sound, cells=np.repeat(sound.cells[:1], 60, axis=0))
    assert "in slightly different cells, and there are no two" in found(one_cell)[0].message
    assert found(replace(sound, stresses=None))[0].message == "no frame has a stress"
    assert "after the error in" in found(replace(sound, forces=0 * sound.forces))[0].message
    few = found(sound.select(np.arange(3)))[0]
    assert few.severity == "not checked"
    assert "do not decide" in few.message


def test_isotropic_strains_say_nothing_of_the_order_of_shear():
    frames = strained(30, strain=0.0, rattle=0.0)
    for number, atoms in enumerate(frames):
        atoms.set_cell(atoms.cell.array * (0.97 + 0.002 * number), scale_atoms=True)
    notes = found(block_of(frames))
    assert [f.severity for f in notes] == ["note"]
    assert "could not be seen" in notes[0].message


def test_missing_stresses_are_counted(sound):
    half = sound.stresses.copy()
    half[::2] = np.nan
    notes = [f for f in found(replace(sound, stresses=half)) if f.severity == "note"]
    assert "Of 60 frames that are periodic in three directions 30 have a stress" in notes[0].message
