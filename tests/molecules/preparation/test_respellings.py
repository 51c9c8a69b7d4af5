"""What is one molecule is one row, however it is spelled."""

import random

import pytest
import selfies
from rdkit import Chem

from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.standardize import Molecule, Policy, encode, standardize
from chemscale.molecules.starter.drugs import DRUGS

WITH_STEREO = """
C[C@]12CC[C@H]3[C@H]([C@@H]1CC[C@@H]2O)CCC4=CC(=O)CC[C@]34C
CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O
OC[C@H]1O[C@@](CO)(O[C@H]2O[C@H](CO)[C@@H](O)[C@H](O)[C@H]2O)[C@@H](O)[C@@H]1O
CC(C)C1=NC(=NC(=C1/C=C/[C@H](C[C@H](CC(=O)O)O)O)C2=CC=C(C=C2)F)N(C)S(=O)(=O)C
CC(=N\\O)/C(C)=N/O
C[S@](=O)c1ccccc1
C[C@H]1CC[C@@H](C)CC1
[H]/N=C(\\N)c1ccccc1
N[C@@H](CS)C(=O)O.Cl
CC(=O)[O-].[Na+]
C[N+](C)(C)CC([O-])=O
O=[N+]([O-])c1ccc([O-])cc1.[NH4+]
[2H]C([2H])([2H])O
O=C(c1ccccc1C(=O)N1C(=O)c2ccccc2C1=O)N1C(=O)c2ccccc2C1=O
N[C@]1(C(=O)O)[C@@H]2C[C@H]3C[C@@H](C2)C[C@H]1C3
O=C(C[C@]1(c2ccc(-c3ccc(F)cc3)cc2)C2CC3CC1CC(C2)[C@@H]3O)N1CC(O)C1
"""
"""RDKit writes the last three another way each time it reads what it wrote (its issues 8721, 8862, 6420)."""
MOLECULES = [*(line.split()[0] for line in DRUGS.split("\n")[1:41]), *WITH_STEREO.split()]
POLICIES = [
    Policy(),
    Policy(stereo="strip"),
    Policy(salts="largest", charge="neutralize"),
    Policy(salts="largest", charge="neutralize", stereo="strip"),
]


def spellings(smiles, rng):
    """The same molecule in another order, with Kekulé bonds, written-out hydrogens, atom maps, …."""
    for way in ("order", "Kekulé", "hydrogens", "maps", "brackets", "maps of hydrogens"):
        molecule = Chem.MolFromSmiles(smiles)
        if "hydrogens" in way:
            molecule = Chem.AddHs(molecule)
        if "maps" in way:
            for atom in molecule.GetAtoms():
                atom.SetAtomMapNum(rng.randrange(1, 99))
        if way == "Kekulé":
            Chem.Kekulize(molecule, clearAromaticFlags=True)
        yield Chem.MolToSmiles(
            molecule, doRandom=True, kekuleSmiles=way == "Kekulé", allHsExplicit=way == "brackets"
        )
    fragments = smiles.split(".")
    yield ".".join(rng.sample(fragments, len(fragments)))
    yield f"{smiles} its name"
    yield f"{smiles} |$first;second$,(0,0,;1,0,)|"


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: f"{p.stereo}-{p.salts}-{p.charge}")
def test_every_spelling_of_a_molecule_gives_one_row(policy):
    rng = random.Random(0)
    for smiles in MOLECULES:
        row = standardize(smiles, policy)
        assert isinstance(row, Molecule), (smiles, row)
        assert {standardize(other, policy) for other in spellings(smiles, rng)} == {row}, smiles
        assert standardize(row.smiles, policy) == row


def test_selfies_give_the_row_back():
    for smiles in MOLECULES:
        row = standardize(smiles, Policy())
        symbols = encode(row.smiles, Policy())
        assert standardize(selfies.decoder("".join(symbols)), Policy()) == row


def test_the_spellings_of_a_corpus_are_duplicates_and_in_one_split(tmp_path):
    rng = random.Random(1)
    rows = [row for smiles in MOLECULES for row in (smiles, *spellings(smiles, rng)) if " " not in row]
    rng.shuffle(rows)
    file = tmp_path / "spelled.smi"
    file.write_text("\n".join(rows))
    corpus = build_corpus([file], tmp_path / "c", workers=1, validation_fraction=0.2)
    counts = corpus.manifest["counts"]
    assert counts["kept"] == len(MOLECULES)
    assert counts["dropped"] == {"duplicate": len(rows) - len(MOLECULES)}
    assert "[CH3]" not in corpus.tokenizer.symbols


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("C[S@+]([O-])c1ccccc1", "C[S@](=O)c1ccccc1"),
        ("C[P+](C)(C)[CH2-]", "C=P(C)(C)C"),
        ("C[S+2]([O-])([O-])C", "CS(C)(=O)=O"),
        ("[O-][s+]1cccc1", "O=S1C=CC=C1"),
        ("C[Se+:2](C)[O-:7]", "C[Se](C)=O"),
    ],
)
def test_a_bond_with_its_charges_apart_is_a_spelling(one, other):
    row = standardize(one, Policy())
    assert standardize(other, Policy()) == row
    assert "+" not in row.smiles


def test_charges_of_two_fragments_stay():
    assert standardize("C[S+](C)C.CC(=O)[O-]", Policy()).smiles == "CC(=O)[O-].C[S+](C)C"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("C[CH2]", "CC"),
        ("[2H]C", "C"),
        ("CC(=O)[O-]", "CC(=O)O"),
        ("CC(O)=C", "CC(=O)C"),
        ("C[C@H](N)O", "C[C@@H](N)O"),
        ("C/C=C/C", "CC=CC"),
    ],
    ids=["radical", "isotope", "charge", "tautomer", "enantiomer", "unknown stereo"],
)
def test_other_molecules_stay_other_rows(one, other):
    assert standardize(one, Policy()) != standardize(other, Policy())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[CH3:1][C@H:2]([CH3:3])O", "CC(C)O"),
        ("[H]/N=C(/N)N", "N=C(N)N"),
        ("C[C@H](C)C", "CC(C)C"),
        ("CN(=O)=O", "C[N+](=O)[O-]"),
        ("CN=N#N", "CN=[N+]=[N-]"),
    ],
    ids=["stereo of maps", "stereo of a hydrogen", "no centre", "nitro", "azide"],
)
def test_a_row_is_its_own_canonical_smiles(text, expected):
    row = standardize(text, Policy())
    assert row.smiles == expected
    assert standardize(row.smiles, Policy()) == row


def test_of_spellings_that_alternate_the_first_by_alphabet_is_the_row(monkeypatch):
    module = "chemscale.molecules.preparation.standardize._read_and_write"
    following = {"OCC": "CCO", "CCO": "C(C)O", "C(C)O": "CCO"}
    monkeypatch.setattr(module, lambda text, policy: Molecule(following[text], 3))
    assert {standardize(text, Policy()).smiles for text in following} == {"C(C)O"}
