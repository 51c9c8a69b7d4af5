"""Molecules that are one at a level have one key there, and molecules that are not have several."""

import pytest

from chemscale.molecules.overlap.keys import Compared, Level
from chemscale.molecules.preparation.standardize import ANY_LENGTH, Molecule, standardize


def compared(text):
    result = standardize(text, ANY_LENGTH)
    assert isinstance(result, Molecule), result
    return Compared(result.smiles)


def strictest(one, other):
    """The strictest level at which two texts agree, or None."""
    a, b = compared(one), compared(other)
    agreeing = [level for level in Level if a.key(level) and a.key(level) == b.key(level)]
    return agreeing[0] if agreeing else None


SAME = {
    "spelling": ("OCC", "C(O)C", Level.IDENTICAL),
    "atom map": ("[CH3:1][OH:2]", "CO", Level.IDENTICAL),
    "nitro group": ("CN(=O)=O", "C[N+](=O)[O-]", Level.IDENTICAL),
    "mirror image": ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", Level.CONNECTIVITY),
    "stereo not stated": ("CC(N)C(=O)O", "C[C@@H](N)C(=O)O", Level.CONNECTIVITY),
    "double bond": ("C/C=C/C", "C/C=C\\C", Level.CONNECTIVITY),
    "deuterium": ("[2H]C([2H])([2H])O", "CO", Level.CONNECTIVITY),
    "carbon-13": ("[13CH3]O", "CO", Level.CONNECTIVITY),
    "sodium salt": ("CC(=O)[O-].[Na+]", "CC(=O)O", Level.PARENT),
    "hydrochloride": ("CCN.Cl", "CCN", Level.PARENT),
    "counter-ion": ("C[N+](C)(C)C.[Cl-]", "C[N+](C)(C)C.[Br-]", Level.PARENT),
    "protonated": ("C[NH+](C)C", "CN(C)C", Level.PARENT),
    "zwitterion": ("[NH3+]CC(=O)[O-]", "NCC(=O)O", Level.PARENT),
    "pyridone": ("Oc1ccccn1", "O=c1cccc[nH]1", Level.PARENT),
    "enol": ("CC(=O)CC(C)=O", "CC(O)=CC(C)=O", Level.PARENT),
    "imidazole": ("Cc1c[nH]cn1", "Cc1cnc[nH]1", Level.PARENT),
    "salt of one stereoisomer": ("C[C@H](N)C(=O)O.Cl", "CC(N)C(=O)O", Level.PARENT),
    "deuterium, by which another fragment is heavier": (
        "CCCO.[2H]C([2H])([2H])C([2H])([2H])CN",
        "CCCO.CCCN",
        Level.CONNECTIVITY,
    ),
    "stereo, by which another fragment is the first": (
        "CCCCO.C[C@H](O)CC",
        "CCCCO.CC(O)CC",
        Level.CONNECTIVITY,
    ),
    "substituents": ("Cc1ccc2ccccc2c1", "Oc1cccc2ccccc12", Level.SCAFFOLD),
}


@pytest.mark.parametrize(("one", "other", "level"), SAME.values(), ids=SAME)
def test_pairs_agree_from_their_level_on(one, other, level):
    assert strictest(one, other) is level


@pytest.mark.parametrize(("one", "other", "level"), SAME.values(), ids=SAME)
def test_who_agrees_at_a_level_agrees_at_all_below(one, other, level):
    a, b = compared(one), compared(other)
    below = list(Level)[list(Level).index(level) :]
    assert [each for each in below if a.key(each) == b.key(each)] == below


@pytest.mark.parametrize(
    ("one", "other"),
    [("CCO", "COC"), ("CCO", "CCCO"), ("C[CH2]", "CC"), ("COC(C)=O", "CC(=O)O"), ("c1ccccc1C", "c1ccccc1O")],
    ids=["isomers", "homologues", "radical", "ester", "one ring is no scaffold"],
)
def test_other_molecules_agree_at_no_level(one, other):
    assert strictest(one, other) is None


@pytest.mark.parametrize(("one", "other", "level"), SAME.values(), ids=SAME)
def test_who_has_one_parent_has_one_formula(one, other, level):
    """Keys of parents are only computed where formulas agree."""
    same = compared(one).formula == compared(other).formula
    assert same or level is Level.SCAFFOLD


def test_a_salt_has_the_fingerprint_of_its_parent():
    assert compared("CC(=O)[O-].[Na+]").bits == compared("CC(=O)O").bits
    assert compared("CCO").bits != compared("CCN").bits
