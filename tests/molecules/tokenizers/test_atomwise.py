"""Tokenizers of SMILES, DeepSMILES and SAFE: the same contract as that of SELFIES, and nothing is mended."""

import gzip
import json
import pickle
import random
from itertools import islice

import pytest
from rdkit import Chem

from chemscale.molecules.tokenizers import converters
from chemscale.molecules.tokenizers.atomwise import AtomwiseTokenizer, split_atomwise
from chemscale.molecules.tokenizers.converters import MissingPackageError, smiles_to_text
from chemscale.molecules.tokenizers.growing import grow
from chemscale.molecules.tokenizers.notation import (
    NotationError,
    Representation,
    TokenizerError,
    UnknownSymbolError,
)
from chemscale.molecules.tokenizers.opening import load_tokenizer, tokenizer_of
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer
from tests.helpers.notations import NEEDS_SAFE, SAFE
from tests.helpers.paths import real_data

NOTATIONS = ["smiles", "deepsmiles", SAFE]
SMILES = [
    Chem.CanonSmiles(smiles)
    for smiles in (
        "CC(=O)Oc1ccccc1C(=O)O",
        "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
        "C[N+](C)(C)CC(=O)[O-]",
        "N#Cc1ccc(Br)cc1Cl",
        "[NH4+].[Cl-]",
        "F[C@H](Cl)Br",
        "C/C=C/C(=O)NCc1ccccc1",
        "C[C@@H]1CCCC[C@H]1NC(=O)c1cc[nH]c1",
        "O=S(=O)(c1ccccc1)N1CCC2(CC1)OCCO2",
    )
]


def texts_of(notation, rows=SMILES):
    return [smiles_to_text(smiles, notation) for smiles in rows]


def tokenizer_for(notation, *, stereo=True, rows=SMILES):
    symbols = {symbol for text in texts_of(notation, rows) for symbol in split_atomwise(text)}
    return AtomwiseTokenizer.from_symbols(symbols, notation, stereo=stereo)


def transformers_tokenizer(folder):
    auto = pytest.importorskip("transformers", reason="transformers is an optional dependency").AutoTokenizer
    return auto.from_pretrained(folder)


def test_symbols_are_atoms_bonds_and_closures():
    text = "C[C@@H](Cl)c%12ccBr%(123).[nH]/\\=1"
    assert split_atomwise(text) == [
        *("C", "[C@@H]", "(", "Cl", ")", "c", "%12", "c", "c", "Br", "%(123)", ".", "[nH]", "/", "\\", "="),
        "1",
    ]
    assert split_atomwise("CX C") == ["C", "X", " ", "C"]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_molecules_go_in_and_come_out_as_they_were(notation):
    tokenizer = tokenizer_for(notation)
    for smiles, text in zip(SMILES, texts_of(notation), strict=True):
        ids = tokenizer.from_smiles(smiles)
        assert tokenizer.decode([1, *ids, 2, 0]) == text
        assert tokenizer.encode(text) == ids
        assert Chem.CanonSmiles(tokenizer.to_smiles(ids)) == smiles


@pytest.mark.parametrize("notation", NOTATIONS)
def test_autotokenizer_gives_the_same_ids_and_bytes(notation, tmp_path):
    tokenizer, texts = tokenizer_for(notation), texts_of(notation)
    tokenizer.save(tmp_path)
    other = transformers_tokenizer(tmp_path)
    ours = [[1, *tokenizer.encode(text), 2] for text in texts]
    assert other(texts)["input_ids"] == ours
    assert other.batch_decode(ours, skip_special_tokens=True) == texts
    assert other("C[Pt]")["input_ids"][2:] == [3, 2]
    assert Representation.from_dict(other.init_kwargs["chemscale"]) == tokenizer.representation


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_tokenizer_saved_and_loaded_or_pickled_is_equal(notation, tmp_path):
    tokenizer = tokenizer_for(notation)
    tokenizer.save(tmp_path)
    for copy in (load_tokenizer(tmp_path), load_tokenizer(tmp_path / "tokenizer.json")):
        assert copy == tokenizer == pickle.loads(pickle.dumps(tokenizer))
        assert copy.representation.notation == notation
    with pytest.raises(TokenizerError, match=f"made for {notation}"):
        SelfiesTokenizer.load(tmp_path)


def test_the_same_symbols_of_two_notations_are_two_vocabularies():
    made = [
        tokenizer_of(["C", "O", "="], notation, stereo=False) for notation in ("smiles", "deepsmiles", "safe")
    ]
    assert len({each.hash for each in made}) == 3
    assert made[0] != made[1]


