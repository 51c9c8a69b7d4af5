"""Copies of a geometry are found however they are written, and what only looks like one is not."""

from dataclasses import replace

import numpy as np
import pytest

from chemscale.structures.blocks import Block
from chemscale.structures.lint import counting, frames, lint
from chemscale.structures.lint.evidence.geometry import distances, fingerprints
from chemscale.structures.lint.evidence.lattices import Lattices
from tests.helpers.structures import rotated, toy_blocks

SKEWED = np.array([[4.0, 0.0, 0.0], [1.7, 3.5, 0.0], [-1.1, 0.9, 3.8]])


def crystal(frames=12, atoms=5, cell=SKEWED, seed=0):
    random = np.random.default_rng(seed)
    positions = random.random((frames, atoms, 3)) @ cell
    return Block(
        name="crystal",
        numbers=np.array([29, 8, 8, 29, 11])[:atoms],
        positions=positions,
        energies=random.normal(-20, 1, frames),
        forces=random.normal(0, 1, (frames, atoms, 3)),
        rows=np.arange(frames),
        cells=np.repeat(cell[None], frames, axis=0),
        pbc=np.ones((frames, 3), bool),
    )


def found(check, train, **other):
    parts = {"train": lambda: iter(train)} | {name: lambda b=b: iter(b) for name, b in other.items()}
    return [f for f in lint(parts) if f.check == check and f.severity in ("error", "warning")]


def test_copies_are_found_however_they_are_turned_or_ordered():
    water, methanol = toy_blocks(40)
    order = np.array([0, 2, 1])
    copy = rotated(replace(water.select(np.array([7])), positions=water.positions[[7]][:, order],
                           forces=water.forces[[7]][:, order]))  # fmt: skip
    assert "1 frames repeat" in found("duplicates", [water, methanol, copy])[0].message
    leak = found("leakage", [water], test=[copy, methanol])
    assert leak[0].severity == "error"
    assert "1 of 41 frames of the test part" in leak[0].message
    assert "Z = [6]" in found("element coverage", [water], test=[copy, methanol])[0].message


def wrapped(b):
    shift = np.random.default_rng(5).integers(-2, 3, b.positions.shape)
    return replace(b, positions=b.positions + shift @ SKEWED)


SAME_CRYSTAL = {
    "wrapped": wrapped,
    "moved": lambda b: replace(b, positions=b.positions + np.array([0.4, -2.2, 9.1])),
    "reordered": lambda b: replace(
        b, numbers=b.numbers[::-1], positions=b.positions[:, ::-1], forces=b.forces[:, ::-1]
    ),
    "turned": lambda b: replace(rotated(b, shift=0.0), cells=b.cells @ turn()),
    "in another cell of the same lattice": lambda b: replace(
        b, cells=np.array([[1, 0, 0], [1, 1, 0], [-2, 1, 1]]) @ b.cells
    ),
}


def turn(seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]


@pytest.mark.parametrize("how", SAME_CRYSTAL)
def test_a_crystal_is_known_again(how):
    block = crystal()
    copy = SAME_CRYSTAL[how](block.select(np.array([4])))
    assert "repeats crystal, row 4" in found("duplicates", [block, replace(copy, rows=[77])])[0].message


def test_a_crystal_in_a_stretched_cell_is_another():
    block = crystal()
    assert found("duplicates", [block, replace(block, cells=block.cells * 1.01)]) == []


def test_slabs_wrap_along_periodic_directions_only():
    block = crystal()
    block.pbc[:, 2] = False
    inside = replace(block, positions=block.positions + np.array([[1, 0, 0], *[[0, 0, 0]] * 4]) @ SKEWED)
    outside = replace(block, positions=block.positions + np.array([[0, 0, 1], *[[0, 0, 0]] * 4]) @ SKEWED)
    assert "12 frames repeat" in found("duplicates", [block, inside])[0].message
    assert found("duplicates", [block, outside]) == []


def test_nearest_images_are_those_of_brute_force():
    random = np.random.default_rng(3)
    cells = random.normal(size=(20, 3, 3)) + 2 * np.eye(3)
    cells = np.einsum("kij,kjl->kil", np.array([[1, 2, 0], [0, 1, 3], [0, 0, 1]])[None].repeat(20, 0), cells)
    positions = random.random((20, 4, 3)) @ cells
    d = distances(positions, Lattices(cells, np.ones((20, 3), bool)))
    steps = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3, indexing="ij"), -1).reshape(-1, 3)
    i, j = np.triu_indices(4, 1)
    for frame in range(20):
        images = (positions[frame, i] - positions[frame, j])[:, None] + steps @ cells[frame]
        assert d[frame] == pytest.approx(np.linalg.norm(images, axis=2).min(axis=1))


