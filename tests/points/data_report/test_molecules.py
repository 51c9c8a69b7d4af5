"""The report of a corpus: its figures are those of the molecules, and a stranger's text stays text."""

import json

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from chemscale.molecules.corpus import Corpus
from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.standardize import Policy
from chemscale.points.data_report import descriptions
from chemscale.points.data_report.corpus import report_corpus
from chemscale.points.data_report.page import FIGURES, PAGE, ReportError, number, percent, plain, render

EVIL = '<script>alert("x")</script>'
SMILES = [
    f"{'C' * n}{tail}" for n in range(1, 21) for tail in ("", "O", "N", "Cl", "c1ccccc1", "C(=O)[O-].[Na+]")
]
BAD = ["C1CC", EVIL, "CC(C)(C)(C)C", "C*", "C1CO\u202e", "C" * 70, "OCC", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("report")
    rows = made / f"{EVIL.replace('/', '')}.csv"
    rows.write_text("smiles,number\n" + "".join(f'"{t}",1\n'.replace('""x""', "x") for t in (
        text.replace('"', '""') for text in [*SMILES, *BAD])), encoding="utf-8")  # fmt: skip
    build_corpus([rows], made / "c", policy=Policy(max_symbols=60), validation_fraction=0.2, workers=1)
    return made


@pytest.fixture(scope="module")
def content(folder):
    page = report_corpus(Corpus.open(folder / "c"), 30, 1)
    assert page == folder / "c" / PAGE
    return json.loads((folder / "c" / FIGURES).read_text())


def parts(content, name):
    return next(each for each in content["distributions"] if each["name"] == name)["parts"]


def test_rows_are_kept_or_dropped_with_a_reason(content):
    counts, dropped = content["counts"], {d["reason"]: d["rows"] for d in content["dropped"]}
    assert counts["rows"] == len(SMILES) + len(BAD)
    assert counts["kept"] + sum(dropped.values()) == counts["rows"]
    assert content["duplicates"] == dropped["duplicate"] > 0
    assert dropped["wildcard or query atom"] == 1


def test_lengths_are_exact_and_those_above_a_block_are_counted(folder, content):
    corpus = Corpus.open(folder / "c")
    positions = np.concatenate([corpus.train.positions, corpus.validation.positions])
    assert sum(content["block"]["longer"].values()) == (positions > 30).sum() == 0
    assert max(content["block"]["longest"].values()) == positions.max()
    assert sum(content["block"]["tokens"].values()) == positions.sum()
    assert parts(content, "length")["train"]["largest"] == corpus.train.positions.max()
    assert parts(content, "heavy atoms")["train"]["mean"] == pytest.approx(corpus.train.heavy_atoms.mean())


def test_descriptors_and_elements_are_those_of_the_molecules(folder, content):
    corpus = Corpus.open(folder / "c")
    molecules = [
        Chem.MolFromSmiles(corpus.tokenizer.to_smiles(corpus.train.tokens(i).tolist()))
        for i in range(len(corpus.train))
    ]
    weights = [rdMolDescriptors.CalcExactMolWt(m) for m in molecules]
    assert parts(content, "weight")["train"]["mean"] == pytest.approx(np.mean(weights), rel=2e-3)
    chlorine = sum(any(a.GetSymbol() == "Cl" for a in m.GetAtoms()) for m in molecules)
    row = next(e for e in content["elements"] if e["element"] == "Cl")
    assert row["parts"]["train"]["molecules"] == row["parts"]["train"]["atoms"] == chlorine
    several = sum(len(Chem.GetMolFrags(m)) > 1 for m in molecules)
    assert content["sample"]["train"]["several_fragments"] == several > 0


def test_coverage_of_the_vocabulary_rises_to_one(content):
    curve = content["vocabulary"]["coverage"]
    assert curve["train"] == sorted(curve["train"])
    assert curve["train"][-1] == 1
    assert curve["needed"][-1] == {"share": 1.0, "symbols": curve["symbols"][-1]}


def test_a_strangers_text_is_shown_and_acts_on_nothing(folder, content):
    text = (folder / "c" / PAGE).read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\u202e" not in text
    assert "\\u202e" in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert plain("a\x00\u202e\ud800é") == "a\\x00\\u202e\\ud800é"


def test_what_parses_is_drawn_and_what_does_not_says_why(folder, content):
    text = (folder / "c" / PAGE).read_text()
    assert 'alt="C*"' in text
    assert 'alt="C1CC"' not in text
    found = {row["text"]: row["detail"] for d in content["dropped"] for row in d["examples"]}
    assert "greater than permitted" in found["CC(C)(C)(C)C"]


def test_the_same_corpus_gives_the_same_bytes_in_tasks_of_any_size(folder, content, monkeypatch):
    before = {name: (folder / "c" / name).read_bytes() for name in (PAGE, FIGURES)}
    monkeypatch.setattr(descriptions, "CHUNK", 7)
    report_corpus(Corpus.open(folder / "c"), 30, 1)
    assert before == {name: (folder / "c" / name).read_bytes() for name in (PAGE, FIGURES)}


def test_a_sample_says_of_how_many_it_is(folder, monkeypatch, content):
    before = {name: (folder / "c" / name).read_bytes() for name in (PAGE, FIGURES)}
    monkeypatch.setattr(descriptions, "SAMPLE", 20)
    monkeypatch.setattr(descriptions, "COSTLY_SAMPLE", 5)
    page = report_corpus(Corpus.open(folder / "c"), 10, 1)
    sampled, text = json.loads((folder / "c" / FIGURES).read_text()), page.read_text()
    for name, old in before.items():
        (folder / "c" / name).write_bytes(old)
    train = sampled["counts"]["train"]
    assert f"of a random sample of 20 of {train} training molecules (of 5 for logP, QED, SA)" in text
    assert parts(sampled, "QED")["train"]["count"] == 5
    assert parts(sampled, "weight")["train"]["of"] == train
    assert parts(sampled, "heavy atoms") == parts(content, "heavy atoms")
    assert any("of more than the 10 positions" in remark for remark in sampled["remarks"])


def test_a_folder_that_cannot_be_written_is_named(folder, content, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("chemscale.points.data_report.page.write_json", refuse)
    with pytest.raises(ReportError, match=r"Permission denied.*corpora=FOLDER"):
        report_corpus(Corpus.open(folder / "c"), 30, 1)


def test_conditions_and_symbols_outside_a_vocabulary_have_their_tables(content):
    more = json.loads(json.dumps(content))
    more["conditions"] = {"logP": {"from": "descriptor", "bins": 4, "low": -1.0, "high": 5.0, "unknown": 2}}
    more["vocabulary"]["outside"] = {"symbols": 1, "first": [{"symbol": "[<Q>]", "molecules": 3}]}
    text = render(more)
    assert 'id="conditions"' in text
    assert "[&lt;Q&gt;]" in text


@pytest.mark.parametrize(
    ("value", "deviation", "text"),
    [
        (float("nan"), 1, "–"),
        (None, 1, "–"),
        (0.0, 1, "0"),
        (-4210.12345, 0.18, "−4,210.123"),
        (1234567.8, float("nan"), "1,234,568"),
        (0.123456, 0.1, "0.1235"),
        (1.5e-7, 1e-7, "1.5e−07"),
        (-12.0, 0, "−12"),
    ],
)
def test_numbers_are_read_at_the_precision_that_they_vary_in(value, deviation, text):
    assert number(value, deviation) == text


def test_a_share_just_below_all_is_not_all():
    assert (percent(1), percent(0.9999), percent(0.5), percent(0)) == ("100 %", "99.99 %", "50 %", "0 %")
