"""The fast writer of SELFIES gives the package's symbols and its errors, whatever it is given."""

import gzip
import itertools
import random

import pytest
import selfies
from rdkit import Chem, rdBase

from chemscale.molecules import selfies_symbols as fast
from chemscale.molecules.preparation.encoding import symbols_of
from chemscale.molecules.preparation.standardize import Policy, Reason, encode
from chemscale.molecules.selfies_symbols import ENCODER_ERRORS, selfies_symbols
from chemscale.molecules.starter.drugs import drugs
from tests.helpers.paths import real_data

ALPHABET = "()[]=#/\\.%123CNOSPFIcnosp@+-*:H"
SPELLINGS = [
    "C",
    "[13CH4]",
    "[2H]OC",
    "[CH2]C[O-].[Na+]",
    "C[N+](C)(C)C.[Cl-]",
    "F/C=C/F",
    "F/C=C\\C=C/F",
    "C1CC/C=C/CCC1",
    "C/1=C/CCCCCC1",
    "C1=CC=CC=C1",
    "C=1C=CC=CC=1",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "c1cc2cccc3ccc4cccc1c4c32",
    "[cH-]1cccc1.[Fe+2]",
    "c1cc[te]c1",
    "b1ccccc1",
    "c1cc[n+]([O-])cc1",
    "c1ccccc1-c1ccccc1",
    "[C@@H](F)(Cl)Br",
    "N[C@@H]1CC[C@H](O)CC1",
    "C[C@]12CC[C@H]3[C@@H](CCc4cc(O)ccc43)[C@@H]1CC[C@@H]2O",
    "C1C2CC3CC1CC(C2)C3",
    "C12C3C4C1C5C2C3C45",
    "C%10CC%10",
    "C%01CCCC%01",
    "CS(=O)(=O)N=[N+]=[N-]",
    "C" * 400 + "1CC1",
    "C1" + "C" * 5000 + "1",
    "C(" + "C" * 300 + ")(C)C",
]
ODD = [
    "",
    "C.",
    ".C",
    "C..C",
    "=C",
    "C(C)",
    "C(C)1CC1",
    "C((C))C",
    "C(C",
    "C)C",
    "C1CC",
    "C1.C1",
    "C11",
    "C1C1",
    "C12CC12",
    "C=1CC-1",
    "C(.C)C",
    "C()C",
    "C-",
    "C:C",
    "C(:I)=C",
    "C$C",
    "[Xx]",
    "[C",
    "*C",
    "c1cccc1",
    "CS(C)(C)(C)(C)(C)C",
    "C(C)(C)(C)(C)C",
    "Cé",
    "C%1C%1",
    "C" + "(C" * 1200 + ")C" * 1200,
]


def package(smiles):
    try:
        return list(selfies.split_selfies(selfies.encoder(smiles)))
    except ENCODER_ERRORS as error:
        return type(error), str(error)


def ours(smiles):
    try:
        return selfies_symbols(smiles)
    except ENCODER_ERRORS as error:
        return type(error), str(error)


@pytest.fixture(autouse=True)
def _quiet():
    with rdBase.BlockLogs():
        yield


@pytest.mark.parametrize("smiles", SPELLINGS, ids=[text[:40] for text in SPELLINGS])
def test_plain_spellings_are_written_without_the_package(smiles, monkeypatch):
    expected = package(smiles)
    assert isinstance(expected, list)
    monkeypatch.setattr(selfies, "encoder", None)
    assert selfies_symbols(smiles) == expected


@pytest.mark.parametrize("smiles", ODD, ids=[text[:20] or "empty" for text in ODD])
def test_odd_spellings_and_errors_are_the_packages(smiles):
    assert ours(smiles) == package(smiles)


def test_medicines_in_any_spelling_give_the_same_symbols():
    draw = random.Random(0)
    for smiles in draw.sample(sorted(drugs().values()), 150):
        molecule = Chem.MolFromSmiles(smiles)
        random_order = Chem.MolToRandomSmilesVect(molecule, 2, randomSeed=draw.randrange(10**6))
        kekule = Chem.MolToRandomSmilesVect(molecule, 1, randomSeed=draw.randrange(10**6), kekuleSmiles=True)
        for text in (Chem.MolToSmiles(molecule), smiles, *random_order, *kekule):
            assert ours(text) == package(text), text


def test_broken_texts_give_the_same_symbols_or_the_same_error():
    draw = random.Random(1)
    texts = sorted(drugs().values())
    for _ in range(3000):
        characters = list(draw.choice(texts)[:60])
        for _ in range(draw.randint(1, 3)):
            place = draw.randrange(len(characters))
            characters[place : place + draw.randint(0, 1)] = draw.choice(ALPHABET)
        text = "".join(characters)
        assert ours(text) == package(text), text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pubchem_a", "zinc_train", "qm9"])
def test_real_molecules_give_the_same_symbols(name):
    with gzip.open(real_data(f"molecules/{name}.smi.gz"), "rt") as file:
        for line in itertools.islice(file, 30_000):
            assert ours(line.split()[0]) == package(line.split()[0]), line


def test_constraints_that_are_set_later_hold():
    smiles = "CS(=O)(=O)C"
    assert selfies_symbols(smiles) == package(smiles)
    selfies.set_semantic_constraints("octet_rule")
    try:
        with pytest.raises(selfies.EncoderError, match="violates"):
            selfies_symbols(smiles)
    finally:
        selfies.set_semantic_constraints()
    assert selfies_symbols(smiles) == package(smiles)


def test_tokens_of_untrusted_texts_are_not_kept_without_end(monkeypatch):
    monkeypatch.setattr(fast, "MAX_TOKENS", 20)
    for isotope in range(1, 60):
        selfies_symbols(f"[{isotope}CH4]")
    assert len(fast._tokens) <= 21


def test_another_release_of_the_package_is_asked_itself(monkeypatch):
    monkeypatch.setattr(fast, "IS_FAST", False)
    monkeypatch.setattr(selfies, "encoder", lambda smiles: "[O]")
    assert selfies_symbols("CC") == ["[O]"]


@pytest.mark.parametrize("smiles", ["CC(:I)=CCO", "C" + "(C" * 1200 + ")C" * 1200])
def test_what_the_package_fails_on_is_dropped_and_ends_no_preparation(smiles):
    policy = Policy(max_symbols=5000)
    assert encode(smiles, policy).reason is Reason.NO_SELFIES
    found = symbols_of(smiles, policy)
    assert found.reason is Reason.NO_SELFIES
    assert "selfies package fails" in found.detail
