"""What engines ask of a potential is what the ASE calculator gives, dispersion included."""

import numpy as np
import pytest

from chemscale.structures.engines.evaluator import Evaluator
from chemscale.structures.engines.lammps import _why_not_pairs
from chemscale.structures.engines.packaged import GraphPotential
from chemscale.training.compilation.standalone import export_structure_graph, metadata_of
from tests.helpers.engines import ethanol, expected, largest, random_potential, salt

pytest.importorskip("dftd3")


@pytest.mark.parametrize("atoms", [ethanol(), salt()], ids=["molecule", "crystal"])
def test_dispersion_that_was_subtracted_from_the_labels_is_added(atoms):
    potential = random_potential()
    plain = Evaluator(potential)
    potential.header["data"] = {"subtract": {"method": "d3bj", "functional": "pbe"}}
    evaluator = Evaluator(potential)
    place = (np.asarray(atoms.cell), atoms.pbc) if atoms.pbc.all() else (None, None)
    found = evaluator(atoms.numbers, atoms.positions, *place)
    energy, forces, stress = expected(potential, atoms)
    without = plain(atoms.numbers, atoms.positions, *place)
    assert abs(found.energy - without.energy) > 1e-2
    assert found.energy == pytest.approx(energy, abs=1e-9)
    assert found.atomic_energies.sum() == pytest.approx(energy, abs=1e-8)
    assert largest(found.forces, forces) < 1e-9
    assert np.isnan(found.atomic_virials).all()
    if stress is not None:
        assert largest(found.virial, -stress * atoms.get_volume()) < 1e-8


@pytest.fixture(scope="module")
def both():
    """A potential, and the graph of it that a package holds."""
    potential = random_potential().eval()
    graph = export_structure_graph(potential).module()
    return potential, GraphPotential(graph, metadata_of(potential, "1"))


@pytest.mark.parametrize("atoms", [ethanol(), salt()], ids=["molecule", "crystal"])
def test_a_package_gives_the_same_without_shares_of_atoms_in_the_virial(atoms, both):
    ours, package = map(Evaluator, both)
    place = (np.asarray(atoms.cell), atoms.pbc) if atoms.pbc.all() else (None, None)
    right, found = (e(atoms.numbers, atoms.positions, *place) for e in (ours, package))
    assert found.energy == pytest.approx(right.energy, abs=1e-9)
    assert largest(found.forces, right.forces) < 1e-9
    assert largest(found.virial, right.virial) < 1e-8
    assert np.isnan(found.atomic_virials).all()
    assert not _why_not_pairs(ours)
    assert "takes positions" in _why_not_pairs(package)
