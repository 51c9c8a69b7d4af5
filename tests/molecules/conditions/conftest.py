"""A corpus whose molecules stand after their number of rings and their scaffold."""

import pytest

from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.conditions.request import ConditionRequest


@pytest.fixture(scope="package")
def conditioned(smiles_file, tmp_path_factory):
    request = ConditionRequest(("rings", "scaffold", "logP"), 4)
    folder = tmp_path_factory.mktemp("conditioned")
    return build_corpus([smiles_file], folder, workers=1, validation_fraction=0.1, conditions=request)
