"""A published tokenizer's vocabulary is kept to by a corpus and a model, as one of our own is."""

import pytest

from chemscale.molecules.corpus import Corpus
from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.standardize import Policy, standardize
from chemscale.molecules.tokenizers.notation import TokenizerError
from chemscale.molecules.tokenizers.opening import load_tokenizer
from chemscale.molecules.tokenizers.published import ChemGPTTokenizer
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer
from tests.helpers.published import published_file

KEPT = [
    "CCO",
    "CC(=O)Oc1ccccc1C(=O)O",
    "C[NH+](C)CC(=O)[O-]",
    "N#Cc1ccc(Br)cc1",
    "CCS",
    "c1ccsc1",
    "CCN",
    "CCCC",
]
NOT_KEPT = ["CCI", "C[C@H](N)O", "CCO.Br"]


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_corpus_keeps_to_a_published_vocabulary(version, tmp_path):
    tokenizer = load_tokenizer(published_file(version, tmp_path))
    rows = tmp_path / "rows.smi"
    rows.write_text("\n".join(KEPT + NOT_KEPT))
    build_corpus([rows], tmp_path / "c", workers=1, validation_fraction=0.3, tokenizer=tokenizer)
    corpus = Corpus.open(tmp_path / "c")
    assert isinstance(corpus.tokenizer, ChemGPTTokenizer)
    assert corpus.tokenizer.hash == tokenizer.hash
    assert corpus.manifest["counts"]["dropped"] == {"symbol outside the given vocabulary": len(NOT_KEPT)}
    held = [split.tokens(i) for split in (corpus.train, corpus.validation) for i in range(len(split))]
    read = {standardize(corpus.tokenizer.to_smiles(ids), Policy()).smiles for ids in held}
    assert read == {standardize(smiles, Policy()).smiles for smiles in KEPT}
    assert sorted(map(list, held)) == sorted(tokenizer.from_smiles(smiles) for smiles in read)


def test_a_symbol_that_would_be_read_back_as_another_has_no_id(tmp_path):
    tokenizer = load_tokenizer(published_file("1", tmp_path))
    assert tokenizer.symbol_id("[=Branch1]") == tokenizer.encode("[Branch1_2]")[0]
    assert tokenizer.symbol_id("[NH1]") == tokenizer.encode("[NHexpl]")[0]
    assert tokenizer.symbol_id("[C@H1]") is tokenizer.symbol_id(".") is tokenizer.symbol_id("[PAD]") is None


def test_ours_and_the_published_are_told_apart_by_their_files(tmp_path):
    ours = SelfiesTokenizer.from_symbols(["[C]", "[O]"], stereo=False)
    ours.save(tmp_path / "ours")
    assert load_tokenizer(tmp_path / "ours") == ours
    assert load_tokenizer(tmp_path / "ours" / "tokenizer.json") == ours
    published = load_tokenizer(published_file("2", tmp_path))
    published.save(tmp_path / "theirs")
    assert load_tokenizer(tmp_path / "theirs") == published


def test_what_is_no_tokenizer_is_refused_in_one_paragraph(tmp_path):
    with pytest.raises(TokenizerError, match="no such file or folder"):
        load_tokenizer(tmp_path / "nowhere")
    (tmp_path / "text.txt").write_text("CCO\n")
    with pytest.raises(TokenizerError, match="published with ChemGPT") as refused:
        load_tokenizer(tmp_path / "text.txt")
    assert "\n" not in str(refused.value)


def test_the_name_of_a_hub_is_told_from_a_folder():
    with pytest.raises(TokenizerError, match=r"ncfrey/ChemGPT-4.7M: no such file or folder.*not fetched"):
        load_tokenizer("ncfrey/ChemGPT-4.7M")
