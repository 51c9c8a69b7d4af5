"""What became of each sequence: truncated, rewritten by the decoder, refused, or a molecule as written."""

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import selfies

from chemscale.molecules.metrics.judge import judge_validity
from chemscale.molecules.metrics.sampled.files import read_samples
from chemscale.molecules.metrics.sampled.samples import Fate, Samples, of_ids
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer
from tests.helpers.molecule_files import put

SYMBOLS = ["[C]", "[=C]", "[F]", "[O]", "[=O]", "[N]", "[Ring1]", "[Branch1]", "[C@@H1]"]


@pytest.fixture(scope="module")
def tokenizer():
    return SelfiesTokenizer.from_symbols(SYMBOLS, stereo=True)


def fate(tokenizer, text, end=True):
    ids = tokenizer.encode(text) if text else []
    return of_ids([[*ids, tokenizer.eos_id] if end else ids], tokenizer)[0]


@pytest.mark.parametrize(
    ("text", "end", "expected", "smiles"),
    [
        ("[C][C][O]", True, Fate.EXACT, "CCO"),
        ("[C][F][F][O]", True, Fate.REWRITTEN, "CF"),  # nothing follows a fluorine
        ("[O][=O][=O]", True, Fate.REWRITTEN, "O=O"),
        ("[C][C][Ring1]", True, Fate.REWRITTEN, "C=C"),  # a ring without its length
        ("[C][C][O]", False, Fate.TRUNCATED, "CCO"),
        ("", True, Fate.EMPTY, ""),
        ("[Ring1]", True, Fate.UNDECODABLE, ""),
    ],
)
def test_a_sequence_has_one_fate(tokenizer, text, end, expected, smiles):
    found = fate(tokenizer, text, end)
    assert (found.fate, found.smiles) == (expected, smiles)


def test_no_molecule_of_a_corpus_counts_as_rewritten(corpus):
    ids = [[*corpus.train.tokens(i).tolist(), corpus.tokenizer.eos_id] for i in range(len(corpus.train))]
    assert {each.fate for each in of_ids(ids, corpus.tokenizer)} == {Fate.EXACT}


def test_shares_count_every_sequence_once(tokenizer):
    drawn = [
        fate(tokenizer, t, e) for t, e in (("[C][F][F]", True), ("[C]", False), ("", True), ("[C]", True))
    ]
    samples = Samples(tuple(drawn), written=True, source="made")
    values = judge_validity(samples)
    assert sum(samples.fates().values()) == 4
    assert values["valid"].value == 0.75  # a truncated one may be a molecule, as MOSES counts
    assert values["rewritten"].value == 0.5
    assert values["exact"].value == 0.25
    assert values["unique"].value == pytest.approx(2 / 3)
    assert "unique_1000" not in values


ROWS = [("CCO", "[C][C][O]", 0), ("CF", "[C][F][F]", 0), ("CC", "[C][C]", 1), ("", "", 0)]
FATES = [Fate.EXACT, Fate.REWRITTEN, Fate.TRUNCATED, Fate.EMPTY]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_generate_writes_is_read_with_what_it_says(tmp_path, kind):
    if kind == "csv":
        lines = [f"{smiles},{text},{int(bool(smiles))},{cut}" for smiles, text, cut in ROWS]
        file = put(tmp_path, "g.csv", "\n".join(["SMILES,SELFIES,valid,truncated", *lines, ""]))
    else:
        smiles, texts, cut = zip(*ROWS, strict=True)
        file = tmp_path / "g.parquet"
        table = {"SMILES": smiles, "SELFIES": texts, "truncated": [bool(c) for c in cut]}
        parquet.write_table(pa.table({key: list(value) for key, value in table.items()}), file)
    found = read_samples(file, most=100, silent=True)
    assert found.written
    assert [each.fate for each in found.drawn] == FATES


def test_a_list_without_a_header_keeps_every_row_and_passes_over_blank_lines(tmp_path):
    found = read_samples(put(tmp_path, "g.smi", "CCO\n\nc1ccccc1\nC1CC\nCCN\nCCC\n\n"), most=100, silent=True)
    assert [each.smiles for each in found.drawn] == ["CCO", "c1ccccc1", "", "CCN", "CCC"]
    assert not found.written


def test_a_file_of_selfies_is_told_what_the_decoder_rewrote(tmp_path):
    texts = [selfies.encoder("CCO"), selfies.encoder("c1ccccc1"), "[C][F][F]"]
    found = read_samples(put(tmp_path, "g.csv", "\n".join(["selfies", *texts, ""])), most=10, silent=True)
    assert [each.fate for each in found.drawn] == [Fate.EXACT, Fate.EXACT, Fate.REWRITTEN]


@pytest.mark.parametrize(("name", "head"), [("g.smi", ""), ("g.csv", "smiles\n"), ("g.csv", "smiles,x\n")])
def test_a_poor_models_file_is_judged_though_most_rows_are_no_molecules(tmp_path, name, head):
    rows = ["CCO", *["C1CC"] * 9]
    found = read_samples(put(tmp_path, name, head + "\n".join(rows)), most=100, silent=True)
    assert [bool(each.smiles) for each in found.drawn] == [True] + [False] * 9


def test_rows_beyond_the_number_are_passed_over_with_a_warning(tmp_path, caplog):
    found = read_samples(put(tmp_path, "g.smi", "CCO\nCCN\nCCC\n"), most=2, silent=True)
    assert len(found.drawn) == 2
    assert "the first 2 are judged" in caplog.text
