"""The SELFIES tokenizer: what it accepts, what it refuses, and that its Hugging Face files agree with it."""

import gzip
import json
import pickle
from itertools import islice

import pytest
import selfies
from rdkit import Chem
from tokenizers import Tokenizer

from chemscale.molecules.tokenizers import hugging_face as files
from chemscale.molecules.tokenizers.notation import to_version_1, to_version_2
from chemscale.molecules.tokenizers.tokenizer import (
    NotationError,
    Representation,
    SelfiesTokenizer,
    TokenizerError,
    UnknownSymbolError,
)
from tests.helpers.paths import ROOT

DATA = ROOT.parent / "shared" / "data" / "molecules"
REAL = [DATA / "zinc_train.smi.gz", DATA / "pubchem_a.smi.gz"]
SMILES = [
    "C",
    "CCO",
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "CC(C)Cc1ccc(C(C)C(=O)O)cc1",
    "C[N+](C)(C)CC(=O)[O-]",
    "N#Cc1ccc(Br)cc1",
    "[NH4+].[Cl-]",
    "CC(=O)[O-].[Na+]",
    "F[C@H](Cl)Br",
    "C/C=C/C",
    "[13CH4]",
    "OB(O)c1ccc([Si](C)(C)C)cc1",
    "O=S(=O)(c1ccccc1)N1CCC2(CC1)OCCO2",
]


def selfies_of(rows):
    texts = []
    for smiles in rows:
        try:
            texts.append(selfies.encoder(smiles))
        except selfies.EncoderError:
            continue
    return texts


def tokenizer_of(texts, *, stereo=True):
    return SelfiesTokenizer.from_symbols({s for t in texts for s in selfies.split_selfies(t)}, stereo=stereo)


@pytest.fixture
def built_in():
    texts = selfies_of(SMILES)
    return tokenizer_of(texts), texts


@pytest.fixture(scope="module")
def real_texts():
    missing = [str(file) for file in REAL if not file.exists()]
    if missing:
        pytest.skip(f"real molecules are absent: {', '.join(missing)}")
    rows = []
    for file in REAL:
        with gzip.open(file, "rt") as stream:
            rows += [line.split()[0] for line in islice(stream, 1500)]
    texts = selfies_of(rows)
    assert len(texts) > 2900
    assert any("." in text for text in texts)
    return texts


def transformers_tokenizer(folder, **options):
    auto = pytest.importorskip("transformers", reason="transformers is an optional dependency").AutoTokenizer
    return auto.from_pretrained(folder, **options)


def assert_same_as_hugging_face(tokenizer, texts, folder):
    tokenizer.save(folder)
    other = transformers_tokenizer(folder)
    ours = [tokenizer.encode(text) for text in texts]
    assert other(texts)["input_ids"] == [[1, *ids, 2] for ids in ours]
    decoded = other.batch_decode([[1, *ids, 2] for ids in ours], skip_special_tokens=True)
    assert decoded == texts == [tokenizer.decode([1, *ids, 2, 0]) for ids in ours]


# --- ids ---


def test_specials_come_first_and_symbols_are_sorted():
    tokenizer = SelfiesTokenizer.from_symbols(["[O]", ".", "[C]", "[O]"], stereo=False)
    assert tokenizer.symbols == (".", "[C]", "[O]")
    assert tokenizer.encode("[O].[C]") == [6, 4, 5]
    assert tokenizer.vocab_size == 7
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2, 3)


def test_ids_agree_with_split_selfies_on_every_built_in_molecule(built_in):
    tokenizer, texts = built_in
    for text in texts:
        assert [("", "", "", "", *tokenizer.symbols)[i] for i in tokenizer.encode(text)] == list(
            selfies.split_selfies(text)
        )


def test_smiles_go_in_and_come_out_as_the_same_molecule(built_in):
    tokenizer, _ = built_in
    for smiles in SMILES:
        assert Chem.CanonSmiles(tokenizer.to_smiles(tokenizer.from_smiles(smiles))) == Chem.CanonSmiles(
            smiles
        )


def test_decoding_stops_at_the_end_symbol(built_in):
    tokenizer, _ = built_in
    c = tokenizer.encode("[C]")[0]
    assert tokenizer.decode([1, c, 2, c, c]) == "[C]"
    assert tokenizer.to_smiles([1, c, c, 2, c]) == "CC"


def test_specials_never_reach_the_selfies_decoder(built_in, monkeypatch):
    tokenizer, _ = built_in
    c = tokenizer.encode("[C]")[0]
    seen = []
    monkeypatch.setattr(selfies, "decoder", lambda text: seen.append(text) or "C")
    tokenizer.to_smiles([0, 1, c, 3, 0, c, 2, 0, 0])
    assert seen == ["[C][C]"]
    assert tokenizer.to_smiles([1, 2, 0, 0]) == ""
    assert len(seen) == 1


def test_an_id_outside_the_vocabulary_is_an_error(built_in):
    tokenizer, _ = built_in
    for wrong in (-1, tokenizer.vocab_size):
        with pytest.raises(TokenizerError, match="outside the vocabulary"):
            tokenizer.decode([wrong])


