"""Inputs are made on the spot, or read from a file."""

import json

import ase
import ase.io
import numpy as np
import pytest

from chemscale.benchmarking.inputs import made_structures, make_inputs, write_structures
from chemscale.benchmarking.works import WORKS


def test_made_structures_are_the_same_each_time_and_off_their_minima():
    first, again = made_structures(3)[2], made_structures(3)[2]
    assert np.array_equal(first.positions, again.positions)
    assert np.abs(first.get_forces()).max() > 0.1
    assert np.abs(first.get_forces().sum(0)).max() < 1e-6


def test_a_file_without_forces_is_refused(tmp_path):
    path = tmp_path / "bare.xyz"
    ase.io.write(path, [ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.7]])])
    with pytest.raises(ValueError, match="need an energy and forces"):
        write_structures(tmp_path / "out.xyz", path, 5)


def test_a_file_of_molecules_is_read_from_its_start(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("name,smiles\n" + "".join(f"m{n},{'C' * (n % 9 + 1)}O\n" for n in range(40)))
    found = make_inputs(tmp_path, [WORKS["chemgpt-4.7m"], WORKS["painn"]], path, None, quick=True)
    assert found.smiles.read_text().splitlines()[:2] == ["CO", "CCO"]
    rows = json.loads(found.symbols.read_text())["molecules"]
    assert 1 <= len(rows) <= 9
    assert max(max(row) for row in rows) < found.vocabulary
    assert len(ase.io.read(found.structures, index=":")) == 192


def test_only_what_a_work_needs_is_made(tmp_path):
    found = make_inputs(tmp_path, [WORKS["painn-forces"]], None, None, quick=True)
    assert found.structures.exists()
    assert not found.smiles.exists()
    assert list(found.description) == ["structures"]
