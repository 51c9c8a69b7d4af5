"""Policies, and the reason for every molecule that is dropped."""

import random

import pytest
from rdkit import Chem, rdBase

from chemscale.molecules.preparation import standardize as standardize_module
from chemscale.molecules.preparation.standardize import (
    Policy,
    PolicyError,
    Reason,
    Rejected,
    encode,
    standardize,
)

MEGLUMINE_SALT = "CNCC(O)C(O)C(O)C(O)CO.OC(=O)c1ccc2nc(oc2c1)-c1cc(Cl)cc(Cl)c1"
"""The counter-ion has more atoms, the drug more heavy atoms."""


def canonical(text, **policy):
    result = standardize(text, Policy(**policy))
    return result.reason if isinstance(result, Rejected) else result.smiles


def test_one_molecule_has_one_spelling():
    assert canonical("OCC") == canonical("C(O)C") == "CCO"


@pytest.mark.parametrize(
    ("policy", "text", "expected"),
    [
        ({"stereo": "keep"}, "C[C@H](N)C(=O)O", "C[C@H](N)C(=O)O"),
        ({"stereo": "strip"}, "C[C@H](N)C(=O)O", "CC(N)C(=O)O"),
        ({"stereo": "strip"}, "C/C=C/C", "CC=CC"),
        ({"salts": "keep"}, "CC(=O)[O-].[Na+]", "CC(=O)[O-].[Na+]"),
        ({"salts": "largest"}, "CC(=O)[O-].[Na+]", "CC(=O)[O-]"),
        ({"salts": "largest", "charge": "neutralize"}, "CC(=O)[O-].[Na+]", "CC(=O)O"),
        ({"salts": "drop"}, "CC(=O)[O-].[Na+]", Reason.SEVERAL_FRAGMENTS),
        ({"stereo": "strip"}, "[H]/N=C(\\N)c1ccccc1", "N=C(N)c1ccccc1"),
        ({"salts": "largest"}, MEGLUMINE_SALT, "O=C(O)c1ccc2nc(-c3cc(Cl)cc(Cl)c3)oc2c1"),
        ({"salts": "largest"}, "C1CCC(CC1)NC1CCCCC1.OC(=O)c1cc(Br)cc(Br)c1CCC", "CCCc1c(Br)cc(Br)cc1C(=O)O"),
        ({"salts": "largest"}, "C[C@@H](N)O.C[C@H](N)O", "C[C@@H](N)O"),
        ({"salts": "largest"}, "C[N+](C)(C)C.F[P-](F)(F)(F)(F)F", "C[N+](C)(C)C"),
        ({"max_heavy_atoms": 3}, "CCCC", Reason.TOO_MANY_HEAVY_ATOMS),
        ({}, "", Reason.EMPTY),
        ({}, "C1CC", Reason.UNPARSABLE),
        ({}, "C[*]", Reason.WILDCARD),
        ({}, "[H][H]", Reason.NO_HEAVY_ATOM),
    ],
)
def test_policies_do_what_they_say(policy, text, expected):
    assert canonical(text, **policy) == expected