@NEEDS_SAFE
def test_rules_that_this_version_does_not_know_are_refused(tmp_path):
    tokenizer_for("safe").save(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(file.read_text().replace("brics", "recap"))
    with pytest.raises(TokenizerError, match=r"made for SAFE .*recap"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_whatever_a_model_writes_is_read_back_as_the_same_ids_and_never_raises(notation):
    tokenizer, draw = tokenizer_for(notation), random.Random(0)
    for _ in range(300):
        ids = [draw.randrange(4, tokenizer.vocab_size) for _ in range(draw.randrange(1, 60))]
        assert tokenizer.encode(tokenizer.decode(ids)) == ids
        assert isinstance(tokenizer.to_smiles(ids), str)
    assert tokenizer.to_smiles([]) == tokenizer.to_smiles([2, 4]) == ""


def test_nothing_is_mended_in_what_a_model_writes():
    safe = tokenizer_of(list("CcNO()=.12"), "safe", stereo=False)
    open_end = safe.to_smiles(safe.encode("CC2.O"))  # the package's decoder would close it
    assert open_end == "CC2.O"
    assert Chem.MolFromSmiles(open_end) is None
    deep = tokenizer_of(list("CO)6"), "deepsmiles", stereo=False)
    assert deep.to_smiles(deep.encode("C))))")) == ""


@pytest.mark.parametrize(
    ("notation", "text", "words"),
    [
        ("smiles", "[C][=C][Branch1]", "is SELFIES, this tokenizer is for SMILES"),
        ("deepsmiles", "[C][O][Ring1]", "is SELFIES, this tokenizer is for DeepSMILES"),
        ("smiles", "CC C", "is not SMILES: ' '"),
        pytest.param("safe", "<bos>CC", "is not SAFE: '<'", marks=NEEDS_SAFE),
        ("smiles", "[C", r"is not SMILES: '\['"),
        ("smiles", "", "empty"),
    ],
)
def test_text_of_another_notation_is_refused(notation, text, words):
    with pytest.raises(NotationError, match=words):
        tokenizer_for(notation).encode(text)


def test_an_unknown_symbol_is_named_with_its_way_out():
    with pytest.raises(UnknownSymbolError, match=r"\[Pt\] is not in the vocabulary") as caught:
        tokenizer_for("smiles").encode("C[Pt]C")
    assert caught.value.symbol == "[Pt]"
    with pytest.raises(UnknownSymbolError, match="if the text is SMILES, use from_smiles"):
        tokenizer_for("deepsmiles").encode("CC(C)C")


@pytest.mark.parametrize("symbols", [[], ["="], ["CC"], ["[C"], ["x"], ["<pad>"], ["%1"], [""]])
def test_what_is_no_set_of_symbols_is_refused(symbols):
    with pytest.raises(TokenizerError):
        AtomwiseTokenizer.from_symbols(symbols, "smiles", stereo=False)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_stereo_and_what_is_no_molecule_are_refused(notation):
    tokenizer = tokenizer_for(notation, stereo=False)
    with pytest.raises(NotationError, match="carries stereo"):
        tokenizer.from_smiles("F[C@H](Cl)Br")
    with pytest.raises(TokenizerError):
        tokenizer.from_smiles("")


@pytest.mark.parametrize(
    ("notation", "extra"), [("deepsmiles", "notations"), pytest.param("safe", "safe", marks=NEEDS_SAFE)]
)
def test_a_missing_package_is_one_sentence_with_the_command(notation, extra, monkeypatch):
    tokenizer = tokenizer_for(notation)
    monkeypatch.setattr(converters, "find_spec", lambda module: None)
    with pytest.raises(MissingPackageError, match=rf"pip install 'chemscale\[{extra}\]'"):
        tokenizer.from_smiles("CCO")
    assert tokenizer.encode("CC")  # ids need no package


def test_a_vocabulary_of_smiles_grows_and_keeps_its_ids():
    small = tokenizer_of(["C", "O"], "smiles", stereo=False)
    large = grow(small, tokenizer_of(["C", "N", "O"], "smiles", stereo=False))
    assert large.symbols == ("C", "O", "N")
    with pytest.raises(TokenizerError, match="another notation"):
        grow(small, tokenizer_of(["C", "N"], "deepsmiles", stereo=False))


@pytest.mark.parametrize("name", ["molecules/zinc_train.smi.gz", "molecules/pubchem_a.smi.gz"])
def test_real_smiles_agree_with_autotokenizer_and_come_back_byte_for_byte(name, tmp_path):
    with gzip.open(real_data(name), "rt") as stream:
        rows = [line.split()[0] for line in islice(stream, 2000)]
    tokenizer = tokenizer_for("smiles", rows=rows)
    tokenizer.save(tmp_path)
    ours = [[1, *tokenizer.encode(row), 2] for row in rows]
    assert [tokenizer.decode(ids) for ids in ours] == rows
    other = transformers_tokenizer(tmp_path)
    assert other(rows)["input_ids"] == ours
    assert other.batch_decode(ours, skip_special_tokens=True) == rows


def test_files_of_selfies_record_what_they_did(tmp_path):
    SelfiesTokenizer.from_symbols(["[C]", "[O]"], stereo=False).save(tmp_path)
    recorded = json.loads((tmp_path / "tokenizer_config.json").read_text())["chemscale"]
    assert sorted(recorded) == ["constraints", "notation", "selfies_version", "stereo"]
