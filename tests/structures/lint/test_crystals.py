"""Signs and units of crystals, compared by nearest images in one cell, and what cannot be compared."""

from dataclasses import replace

import numpy as np
import pytest

from chemscale.structures.blocks import Block
from chemscale.structures.lint import lint, report, verdicts

CELL = np.array([[6.0, 0, 0], [1.5, 5.8, 0], [0.3, -0.8, 6.1]])


def solid(frames=40, noise=0.06, wrap=True, seed=0):
    """Atoms on harmonic sites, written with coordinates wrapped into the cell."""
    random = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[[0.0, 0.5]] * 3, indexing="ij"), -1).reshape(-1, 3)
    shift = random.normal(0, noise, (frames, 8, 3))
    shift -= shift.mean(axis=1, keepdims=True)
    scaled = sites + shift @ np.linalg.inv(CELL)
    return Block(
        name="solid",
        numbers=np.full(8, 29),
        positions=(scaled % 1.0 if wrap else scaled) @ CELL,
        energies=-30.0 + 4.0 * np.square(shift).sum((1, 2)) + 8.0 * (shift**3).sum((1, 2)),
        forces=-8.0 * shift - 24.0 * shift**2 + (24.0 * shift**2).mean(axis=1, keepdims=True),
        rows=np.arange(frames),
        cells=np.repeat(CELL[None], frames, axis=0),
        pbc=np.ones((frames, 3), bool),
    )


def linted(block):
    return lint({"train": lambda: iter([block])})


def errors(block):
    return {f.check: f.message for f in linted(block) if f.severity == "error"}


def test_sound_crystals_pass_and_their_absolute_unit_is_not_checked():
    told = verdicts(linted(solid()))
    assert told["force sign"] == told["shuffled labels"] == told["length unit"] == "ok"
    assert told["energy and force units"] == "not checked"
    assert any("whether both are in eV" in line for line in report(linted(solid())))


FAULTS = {
    "force sign": lambda b: replace(b, forces=-b.forces),
    "energy and force units": lambda b: replace(b, energies=b.energies / 27.2),
    "shuffled labels": lambda b: replace(b, energies=np.random.default_rng(0).permutation(b.energies)),
}


@pytest.mark.parametrize("check", FAULTS)
def test_each_fault_of_a_crystal_is_found(check):
    assert list(errors(FAULTS[check](solid(400)))) == [check]


def test_bohr_passed_as_angstrom_is_seen_in_crystals_too():
    block = solid()
    assert "length unit" in errors(replace(block, positions=block.positions * 1.89, cells=block.cells * 1.89))


def test_crystals_in_different_cells_are_not_compared_and_it_is_said():
    block = solid()
    strained = replace(block, cells=block.cells * (1 + 1e-3 * np.arange(40))[:, None, None])
    assert verdicts(linted(strained))["force sign"] == "not checked"
    assert any(
        "crystals: no two frames" in line and "signs and units" in line for line in report(linted(strained))
    )
