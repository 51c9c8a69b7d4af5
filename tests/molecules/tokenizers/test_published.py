"""The published ChemGPT tokenizers: their ids kept, their traps closed.

The published files are not part of this project; a small one of the same make stands in for them, and the
real ones are used where they are present.
"""

import gzip
import json
import pickle
import warnings
from contextlib import suppress
from functools import lru_cache
from itertools import islice

import pytest
import selfies
from rdkit import Chem, rdBase
from tokenizers import Tokenizer

from chemscale.molecules.tokenizers import published as module
from chemscale.molecules.tokenizers.notation import (
    NotationError,
    TokenizerError,
    UnknownSymbolError,
    selfies_to_smiles,
    to_version_1,
    to_version_2,
)
from chemscale.molecules.tokenizers.published import ChemGPTTokenizer, RoundTripError
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer
from tests.helpers.paths import ROOT
from tests.helpers.published import SPECIALS, published_file, published_like

DATA = ROOT.parent / "shared" / "data"
PUBLISHED = {
    "1": DATA / "chemgpt" / "pubchem10M_tokenizer.tokenizer.json",
    "2": DATA / "chemgpt" / "pubchem10M_selfiesv2_tokenizer.tokenizer.json",
}
MOLECULES = [DATA / "molecules" / "zinc_train.smi.gz", DATA / "molecules" / "pubchem_a.smi.gz"]
SMILES = ["CCO", "CC(=O)Oc1ccccc1C(=O)O", "C[NH+](C)CC(=O)[O-]", "N#Cc1ccc(Br)cc1"]


def undecodable(tokenizer):
    """Symbols that no string can use: the installed selfies refuses any text with them."""
    texts = {symbol: "[C]" + to_version_2(symbol) for symbol in tokenizer.symbols}
    return {s for s, text in texts.items() if not selfies_to_smiles(text, tokenizer.representation)}


@pytest.fixture(params=["1", "2"])
def version(request):
    return request.param


@pytest.fixture
def small_file(version, tmp_path):
    return published_file(version, tmp_path)


@pytest.fixture
def small(small_file):
    return ChemGPTTokenizer.load(small_file)


@pytest.fixture
def real_file(version):
    if not PUBLISHED[version].exists():
        pytest.skip(f"the published tokenizer is absent: {PUBLISHED[version]}")
    return PUBLISHED[version]


@pytest.fixture(scope="module")
def real_smiles():
    missing = [str(file) for file in MOLECULES if not file.exists()]
    if missing:
        pytest.skip(f"real molecules are absent: {', '.join(missing)}")
    rows = []
    with rdBase.BlockLogs():
        for file in MOLECULES:
            with gzip.open(file, "rt") as stream:
                for line in islice(stream, 1300):
                    molecule = Chem.MolFromSmiles(line.split()[0])
                    if molecule is not None and "." not in line:
                        Chem.RemoveStereochemistry(molecule)
                        rows.append(Chem.MolToSmiles(molecule))
    assert len(rows) > 2400
    return rows


@lru_cache(maxsize=4)
def symbols_of(rows, version):
    """SELFIES of the line a file is for, by the names alone."""
    out = []
    for smiles in rows:
        with suppress(selfies.EncoderError):
            symbols = selfies.split_selfies(selfies.encoder(smiles))
            out.append([(to_version_1(s) or s) if version == "1" else s for s in symbols])
    return out


def texts_of(rows, version, vocabulary=None):
    """Only what lies in the vocabulary, where one is given."""
    known = symbols_of(tuple(rows), version)
    return ["".join(symbols) for symbols in known if vocabulary is None or vocabulary.issuperset(symbols)]


def transformers_tokenizer(folder, **options):
    auto = pytest.importorskip("transformers", reason="transformers is an optional dependency").AutoTokenizer
    return auto.from_pretrained(folder, **options)


