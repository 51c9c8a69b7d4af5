"""Corpora of several notations: the same molecules as other text, what cannot be written is counted."""

import gzip
import json
import os
import subprocess
import sys

import pytest

from chemscale.molecules.corpus import CorpusError, same_molecules
from chemscale.molecules.metrics.sampled.samples import Fate, of_ids
from chemscale.molecules.preparation import encoding
from chemscale.molecules.preparation.build import build_corpus, corpus_key
from chemscale.molecules.preparation.encoding import symbols_of
from chemscale.molecules.preparation.standardize import Policy, Reason, standardize
from chemscale.molecules.preparation.vocabulary import (
    VOCABULARY_FILE,
    audit_vocabulary,
    count_symbols,
    describe_vocabulary,
)
from chemscale.molecules.tokenizers.atomwise import split_atomwise
from chemscale.molecules.tokenizers.notation import TokenizerError
from chemscale.molecules.tokenizers.opening import tokenizer_of
from tests.helpers.notations import HAS_SAFE, NEEDS_SAFE, SAFE
from tests.helpers.paths import ROOT

OTHERS = ["smiles", "deepsmiles", SAFE]
NOT_SELFIES = "FI(F)(F)(F)F"
"""Iodine pentafluoride: iodine has one bond in SELFIES."""


