"""Total charge and multiplicity, by whichever name a code or data set gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources.electrons import can_be, charge_and_spin, unused_keys


def hydroxyl(**info: Any) -> Atoms:
    atoms = Atoms("OH", [(0, 0, 0), (0, 0, 1)])
    atoms.info.update(info)
    return atoms


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, (0, 0)),
        ({"charge": -1, "spin": 1}, (-1, 1)),
        ({"total_charge": -1.0, "total_spin": 1.0}, (-1, 1)),
        ({"Charge": 1, "spin_multiplicity": 3}, (1, 3)),
        ({"REF_total_charge": np.array([2]), "multiplicity": 2}, (2, 2)),
        ({"charge": "1", "mult": 1}, (1, 1)),
        ({"net_charge": 0, "uhf": 1}, (0, 2)),
        ({"unpaired_electrons": 0}, (0, 1)),
        ({"charge": 1, "total_charge": 1.0, "spin": 3, "unpaired": 2}, (1, 3)),
        ({"charge": None, "spin": None}, (0, 0)),
    ],
)
def test_synonyms_are_read(info: dict[str, Any], expected: tuple[int, int]) -> None:
    assert charge_and_spin(hydroxyl(**info)) == expected


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"charge": 0.7}, "charge must be whole numbers"),
        ({"total_charge": np.nan}, "total_charge must be whole numbers"),
        ({"spin": -1}, "spin must be whole numbers in 0"),
        ({"charge": [0, 1]}, "charge must be one whole number"),
        ({"charge": True}, "charge must be one whole number"),
        ({"spin": "singlet"}, "must be numbers"),
        ({"charge": 0, "total_charge": 1}, r"charge \(0\), total_charge \(1\)"),
        ({"spin": 1, "uhf": 1}, r"multiplicity more than once, and differently: spin \(1\), uhf \(2\)"),
    ],
)
def test_what_is_no_charge_or_multiplicity_is_refused(info: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        charge_and_spin(hydroxyl(**info))


def test_keys_that_look_like_one_are_named() -> None:
    atoms = hydroxyl(my_charge=1, spinstate=2, spin_polarized=False, charge_label="anion", tag=3)
    assert unused_keys(atoms) == ["my_charge", "spinstate"]


def test_partial_charges_are_named_where_they_sum_to_a_charge_that_is_not_stated() -> None:
    atoms = hydroxyl()
    atoms.arrays["mulliken_charges"] = np.array([-0.8, -0.2])
    atoms.arrays["hirshfeld_charges"] = np.array([-0.3, 0.3])
    assert unused_keys(atoms) == ["mulliken_charges (its sum is -1.00)"]
    atoms.info["charge"] = -1
    assert unused_keys(atoms) == []


def test_multiplicity_fits_the_number_of_electrons() -> None:
    numbers = np.array([8, 1], np.uint8)
    assert [can_be(numbers, 0, spin) for spin in (0, 1, 2, 4, 12)] == [True, False, True, True, False]
    assert can_be(numbers, -1, 1)
