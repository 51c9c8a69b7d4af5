"""One model of random weights, and molecules of many lengths, for all tests here."""

import pytest

from tests.helpers.models import save_random_model
from tests.helpers.molecule_files import OTHER, SMILES

MOLECULES = [
    *SMILES,
    *OTHER,
    *("C" * n + "O" for n in range(1, 30)),
    *("c1ccccc1" + "C(=O)N" * n for n in range(1, 7)),
]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("represented") / "model", MOLECULES)