@pytest.fixture(scope="module")
def rows(smiles, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.smi"
    path.write_text("\n".join([*smiles[:80], NOT_SELFIES, "C1CC1", "C[C@H](N)C(=O)O", "CCO.[Na+].[Cl-]"]))
    return path


@pytest.fixture(scope="module")
def made(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return {
        notation: build_corpus(
            [rows], folder / notation, notation=notation, workers=1, validation_fraction=0.1
        )
        for notation in ("selfies", "smiles", "deepsmiles", *(["safe"] if HAS_SAFE else []))
    }


def contents(corpus):
    read = [
        standardize(corpus.tokenizer.to_smiles(split.tokens(i)), Policy()).smiles
        for split in (corpus.train, corpus.validation)
        for i in range(len(split))
    ]
    return read


@pytest.mark.parametrize("notation", OTHERS)
def test_a_corpus_holds_the_molecules_in_the_same_order_and_splits(made, notation):
    expected = standardize(NOT_SELFIES, Policy()).smiles
    mine = contents(made[notation])
    assert [smiles for smiles in mine if smiles != expected] == contents(made["selfies"])
    assert mine.count(expected) == 1
    assert made[notation].tokenizer.representation.notation == notation
    assert not same_molecules(made[notation], made["selfies"])
    assert same_molecules(made[notation], made["smiles"])


def test_what_selfies_cannot_express_is_counted_with_its_reason(made):
    assert made["selfies"].manifest["counts"]["dropped"] == {Reason.NO_SELFIES.value: 1}
    assert made["smiles"].manifest["counts"]["dropped"] == {}


@pytest.mark.parametrize("notation", OTHERS)
def test_common_to_keeps_what_all_can_express_and_says_what_not(rows, made, notation, tmp_path):
    common = build_corpus(
        [rows], tmp_path, notation=notation, common_to=["selfies"], workers=1, validation_fraction=0.1
    )
    assert same_molecules(common, made["selfies"])
    assert common.manifest["counts"]["dropped"] == {Reason.NOT_COMMON.value: 1}
    with gzip.open(tmp_path / "dropped.csv.gz", "rt") as file:
        assert "SELFIES: SELFIES cannot express it" in file.read()


def test_keys_tell_notations_apart_and_those_of_selfies_stay(rows, made):
    keys = {notation: corpus.manifest["key"] for notation, corpus in made.items()}
    assert len(set(keys.values())) == len({corpus.hash for corpus in made.values()}) == 3 + HAS_SAFE
    manifest = made["selfies"].manifest
    assert not {"notation", "common_to"} & set(manifest)
    assert sorted(manifest["tools"]) == ["python", "rdkit", "selfies"]
    plain = corpus_key([rows], validation_fraction=0.1)
    assert plain == keys["selfies"] == corpus_key([rows], validation_fraction=0.1, common_to=["selfies"])
    assert plain != corpus_key([rows], validation_fraction=0.1, common_to=["smiles"])
    if HAS_SAFE:
        assert set(made["safe"].manifest["tools"]) == {"python", "rdkit", "selfies", "safe-mol"}


@NEEDS_SAFE
def test_safe_gives_the_same_bytes_whatever_python_hashes(rows, made, tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from chemscale.molecules.preparation.build import build_corpus\n"
        "made = build_corpus([Path(sys.argv[1])], Path(sys.argv[2]), notation='safe', workers=1,"
        " validation_fraction=0.1)\nprint(made.hash)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(rows), str(tmp_path / "c")],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == made["safe"].hash


def test_a_text_that_is_read_back_as_another_molecule_is_never_trained_on(monkeypatch):
    monkeypatch.setattr(encoding, "smiles_to_text", lambda smiles, notation: "CCN")
    found = symbols_of("CCO", Policy(), "deepsmiles")
    assert (found.reason, found.detail) == (Reason.READ_BACK, "CCN is CCN")
    monkeypatch.setattr(encoding, "smiles_to_text", lambda smiles, notation: "CC3")
    assert symbols_of("CCO", Policy(), "safe").detail == "CC3 is no molecule"


def test_longer_texts_than_allowed_are_dropped_in_their_own_notation():
    phenol = "Oc1ccccc1"
    assert len(symbols_of(phenol, Policy(max_symbols=9), "smiles")) == 9
    assert symbols_of(phenol, Policy(max_symbols=8), "smiles").reason is Reason.TOO_MANY_SYMBOLS


def test_a_vocabulary_of_another_notation_is_refused(rows, tmp_path):
    given = tokenizer_of(["C", "O"], "smiles", stereo=False)
    with pytest.raises(CorpusError, match=r"data\.notation=deepsmiles, but data\.tokenizer is of SMILES"):
        build_corpus([rows], tmp_path / "c", notation="deepsmiles", tokenizer=given)
    with pytest.raises(TokenizerError, match="'inchi' is no notation: choose one of selfies, smiles"):
        build_corpus([rows], tmp_path / "c", notation="inchi")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("notation", ["selfies", *OTHERS])
def test_what_a_corpus_holds_is_judged_to_be_written_exactly(made, notation):
    tokenizer, train = made[notation].tokenizer, made[notation].train
    whole = [[*map(int, train.tokens(i)), tokenizer.eos_id] for i in range(20)]
    assert {each.fate for each in of_ids(whole, tokenizer)} == {Fate.EXACT}
    assert {each.fate for each in of_ids([ids[:-1] for ids in whole], tokenizer)} == {Fate.TRUNCATED}


@NEEDS_SAFE
def test_another_order_of_blocks_is_no_rewriting_and_an_open_end_is_refused(made):
    tokenizer = made["safe"].tokenizer
    for text, fate in (("O4.CC4", Fate.EXACT), ("CC4.O", Fate.REFUSED)):
        (drawn,) = of_ids([[*tokenizer.encode(text), tokenizer.eos_id]], tokenizer)
        assert drawn.fate is fate


# --- the audit of the vocabulary ---


@pytest.mark.parametrize("notation", ["selfies", "smiles"])
def test_every_symbol_is_counted_as_often_as_it_occurs(made, notation):
    corpus = made[notation]
    counts = {count.symbol: count for count in count_symbols(corpus)}
    assert tuple(counts) == corpus.tokenizer.symbols
    decoded = [corpus.tokenizer.token(i) for m in range(len(corpus.train)) for i in corpus.train.tokens(m)]
    for symbol, count in counts.items():
        assert count.training == decoded.count(symbol)
    having = [{*map(int, corpus.validation.tokens(m))} for m in range(len(corpus.validation))]
    carbon = counts["[C]" if notation == "selfies" else "C"]
    assert carbon.validation_molecules == sum(carbon.id in each for each in having)


def test_counts_are_kept_and_a_damaged_file_is_counted_again(made):
    corpus = made["smiles"]
    first = audit_vocabulary(corpus)
    file = corpus.path / VOCABULARY_FILE
    kept = file.read_text()
    assert kept.startswith("id,symbol,training,training_molecules,validation,validation_molecules\n")
    file.write_text(kept.replace(f"{first[0].id},", "x,", 1))
    assert audit_vocabulary(corpus) == first
    assert file.read_text() == kept
    (line, *rest) = describe_vocabulary(corpus, first)
    assert f"{len(first)} symbols of SMILES" in line
    assert any("in fewer than 10 training molecules: " in each and " (1)" in each for each in rest)


def test_symbols_that_molecules_were_dropped_for_are_counted(rows, tmp_path):
    symbols = split_atomwise("CcNnOoSsFClBr()=#1234-/\\I[nH]P[As]")
    given = tokenizer_of(symbols, "smiles", stereo=True)
    corpus = build_corpus(
        [rows], tmp_path, notation="smiles", tokenizer=given, workers=1, validation_fraction=0.1
    )
    lines = describe_vocabulary(corpus, audit_vocabulary(corpus))
    assert any("by dropped molecules: " in line and "[Na+] (1)" in line for line in lines)
    assert any("of the given vocabulary in no molecule here" in line for line in lines)
    assert json.loads((tmp_path / "manifest.json").read_text())["tokenizer"] == given.hash