def test_charge_and_multiplicity_belong_to_what_a_frame_is():
    water, _ = toy_blocks(30)
    states = [replace(water, charges=np.full(30, q), energies=water.energies + 5.0 * q) for q in (-1, 0, 1)]
    findings = lint({"train": lambda: iter(states)})
    assert [f for f in findings if f.severity in ("error", "warning")] == []
    assert found("leakage", states[:1], validation=states[1:]) == []


def test_one_geometry_with_two_energies_is_said():
    water, _ = toy_blocks(30)
    other = replace(water.select(np.arange(3)), energies=water.energies[:3] + 1.0)
    (finding,) = found("duplicates", [water, other])
    assert finding.severity == "warning"
    assert "3 frames have the geometry of an earlier one but another energy, by up to 1 eV" in finding.message


def test_positions_that_were_never_updated_are_an_error():
    water, _ = toy_blocks(30)
    still = replace(water, positions=np.repeat(water.positions[:1], 30, axis=0))
    errors = [f for f in found("duplicates", [still]) if f.severity == "error"]
    assert "not updated" in errors[0].message


def diatomic(lengths, energies):
    positions = np.zeros((len(lengths), 2, 3))
    positions[:, 1, 0] = lengths
    return Block("N2", np.array([7, 7]), positions, np.asarray(energies), np.zeros_like(positions) + 0.1,
                 np.arange(len(lengths)))  # fmt: skip


def test_diatomics_that_share_a_distance_by_chance_are_no_copies():
    lengths = np.random.default_rng(0).uniform(1.0, 1.2, 400)
    block = diatomic(lengths, 70 * (lengths - 1.1) ** 2)
    assert found("duplicates", [block]) == []
    assert (
        found("leakage", [block.select(np.arange(200))], validation=[block.select(np.arange(200, 400))]) == []
    )


def test_diatomics_with_one_distance_and_one_energy_are_copies():
    block = diatomic([1.0, 1.1, 1.2], [0.7, 0.0, 0.7])
    copy = rotated(block.select(np.array([1])))
    assert found("leakage", [block], validation=[copy])[0].severity == "error"
    other = replace(copy, energies=np.array([3.0]))
    assert found("leakage", [block], validation=[other]) == []


def test_atoms_close_across_the_boundary_are_found():
    block = crystal(frames=3, atoms=2, cell=np.eye(3) * 6.0)
    block.positions[:] = np.array([[0.05, 3, 3], [5.9, 3, 3]])
    assert "0.150 Å" in found("close atoms", [block])[0].message


def test_an_atom_close_to_its_own_image_is_found():
    block = crystal(frames=3, atoms=1, cell=np.diag([0.3, 5.0, 5.0]))
    assert "0.300 Å" in found("close atoms", [block])[0].message


@pytest.mark.parametrize("image", [0, 1])
def test_two_atoms_on_one_place_are_an_error(image):
    block = crystal(frames=3, atoms=2, cell=np.eye(3) * 6.0)
    block.positions[1, 1] = block.positions[1, 0] + np.array([6.0, 0, 0]) * image
    (finding,) = found("close atoms", [block])
    assert finding.severity == "error"
    assert "crystal, row 1" in finding.message


def test_different_elements_and_geometries_have_different_fingerprints():
    water, _ = toy_blocks(200)
    prints = fingerprints(water.numbers, water.positions)
    assert len(np.unique(prints[:, 0])) == 200
    other = fingerprints(np.array([16, 1, 1]), water.positions)
    assert not np.isin(prints, other).any()
    moved = fingerprints(water.numbers, rotated(water).positions)
    assert ((prints == moved).any(axis=1)).all()


def test_many_small_blocks_are_kept_as_few_arrays_and_found_again_by_name_and_row(monkeypatch):
    blocks = [block.select(np.array([i])) for i in range(9) for block in toy_blocks(9)]
    whole = counting.count(iter(blocks), 10, 0).frames
    expected = [array.tolist() for array in whole.table()]
    monkeypatch.setattr(frames, "MANY", 4)
    few = counting.count(iter(blocks), 10, 0).frames
    assert len(few._energies) < 4
    assert len(few) == len(blocks)
    assert [few.where(i) for i in range(18)] == [f"{b.name}, row {b.rows[0]}" for b in blocks]
    assert [array.tolist() for array in few.table()] == expected
    with pytest.raises(IndexError):
        few.where(18)