@pytest.mark.parametrize("extension", ["|&1:1|", "|o1:1|", "|&1:1,r|", "|r|", "|(0,0,;1,0,;0,1,;1,1,),&7:1|"])
def test_a_racemate_is_not_one_enantiomer(extension):
    text = f"C[C@H](F)Cl {extension}"
    assert canonical(text) is Reason.RELATIVE_STEREO
    assert canonical(text, stereo="strip") == "CC(F)Cl"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C[C@H](F)Cl |a:1|", "C[C@H](F)Cl"),
        ("CCO |r|", "CCO"),
        ("C[C@H](F)Cl |$,r,;;;$|", "C[C@H](F)Cl"),
        ("CCO |Sg:n:0,1:3:ht|", Reason.VARIABLE),
        ("C*.CO |m:1:3.2|", Reason.WILDCARD),
        ("CC.c1ccccc1 |m:0:4.5.6|", Reason.VARIABLE),
        ("CCO |LN:1:1.3|", Reason.VARIABLE),
        ("CCO |SgD:1:note:text::::|", "CCO"),
        ("CCO |&1:", Reason.UNPARSABLE),
    ],
)
def test_what_a_cxsmiles_extension_says_is_not_lost(text, expected):
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (".".join(["O"] * 66_000), Reason.TOO_LONG),
        ("C" * 70_000, Reason.TOO_LONG),
        ("C" * 25_000, Reason.TOO_MANY_SYMBOLS),
        ("C(" * 6000 + "C" + ")" * 6000, Reason.TOO_MANY_SYMBOLS),
        (".".join(["O"] * 9000), Reason.TOO_MANY_SYMBOLS),
    ],
    ids=["fragments", "atoms", "a chain that overflows RDKit's stack", "brackets", "fewer fragments"],
)
@pytest.mark.parametrize("salts", ["keep", "largest"])
def test_no_row_stops_a_preparation(text, reason, salts):
    several = "." in text and salts == "largest" and reason is Reason.TOO_MANY_SYMBOLS
    assert canonical(text, salts=salts) is (Reason.SEVERAL_FRAGMENTS if several else reason)
    assert canonical(text, salts=salts, max_symbols=65_535) in Reason


def test_a_length_that_a_corpus_cannot_hold_is_refused():
    with pytest.raises(PolicyError, match="65535"):
        Policy(max_symbols=70_000)


def test_what_selfies_cannot_express_is_dropped_with_a_reason():
    assert encode("CS(C)(C)(C)(C)(C)C", Policy()).reason is Reason.NO_SELFIES
    assert encode("CCCC", Policy(max_symbols=3)).reason is Reason.TOO_MANY_SYMBOLS
    assert encode("CCO", Policy()) == ["[C]", "[C]", "[O]"]


def test_an_unknown_policy_is_refused_with_the_choices():
    with pytest.raises(PolicyError, match="keep, largest, drop"):
        Policy(salts="remove")


ATOMS = [
    *"CNOSPFBcnos()=#123+-.",
    "[O-]",
    "[N+]",
    "[nH]",
    "[C]",
    "[CH2]",
    "[Fe]",
    "[SiH2]",
    "[S+]",
    "[2H]",
    "[H]",
]


def mistyped(smiles):
    """Texts with a few other characters, most of them no molecules, and each molecule respelled."""
    choose = random.Random(0)
    for text in smiles:
        letters = list(text)
        for _ in range(choose.randint(1, 3)):
            letters[choose.randrange(len(letters))] = choose.choice(ATOMS)
        yield "".join(letters)
        molecule = Chem.MolFromSmiles(text)
        yield Chem.MolToSmiles(molecule, kekuleSmiles=True, isomericSmiles=False)
        yield from Chem.MolToRandomSmilesVect(molecule, 2, randomSeed=1)


def test_what_is_left_out_of_reading_plain_text_does_not_show(smiles):
    texts = [
        *smiles[:150],
        *mistyped(smiles[:150]),
        "[CH3]",
        "[O-]",
        "c1cc[n]c1",
        "CS(C)=O",
        "C[S+](C)[O-]",
        "O=[Fe]",
        "C[Pt](Cl)N",
    ]
    plain = [text for text in texts if standardize_module._PLAIN.fullmatch(text)]
    assert len(plain) > 300
    with rdBase.BlockLogs():
        for text in plain:
            by_rdkit, ours = Chem.MolFromSmiles(text), standardize_module._read(text, Policy())
            assert (by_rdkit is None) == (ours is None), text
            assert ours is None or Chem.MolToSmiles(ours) == Chem.MolToSmiles(by_rdkit), text


@pytest.mark.parametrize(
    "text", ["C[C@H](N)O", "F/C=C/F", "[H]C", "C[2H]", "[CH3:1]C", "CCO name", "CC |r|", "*C", "C->[Fe]"]
)
def test_text_that_is_not_plain_is_read_in_full(text):
    assert not standardize_module._PLAIN.fullmatch(text)