def compatible(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return selfies.decoder(text, compatible=True)


# --- ids ---


def assert_ids_are_the_files_own(file, texts):
    tokenizer, published = ChemGPTTokenizer.load(file), Tokenizer.from_file(str(file))
    for text in texts:
        ids = tokenizer.encode(text)
        assert [2, *ids, 3] == published.encode(text).ids
        assert tokenizer.decode([2, *ids, 3, 1]) == text == published.decode(ids).replace(" ", "")


def test_ids_are_the_files_own_on_built_in_molecules(small_file, version):
    assert_ids_are_the_files_own(small_file, texts_of(SMILES, version))


def test_ids_are_the_files_own_on_real_molecules(real_file, version, real_smiles):
    texts = texts_of(real_smiles, version, set(ChemGPTTokenizer.load(real_file).symbols))
    assert len(texts) > 2000
    assert_ids_are_the_files_own(real_file, texts)


def test_ids_are_the_files_own_for_every_symbol_of_the_vocabulary(real_file):
    assert_ids_are_the_files_own(real_file, ChemGPTTokenizer.load(real_file).symbols)


def test_the_two_published_files_are_told_apart_and_counted(real_file, version):
    tokenizer = ChemGPTTokenizer.load(real_file)
    assert tokenizer.representation.selfies_version == version
    assert (tokenizer.vocab_size, len(tokenizer.symbols)) == {"1": (684, 379), "2": (669, 378)}[version]
    assert not tokenizer.representation.stereo
    never = {
        "1": {"[IH2expl]", "[=IH2expl]", "[IH3expl]", "[IH4expl]", "[teexpl]"},
        "2": {"[IH2]", "[=IH2]", "[IH3]", "[IH4]"},
    }
    assert undecodable(tokenizer) == never[version]


def test_special_ids_are_those_of_the_file(small):
    ids = (small.unk_id, small.pad_id, small.bos_id, small.eos_id, small.mask_id)
    assert ids == (0, 1, 2, 3, 4)


def test_decoding_stops_at_the_end_and_drops_specials(small):
    c = small.encode("[C]")[0]
    assert small.decode([2, c, 1, 0, 4, c, 3, c]) == "[C][C]"
    assert small.to_smiles([2, c, c, 3, c, 1]) == "CC"
    with pytest.raises(TokenizerError, match="outside the vocabulary"):
        small.decode([small.vocab_size])


def test_word_pieces_join_like_the_file_but_are_no_molecule(small, small_file):
    published = Tokenizer.from_file(str(small_file))
    ids = [*small.encode("[C]"), published.token_to_id("[C"), published.token_to_id("##]")]
    assert small.decode(ids) == "[C][C]" == published.decode(ids).replace(" ", "")
    assert small.to_smiles(ids) == ""
    pieces_that_spell_a_symbol = [published.token_to_id("[C"), published.token_to_id("]")]
    assert small.to_smiles(pieces_that_spell_a_symbol) == ""
    assert small.to_smiles([*small.encode("[C]"), small.eos_id, *pieces_that_spell_a_symbol]) == "C"


# --- refusals ---


@pytest.mark.parametrize("text", ["CCO", "C", "", "[C]C[C]", "[C"])
def test_smiles_are_refused_where_the_file_gives_word_pieces(small, text):
    with pytest.raises(NotationError, match="is not SELFIES"):
        small.encode(text)


def test_the_other_selfies_line_is_refused_under_both_policies(small_file, version):
    text = {"1": "[C][Branch1][C][O-1]", "2": "[C][Branch1_1][C][O-expl]"}[version]
    for policy in ("error", "unk"):
        with pytest.raises(NotationError, match=f"this tokenizer is for SELFIES {version}"):
            ChemGPTTokenizer.load(small_file, policy=policy).encode(text)


def test_special_tokens_in_text_are_refused(small_file):
    for policy in ("error", "unk"):
        with pytest.raises(NotationError, match="special token"):
            ChemGPTTokenizer.load(small_file, policy=policy).encode("[C][PAD]")


@pytest.mark.parametrize(("text", "symbol"), [("[C].[C]", "."), ("[C][13C]", "[13C]"), ("[C@@][C]", "[C@@]")])
def test_symbols_outside_the_vocabulary_are_named_never_shattered(small, small_file, text, symbol):
    with pytest.raises(UnknownSymbolError) as caught:
        small.encode(text)
    assert caught.value.symbol == symbol
    assert pickle.loads(pickle.dumps(caught.value)).symbol == symbol
    ids = ChemGPTTokenizer.load(small_file, policy="unk").encode(text)
    assert ids.count(0) == 1
    assert len(ids) == {".": 3}.get(symbol, 2)


@pytest.mark.parametrize("smiles", ["F[C@H](Cl)Br", "C/C=C/C"])
def test_stereo_is_refused_not_dropped(small, smiles):
    with pytest.raises(NotationError, match="strip it first"):
        small.from_smiles(smiles)


def test_salts_are_refused_unless_unknowns_are_allowed(small, small_file):
    with pytest.raises(UnknownSymbolError) as caught:
        small.from_smiles("CC.CC")
    assert caught.value.symbol == "."
    assert ChemGPTTokenizer.load(small_file, policy="unk").from_smiles("CC.CC").count(0) == 1


def test_an_unknown_policy_is_refused(small_file):
    with pytest.raises(TokenizerError, match="choose error or unk"):
        ChemGPTTokenizer.load(small_file, policy="drop")


# --- molecules ---


def test_smiles_go_in_and_come_out_as_the_same_molecule(small):
    for smiles in SMILES:
        assert Chem.CanonSmiles(small.to_smiles(small.from_smiles(smiles))) == Chem.CanonSmiles(smiles)


def test_smiles_are_translated_to_the_names_of_selfies_1(tmp_path):
    file = tmp_path / "small.json"
    file.write_text(json.dumps(published_like("1")))
    tokenizer = ChemGPTTokenizer.load(file)
    # Golden strings of selfies 1.0.4 itself.
    assert tokenizer.decode(tokenizer.from_smiles("CC(=O)[O-]")) == "[C][C][Branch1_2][C][=O][O-expl]"
    assert tokenizer.decode(tokenizer.from_smiles("C1=CC=CN1")) == "[C][=C][C][=C][N][Ring1][Branch1_1]"


def test_a_molecule_that_does_not_survive_selfies_1_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "small.json"
    file.write_text(json.dumps(published_like("1")))
    tokenizer = ChemGPTTokenizer.load(file)
    monkeypatch.setattr(module, "to_version_1", lambda symbol: "[O]" if symbol == "[=O]" else symbol)
    with pytest.raises(RoundTripError, match="another molecule"):
        tokenizer.from_smiles("C=O")


def test_real_molecules_survive_selfies_1_by_our_reading_and_by_that_of_selfies(real_smiles):
    if not PUBLISHED["1"].exists():
        pytest.skip(f"the published tokenizer is absent: {PUBLISHED['1']}")
    tokenizer = ChemGPTTokenizer.load(PUBLISHED["1"])
    some = real_smiles[::4]
    translated, unknown, inexpressible = 0, 0, 0
    for smiles in some:
        try:
            ids = tokenizer.from_smiles(smiles)
        except UnknownSymbolError:
            unknown += 1
        except TokenizerError as error:
            inexpressible += "cannot express" in str(error)
        else:
            translated += 1
            assert tokenizer.to_smiles(ids) == compatible(tokenizer.decode(ids))
    assert translated + unknown + inexpressible == len(some)
    assert translated > 0.98 * len(some)


def test_names_of_the_two_published_vocabularies_are_one_to_one():
    missing = [str(file) for file in PUBLISHED.values() if not file.exists()]
    if missing:
        pytest.skip(f"the published tokenizers are absent: {', '.join(missing)}")
    old, new = (ChemGPTTokenizer.load(PUBLISHED[line]) for line in ("1", "2"))
    assert {to_version_1(symbol) for symbol in new.symbols} == set(old.symbols) - {"[teexpl]"}
    assert {to_version_2(symbol) for symbol in old.symbols} == {*new.symbols, "[teexpl]"}
    for symbol in set(old.symbols) - undecodable(old):
        assert compatible(f"[C]{symbol}[C]") == selfies.decoder(f"[C]{to_version_2(symbol)}[C]")


# --- files ---


def test_the_published_file_is_written_back_as_it_was_read(real_file, tmp_path):
    ChemGPTTokenizer.load(real_file).save_published(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(real_file.read_text())


def test_the_repaired_folder_loads_here_again_and_pickles(small, tmp_path):
    small.save(tmp_path / "folder")
    copies = [
        ChemGPTTokenizer.load(tmp_path / "folder"),
        ChemGPTTokenizer.load(tmp_path / "folder" / "tokenizer.json"),
        pickle.loads(pickle.dumps(small)),
    ]
    for copy in copies:
        assert copy == small
        assert hash(copy) == hash(small)
        assert copy.encode("[C][O]") == small.encode("[C][O]")
    with pytest.raises(TokenizerError):
        SelfiesTokenizer.load(tmp_path / "folder")


def test_the_repaired_folder_gives_autotokenizer_the_same_ids_and_text(
    real_file, version, real_smiles, tmp_path
):
    tokenizer = ChemGPTTokenizer.load(real_file)
    texts = texts_of(real_smiles, version, set(tokenizer.symbols))
    tokenizer.save(tmp_path)
    other = transformers_tokenizer(tmp_path)
    assert len(other) == tokenizer.vocab_size
    ids = other(texts)["input_ids"]
    assert ids == [[2, *tokenizer.encode(text), 3] for text in texts]
    assert other.batch_decode(ids, skip_special_tokens=True) == texts


def test_the_repaired_folder_pads_and_batches_on_either_side(small, tmp_path):
    small.save(tmp_path)
    right, left = (transformers_tokenizer(tmp_path, padding_side=side) for side in ("right", "left"))
    c = small.encode("[C]")[0]
    batch = ["[C]", "[C][C][C]"]
    assert right(batch, padding=True)["input_ids"] == [[2, c, 3, 1, 1], [2, c, c, c, 3]]
    assert right(batch, padding=True)["attention_mask"] == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert left(batch, padding=True)["input_ids"] == [[1, 1, 2, c, 3], [2, c, c, c, 3]]
    names = (right.unk_token, right.pad_token, right.bos_token, right.eos_token, right.mask_token)
    assert list(names) == SPECIALS


@pytest.mark.parametrize("text", ["C", "CCO", "[C", "C]", "[13C]"])
def test_the_repaired_folder_never_gives_word_pieces(small, tmp_path, text):
    small.save(tmp_path)
    assert transformers_tokenizer(tmp_path)(text)["input_ids"] == [2, 0, 3]


def test_nothing_is_written_when_the_repaired_file_would_give_other_ids(small, tmp_path, monkeypatch):
    broken = Tokenizer.from_str(json.dumps(published_like(small.representation.selfies_version)))
    monkeypatch.setattr(ChemGPTTokenizer, "_repaired", lambda self: broken)
    with pytest.raises(TokenizerError, match="not saved"):
        small.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_tokenizer_made_by_chemscale_is_not_taken_for_a_published_one(tmp_path):
    SelfiesTokenizer.from_symbols(["[C]"], stereo=False).save(tmp_path)
    with pytest.raises(TokenizerError, match="load with SelfiesTokenizer"):
        ChemGPTTokenizer.load(tmp_path)


def without_branches(raw):
    raw["model"]["vocab"] = {t: i for t, i in raw["model"]["vocab"].items() if "Branch" not in t}
    raw["model"]["vocab"] = {t: i for i, t in enumerate(raw["model"]["vocab"])}


def with_a_gap(raw):
    raw["model"]["vocab"]["[C]"] = 5000


def without_a_model(raw):
    del raw["model"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [(without_branches, "neither SELFIES"), (with_a_gap, "damaged"), (without_a_model, "not the tokenizer")],
)
def test_a_file_of_another_make_is_refused_with_the_reason(version, tmp_path, damage, words):
    raw = published_like(version)
    damage(raw)
    (tmp_path / "odd.json").write_text(json.dumps(raw))
    with pytest.raises(TokenizerError, match=rf"odd\.json: .*{words}"):
        ChemGPTTokenizer.load(tmp_path / "odd.json")


def test_a_missing_file_or_one_that_is_not_json_is_an_error_with_its_name(tmp_path):
    with pytest.raises(TokenizerError, match=r"none\.json: missing"):
        ChemGPTTokenizer.load(tmp_path / "none.json")
    (tmp_path / "odd.json").write_text("{")
    with pytest.raises(TokenizerError, match="not JSON"):
        ChemGPTTokenizer.load(tmp_path / "odd.json")
