"""Descriptors have their published values, and every one computes."""

import pytest
from rdkit import Chem

from chemscale.molecules.descriptors import DESCRIPTORS, DescriptorError, descriptor, scaffold

ASPIRIN = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")


@pytest.mark.parametrize(
    ("name", "value"), [("weight", 180.159), ("logP", 1.3101), ("QED", 0.5501), ("SA", 1.58), ("TPSA", 63.6)]
)
def test_aspirin_has_the_known_values(name, value):
    assert descriptor(name).of(ASPIRIN) == pytest.approx(value, rel=2e-3)


def test_counts_are_whole_numbers():
    whole = {name: each.of(ASPIRIN) for name, each in DESCRIPTORS.items() if each.whole}
    assert whole | {"rings": 1.0, "largest_ring": 6.0, "heavy_atoms": 13, "charge": 0} == whole


def test_the_scaffold_has_no_side_chain_and_a_chain_has_none():
    assert scaffold(ASPIRIN) == "c1ccccc1"
    assert scaffold(Chem.MolFromSmiles("CCO")) == ""


def test_a_descriptor_that_there_is_not_names_those_there_are():
    with pytest.raises(DescriptorError, match="logP"):
        descriptor("logp")
