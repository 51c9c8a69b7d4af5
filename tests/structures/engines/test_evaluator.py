"""What engines ask of a potential is what the ASE calculator gives, dispersion included."""

import numpy as np
import pytest

from chemscale.structures.engines.evaluator import Evaluator
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