# --- refusals ---


@pytest.mark.parametrize(
    "text", ["CCO", "c1ccccc1", "", "<pad>", "[C]C[C]", "[C", "C]", "[C]<pad>[C]", "[C].][C]"]
)
def test_text_that_is_not_selfies_is_refused(built_in, text):
    with pytest.raises(NotationError, match="is not SELFIES"):
        built_in[0].encode(text)


@pytest.mark.parametrize("symbol", ["[Branch1_1]", "[Expl=Ring1]", "[O-expl]", "[NHexpl]"])
def test_selfies_1_is_refused(built_in, symbol):
    with pytest.raises(NotationError, match="SELFIES 1"):
        built_in[0].encode(f"[C]{symbol}[C]")
    with pytest.raises(NotationError, match="SELFIES 1"):
        SelfiesTokenizer.from_symbols(["[C]", symbol], stereo=False)


def test_an_unknown_symbol_is_named_and_survives_pickling(built_in):
    with pytest.raises(UnknownSymbolError, match=r"\[Pt\] is not in the vocabulary") as caught:
        built_in[0].encode("[C][Pt][C]")
    assert caught.value.symbol == "[Pt]"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.symbol, str(again)) == ("[Pt]", str(caught.value))


def test_a_dot_outside_the_vocabulary_is_unknown():
    with pytest.raises(UnknownSymbolError) as caught:
        SelfiesTokenizer.from_symbols(["[C]"], stereo=False).encode("[C].[C]")
    assert caught.value.symbol == "."


@pytest.mark.parametrize("symbols", [[], ["."], ["C"], ["[]"], ["<pad>"], ["[C][C]"], ["[C"], ["[C ]"]])
def test_what_is_no_set_of_symbols_is_refused(symbols):
    with pytest.raises(TokenizerError):
        SelfiesTokenizer.from_symbols(symbols, stereo=False)


@pytest.mark.parametrize("smiles", ["F[C@H](Cl)Br", "C/C=C/C"])
def test_stereo_is_refused_by_a_tokenizer_without_it(smiles):
    tokenizer = tokenizer_of(selfies_of(SMILES), stereo=False)
    with pytest.raises(NotationError, match="stereo"):
        tokenizer.from_smiles(smiles)


@pytest.mark.parametrize("smiles", ["", "not a molecule", "C*", "FC(F)(F)(F)(F)F"])
def test_a_molecule_that_selfies_cannot_express_is_an_error_with_its_smiles(built_in, smiles):
    with pytest.raises(TokenizerError, match="cannot express"):
        built_in[0].from_smiles(smiles)


def test_other_bonding_constraints_are_refused_until_they_are_set(built_in):
    tokenizer, _ = built_in
    selfies.set_semantic_constraints("hypervalent")
    try:
        with pytest.raises(TokenizerError, match="set_semantic_constraints"):
            tokenizer.from_smiles("CCO")
        with pytest.raises(TokenizerError, match="set_semantic_constraints"):
            tokenizer.to_smiles([4])
    finally:
        selfies.set_semantic_constraints()
    assert tokenizer.from_smiles("CCO")


def test_the_constraints_given_are_the_ones_recorded():
    capacities = selfies.get_preset_constraints("octet_rule")
    tokenizer = SelfiesTokenizer.from_symbols(["[C]"], stereo=False, constraints=capacities)
    assert dict(tokenizer.representation.constraints) == capacities


# --- identity and files ---


def test_a_tokenizer_saved_and_loaded_or_pickled_is_equal(built_in, tmp_path):
    tokenizer, texts = built_in
    tokenizer.save(tmp_path)
    copies = [
        SelfiesTokenizer.load(tmp_path),
        SelfiesTokenizer.load(tmp_path / "tokenizer.json"),
        pickle.loads(pickle.dumps(tokenizer)),
    ]
    for copy in copies:
        assert copy == tokenizer
        assert hash(copy) == hash(tokenizer)
        assert copy.representation == tokenizer.representation
        assert [copy.encode(text) for text in texts] == [tokenizer.encode(text) for text in texts]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_the_hash_depends_on_symbols_stereo_and_constraints_but_not_on_their_order():
    base = SelfiesTokenizer.from_symbols(["[C]", "[O]"], stereo=False)
    octet = selfies.get_preset_constraints("octet_rule")
    others = [
        SelfiesTokenizer.from_symbols(["[C]", "[N]"], stereo=False),
        SelfiesTokenizer.from_symbols(["[C]", "[O]"], stereo=True),
        SelfiesTokenizer.from_symbols(["[C]", "[O]"], stereo=False, constraints=octet),
    ]
    assert len({base.hash, *(other.hash for other in others)}) == 4
    assert SelfiesTokenizer.from_symbols(["[O]", "[C]"], stereo=False).hash == base.hash


