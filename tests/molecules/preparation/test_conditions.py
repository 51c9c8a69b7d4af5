"""A corpus with conditions: what stands before a molecule is what it is, and molecules stay the same."""

import csv
import json
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from rdkit import Chem

from chemscale.molecules.corpus import Corpus
from chemscale.molecules.descriptors import descriptor
from chemscale.molecules.preparation import build as building
from chemscale.molecules.preparation.build import Request, build_corpus, corpus_key
from chemscale.molecules.preparation.conditions import binning
from chemscale.molecules.preparation.conditions.binning import quantile_edges
from chemscale.molecules.preparation.conditions.measuring import condition_scaffold
from chemscale.molecules.preparation.conditions.request import (
    ConditionRequest,
    ConditionValueError,
    request_conditions,
)
from chemscale.molecules.preparation.sources import Source, SourceError
from chemscale.molecules.preparation.sources.cells import column_cells
from chemscale.molecules.preparation.standardize import Policy
from chemscale.molecules.tokenizers.conditioned import ConditionedTokenizer
from chemscale.molecules.tokenizers.opening import load_tokenizer
from chemscale.molecules.tokenizers.tokenizer import TokenizerError

NAMES = ("logP", "scaffold", "pIC50", "rings")
VALUES = ("logP", "pIC50", "rings")


@pytest.fixture(scope="module")
def measured(smiles, tmp_path_factory):
    """Molecules with a measured number: every fifth has none, one is a bound, one was measured thrice."""
    path = tmp_path_factory.mktemp("measured") / "assay.csv"
    rows = [[f"m{k}", text, "" if k % 5 == 0 else f"{4 + k % 7 / 2}"] for k, text in enumerate(smiles[:200])]
    rows[1][2] = ">10"
    rows += [["again", smiles[2], "8.5"], ["once more", smiles[2], "9.5"]]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("id", "smiles", "pIC50"), *rows])
    return path


def build(path, folder, names=NAMES, **options):
    request = ConditionRequest(names, 5)
    return build_corpus([path], folder, workers=1, validation_fraction=0.2, conditions=request, **options)


@pytest.fixture(scope="module")
def conditioned(measured, tmp_path_factory) -> Corpus:
    return build(measured, tmp_path_factory.mktemp("conditioned"))


@pytest.fixture(scope="module")
def plain(measured, tmp_path_factory) -> Corpus:
    return build_corpus([measured], tmp_path_factory.mktemp("plain"), workers=1, validation_fraction=0.2)


def prefix(corpus, split, index) -> list[str]:
    ids, (length,) = split.prefixes.gather(np.array([index]))
    assert len(ids) == length
    return [corpus.tokenizer.token(int(i)) for i in ids]


def test_what_stands_before_a_molecule_is_what_it_is(conditioned):
    tokenizer = conditioned.tokenizer
    values = {each.name: each for each in tokenizer.conditions.values}
    for split in (conditioned.train, conditioned.validation):
        for index in range(len(split)):
            smiles = tokenizer.to_smiles(split.tokens(index))
            molecule = Chem.MolFromSmiles(smiles)
            first, _, third, opening, *symbols, closing = prefix(conditioned, split, index)
            for token, name in ((first, "logP"), (third, "rings")):
                number = values[name].bin_of(descriptor(name).of(molecule))
                assert token == f"<{name}:{number:02d}>"
            assert (opening, closing) == ("<scaffold>", "</scaffold>")
            found = tokenizer.to_smiles(tokenizer.base.encode("".join(symbols))) if symbols else ""
            expected = condition_scaffold(molecule)
            assert (condition_scaffold(Chem.MolFromSmiles(found)) if found else "") == expected


def test_numbers_of_a_column_are_read_merged_and_counted(conditioned, measured):
    rows = list(csv.DictReader(measured.open()))
    numbers = {}
    for row in rows:
        key = Chem.MolToSmiles(Chem.MolFromSmiles(row["smiles"]))
        if row["pIC50"] not in ("", ">10"):
            numbers.setdefault(key, []).append(float(row["pIC50"]))
    about = conditioned.tokenizer.conditions.values[1]
    assert (about.name, about.column) == ("pIC50", True)
    unknown = 0
    for split in (conditioned.train, conditioned.validation):
        for index in range(len(split)):
            key = Chem.MolToSmiles(Chem.MolFromSmiles(conditioned.tokenizer.to_smiles(split.tokens(index))))
            known = numbers.get(key)
            expected = f"<pIC50:{about.bin_of(float(np.median(known))):02d}>" if known else "<pIC50:?>"
            assert prefix(conditioned, split, index)[1] == expected
            unknown += not known
    said = conditioned.manifest["condition_values"]["pIC50"]
    assert said["unknown"] == unknown == 41
    assert (said["empty cells"], said["cells without a number"]) == (40, 1)
    assert said["examples"] == [{"file": "assay.csv", "line": 3, "cell": ">10"}]
    assert said["molecules with different numbers"] == 1


def test_molecules_are_those_of_a_corpus_without_conditions(conditioned, plain):
    for name in ("train", "validation"):
        ours, theirs = getattr(conditioned, name), getattr(plain, name)
        assert [conditioned.tokenizer.decode(ours.tokens(i)) for i in range(len(ours))] == [
            plain.tokenizer.decode(theirs.tokens(i)) for i in range(len(theirs))
        ]
        assert theirs.prefixes is None
        assert (ours.positions - theirs.positions == ours.prefixes.lengths).all()
    assert not {"conditions", "condition_values"} & set(plain.manifest)
    request = Request((), Policy(), None, 0.02, None)
    assert "conditions" not in request.content()


def test_chunks_do_not_show_in_the_bytes(conditioned, measured, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "CHUNK_ROWS", 50)
    other = build(measured, tmp_path / "c")
    files = sorted(path.name for path in other.path.iterdir())
    assert files == sorted(path.name for path in conditioned.path.iterdir())
    assert all((other.path / n).read_bytes() == (conditioned.path / n).read_bytes() for n in files)


@pytest.mark.slow
def test_processes_do_not_show_in_the_bytes(conditioned, measured, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "CHUNK_ROWS", 50)
    request = ConditionRequest(NAMES, 5)
    folder = tmp_path / "c"
    made = build_corpus([measured], folder, workers=2, validation_fraction=0.2, conditions=request)
    assert made.hash == conditioned.hash
    assert made.manifest == conditioned.manifest


def test_a_build_that_was_interrupted_goes_on_with_its_numbers(conditioned, measured, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "CHUNK_ROWS", 50)
    with monkeypatch.context() as stopped:
        stopped.setattr(binning, "fit_conditions", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            build(measured, tmp_path / "c")
    assert list((tmp_path / "c" / ".build").glob("bucket-*.values.npy"))
    assert build(measured, tmp_path / "c").hash == conditioned.hash


def test_other_conditions_make_another_corpus(measured):
    keys = {
        corpus_key([measured], conditions=conditions)
        for conditions in (
            None,
            ConditionRequest(("logP",)),
            ConditionRequest(("logP",), 5),
            ConditionRequest(NAMES),
        )
    }
    assert len(keys) == 4


def test_bins_hold_about_as_many_and_small_whole_numbers_get_one_each():
    values = np.random.default_rng(0).normal(size=1000)
    counts = np.bincount(np.searchsorted(quantile_edges(values, 10), values, side="right"))
    assert len(counts) == 10
    assert counts.min() > 80
    assert quantile_edges(np.repeat([0.0, 1, 2, 3], [1, 400, 300, 299]), 10) == (1.0, 2.0, 3.0)
    assert quantile_edges(np.repeat([1.0, 2, 9], [500, 499, 1]), 10) == (2.0,)
    assert quantile_edges(np.ones(10), 10) == quantile_edges(np.empty(0), 10) == ()


def test_a_tokenizer_with_conditions_brings_them_and_its_edges(conditioned, measured, tmp_path):
    given = load_tokenizer(conditioned.path)
    assert request_conditions(None, 10, given) == ConditionRequest(given.conditions.names, 10)
    half = measured.with_name("half.csv")
    half.write_text("".join(measured.read_text().splitlines(keepends=True)[:90]))
    made = build(half, tmp_path / "c", tokenizer=given)
    assert made.tokenizer == given
    with pytest.raises(ConditionValueError, match=r"\[logP,pIC50,rings,scaffold\]"):
        request_conditions(("logP",), 10, given)


def test_symbols_of_scaffolds_outside_a_given_vocabulary_count_as_unknown(plain, measured, tmp_path):
    base = plain.tokenizer
    assert not isinstance(base, ConditionedTokenizer)
    made = build(measured, tmp_path / "c", ("scaffold",), tokenizer=base)
    assert made.tokenizer.base == base
    unknown = made.manifest["condition_values"]["scaffold"]["unknown"]
    told = sum(
        prefix(made, s, i) == ["<scaffold:?>"] for s in (made.train, made.validation) for i in range(len(s))
    )
    assert unknown == told


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("logp",), r"neither scaffold, nor one of the descriptors logP.*Its columns are id, smiles, pIC50"),
        (("id",), r"holds no numbers; its first cells are 'm0'"),
        (("charge",), r"charge does not tell training molecules apart \(every one has 0\)"),
        (("logP", "logP"), "names logP twice"),
        (("a<b",), "cannot be the name of a condition"),
        ((), "data.condition is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_condition_is_refused_in_a_sentence(measured, tmp_path, names, message):
    with pytest.raises((SourceError, ConditionValueError, TokenizerError), match=message):
        build(measured, tmp_path / "c", names)
    assert not (tmp_path / "c" / "manifest.json").exists()


def test_columns_are_read_in_every_format(smiles, tmp_path):
    texts, numbers = smiles[:12], [k / 4 for k in range(12)]
    pairs = list(zip(texts, numbers, strict=True))
    (tmp_path / "a.csv").write_text("y;smiles\n" + "\n".join(f"{y};{s}" for s, y in pairs))
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"s": {"smiles": s}, "y": y}) + "\n" for s, y in pairs)
    )
    parquet.write_table(pa.table({"y": numbers, "smiles": texts}), tmp_path / "a.parquet")
    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        for text, y in pairs:
            molecule = Chem.MolFromSmiles(text)
            molecule.SetProp("y", str(y))
            writer.write(molecule)
    (tmp_path / "b.smi").write_text("".join(f"{s} {y}\n" for s, y in pairs))
    for suffix in ("csv", "jsonl", "parquet", "sdf"):
        source = Source(tmp_path / f"a.{suffix}")
        assert [float(text) for text in column_cells(source, "Y")] == numbers, suffix
        assert (source.total, len(list(source.rows())), source.total) == (0, 12, 12)
    with pytest.raises(SourceError, match="none: the file has no header"):
        next(column_cells(Source(tmp_path / "b.smi"), "y"))