def test_saving_writes_nothing_when_the_file_would_give_other_ids(built_in, tmp_path, monkeypatch):
    tokenizer, _ = built_in
    other = SelfiesTokenizer.from_symbols(["[C]"], stereo=False)
    broken = files.hf_tokenizer(("<pad>", "<bos>", "<eos>", "<unk>", *other.symbols))
    monkeypatch.setattr(files, "hf_tokenizer", lambda tokens, pattern: broken)
    with pytest.raises(TokenizerError, match="not saved"):
        tokenizer.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_representation_survives_autotokenizer(built_in, tmp_path):
    tokenizer, _ = built_in
    tokenizer.save(tmp_path / "ours")
    other = transformers_tokenizer(tmp_path / "ours")
    assert Representation.from_dict(other.init_kwargs["chemscale"]) == tokenizer.representation
    other.save_pretrained(tmp_path / "theirs")
    assert SelfiesTokenizer.load(tmp_path / "theirs") == tokenizer


def test_autotokenizer_knows_the_specials_and_pads_on_either_side(built_in, tmp_path):
    tokenizer, _ = built_in
    tokenizer.save(tmp_path)
    right = transformers_tokenizer(tmp_path)
    ids = (right.pad_token_id, right.bos_token_id, right.eos_token_id, right.unk_token_id)
    assert ids == (0, 1, 2, 3)
    assert right.padding_side == "right"
    assert right.model_max_length == 2048
    c = tokenizer.encode("[C]")[0]
    batch = ["[C]", "[C][C][C]"]
    assert right(batch, padding=True)["input_ids"][0] == [1, c, 2, 0, 0]
    left = transformers_tokenizer(tmp_path, padding_side="left")
    assert left(batch, padding=True)["input_ids"][0] == [0, 0, 1, c, 2]
    assert right("[C][Pt]")["input_ids"] == [1, c, 3, 2]


def test_autotokenizer_gives_the_same_ids_and_text_on_built_in_molecules(built_in, tmp_path):
    assert_same_as_hugging_face(*built_in, tmp_path)


def test_autotokenizer_gives_the_same_ids_and_text_on_thousands_of_real_molecules(real_texts, tmp_path):
    assert_same_as_hugging_face(tokenizer_of(real_texts), real_texts, tmp_path)


def test_the_file_alone_loads_in_tokenizers(built_in, tmp_path):
    tokenizer, texts = built_in
    tokenizer.save(tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert backend.encode(texts[2]).ids == [1, *tokenizer.encode(texts[2]), 2]


def damage_config(folder):
    (folder / "tokenizer_config.json").write_text("{}")


def damage_representation(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"chemscale": {"notation": "selfies"}}))


def damage_version(folder):
    file = folder / "tokenizer_config.json"
    file.write_text(file.read_text().replace('"selfies_version": "2"', '"selfies_version": "1"'))


def damage_ids(folder):
    raw = json.loads((folder / "tokenizer.json").read_text())
    raw["model"]["vocab"]["<pad>"] = 99
    (folder / "tokenizer.json").write_text(json.dumps(raw))


def damage_json(folder):
    (folder / "tokenizer.json").write_text("{")


def remove(folder):
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_config, "not recorded"),
        (damage_representation, "not recorded"),
        (damage_version, "SELFIES 2"),
        (damage_ids, "four specials"),
        (damage_json, "not a tokenizer of chemscale"),
        (remove, "missing"),
    ],
)
def test_a_damaged_folder_is_refused_with_the_reason(built_in, tmp_path, damage, words):
    built_in[0].save(tmp_path)
    damage(tmp_path)
    with pytest.raises(TokenizerError, match=words):
        SelfiesTokenizer.load(tmp_path)


# --- names of the two SELFIES lines ---


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("[C]", "[C]"),
        ("[Ring2]", "[Ring2]"),
        ("[Branch1]", "[Branch1_1]"),
        ("[=Branch2]", "[Branch2_2]"),
        ("[#Branch1]", "[Branch1_3]"),
        ("[=Ring1]", "[Expl=Ring1]"),
        ("[O-1]", "[O-expl]"),
        ("[NH1]", "[NHexpl]"),
        ("[=NH2+1]", "[=NH2+expl]"),
        ("[Sn+2]", "[Sn+2expl]"),
        ("[#Si]", "[#Siexpl]"),
        ("[CH0]", "[Cexpl]"),
    ],
)
def test_symbols_of_the_two_lines_translate_both_ways(new, old):
    assert to_version_1(new) == old
    assert to_version_2(old) == new


@pytest.mark.parametrize("symbol", ["[C@@H1]", "[/C]", "[13C]", ".", "[nop]"])
def test_symbols_without_a_translation_are_said_to_have_none(symbol):
    assert to_version_1(symbol) is None
    assert to_version_2(symbol) == symbol


def test_what_the_selfies_package_does_not_foresee_is_refused_as_a_molecule_that_it_cannot_express(built_in):
    with pytest.raises(TokenizerError, match="SELFIES cannot express 'CC"):
        built_in[0].from_smiles("CC(:I)=CCO")
