"""Scores and vectors belong to the molecule alone; what cannot be had has a reason and no number."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from chemscale.molecules.likelihood import sequence_nll
from chemscale.molecules.loading import load_trained
from chemscale.molecules.representation import stream
from chemscale.molecules.representation.output import OutputError
from chemscale.molecules.representation.run import embed, score
from chemscale.molecules.row_shards import ShardError
from tests.helpers.models import save_random_model
from tests.helpers.molecule_files import put
from tests.molecules.representation.conftest import MOLECULES

BAD = ["not", "", "C[Si](C)C", "C" * 80, "C*"]
ATOL = 1e-6


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(stream, "WINDOW", 8)


def nats(table):
    return dict(zip(table["input"].to_pylist(), table["nats"].to_pylist(), strict=True))


def test_a_score_is_the_likelihood_of_the_canonical_spelling_and_its_end(model):
    opened, tokenizer = load_trained(model, "cpu")
    ids = [*tokenizer.from_smiles("Oc1ccccc1"), tokenizer.eos_id]
    table = score(model, ["c1ccccc1O", "C1=CC=CC=C1O"]).table
    with torch.no_grad():
        expected = sequence_nll(opened, [ids])[0].item()
    assert table["nats"].to_pylist() == pytest.approx([expected, expected], rel=1e-6)
    assert table["nats_per_heavy_atom"][0].as_py() == pytest.approx(expected / 7, rel=1e-6)
    assert table["SMILES"].to_pylist() == ["Oc1ccccc1"] * 2
    assert table["symbols"].to_pylist() == [len(ids) - 1] * 2


def test_the_spelling_of_the_file_is_scored_where_asked(model):
    table = score(model, ["OCC", "CCO"], as_written=True).table
    assert table["SMILES"].to_pylist() == ["OCC", "CCO"]
    assert abs(table["nats"][0].as_py() - table["nats"][1].as_py()) > 0.1


@pytest.mark.parametrize("batch", [1, 40, 300])
def test_scores_do_not_depend_on_batch_or_order(model, small_windows, batch):
    expected = nats(score(model, MOLECULES).table)
    order = np.random.default_rng(batch).permutation(len(MOLECULES))
    again = nats(score(model, [MOLECULES[i] for i in order], batch=batch).table)
    assert again.keys() == expected.keys()
    for text, value in again.items():
        assert value == pytest.approx(expected[text], rel=ATOL)


@pytest.mark.parametrize("pooling", ["mean", "last", "max"])
def test_vectors_do_not_depend_on_batch_or_order(model, small_windows, pooling):
    expected = embed(model, MOLECULES, pooling=pooling).matrix()
    for batch in (1, 40, 300):
        order = np.random.default_rng(batch).permutation(len(MOLECULES))
        again = embed(model, [MOLECULES[i] for i in order], pooling=pooling, batch=batch).matrix()
        np.testing.assert_allclose(again, expected[order], atol=ATOL, rtol=0)


def test_what_cannot_be_scored_has_a_reason_and_no_number(model):
    found = score(model, ["CCO", *BAD])
    table = found.table
    assert table["nats"].null_count == len(BAD)
    reasons = table["reason"].to_pylist()
    assert reasons[0] is None
    for reason, why in zip(
        reasons[1:], ["unparsable", "empty", "[Si]", "too many symbols", "wildcard"], strict=True
    ):
        assert why in reason
    assert (found.counts.rows, found.counts.done) == (6, 1)
    assert sum(found.counts.reasons.values()) == 5
    assert any("not 1: unparsable (first in row 2" in line for line in found.summary())


def test_a_molecule_longer_than_any_of_the_training_is_not_scored(model):
    table = score(model, ["C" * 63, "C" * 64]).table
    assert table["nats"].is_valid().to_pylist() == [True, False]
    assert "64" in table["reason"][1].as_py()


def test_without_a_readable_molecule_there_is_a_table_of_reasons(model):
    assert score(model, BAD).quantiles == {}
    assert np.isnan(embed(model, BAD).matrix()).all()


def test_a_model_without_stereo_says_that_it_left_it_out(tmp_path):
    run = save_random_model(tmp_path / "model", MOLECULES[:3], stereo=False)
    found = score(run, ["C[C@H](O)CC", "CC(O)CC"])
    values = found.table["nats"].to_pylist()
    assert values[0] == values[1]
    assert found.counts.without_stereo == 1
    assert any("without their stereo" in line for line in found.summary())


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_scores_are_written_with_row_number_and_identifiers(model, tmp_path, suffix):
    source = put(tmp_path, "a.csv", "smiles,id,row\nCCO,007,x\nnot,8,y\n")
    out = tmp_path / f"scores.{suffix}"
    score(model, source, out, keep="all")
    found = list(csv.DictReader(out.open())) if suffix == "csv" else pq.read_table(out).to_pylist()
    assert [str(row["row"]) for row in found] == ["1", "2"]
    assert [(row["id"], row["file_row"]) for row in found] == [("007", "x"), ("8", "y")]
    assert found[1]["nats"] in ("", None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", f"scores.{suffix}"]


def test_vectors_are_the_same_in_every_format(model, tmp_path):
    source = put(tmp_path, "a.smi", "CCO a\nnot b\nCCN c\n")
    for suffix in ("npy", "parquet", "csv"):
        embed(model, source, tmp_path / f"v.{suffix}")
    matrix = np.load(tmp_path / "v.npy")
    assert matrix.dtype == np.float32
    assert np.isnan(matrix).all(1).tolist() == [False, True, False]
    vectors = pq.read_table(tmp_path / "v.parquet")["embedding"].to_pylist()
    assert vectors[1] is None
    np.testing.assert_array_equal(np.float32(vectors[2]), matrix[2])
    lines = list(csv.DictReader((tmp_path / "v.csv").open()))
    assert lines[1]["e0"] == ""
    np.testing.assert_array_equal(np.float32([lines[0][f"e{i}"] for i in range(16)]), matrix[0])
    beside = list(csv.DictReader((tmp_path / "v.rows.csv").open()))
    assert [row["name"] for row in beside] == ["a", "b", "c"]
    assert "unparsable" in beside[1]["reason"]


def test_half_precision_is_written_or_refused_where_it_does_not_hold_a_number(model, tmp_path):
    whole = embed(model, ["CCO"]).matrix()
    half = embed(model, ["CCO"], dtype="float16").matrix()
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.astype(np.float32), whole, rtol=1e-3, atol=1e-4)
    with pytest.raises(OutputError, match="float32 or float16"):
        embed(model, ["CCO"], dtype="int8")


def test_an_interrupted_table_goes_on_where_it_was(model, tmp_path, small_windows, monkeypatch):
    source = put(tmp_path, "a.smi", "".join(f"{text} m{i}\n" for i, text in enumerate([*MOLECULES, *BAD])))
    embed(model, source, tmp_path / "whole.npy")
    batches, computed = [], stream.in_batches

    def stops(*arguments):
        batches.append(len(arguments[1]))
        if len(batches) == 4:
            raise KeyboardInterrupt
        return computed(*arguments)

    monkeypatch.setattr("chemscale.molecules.representation.run.in_batches", stops)
    with pytest.raises(KeyboardInterrupt):
        embed(model, source, tmp_path / "cut.npy")
    assert not (tmp_path / "cut.npy").exists()
    with pytest.raises(ShardError, match="pooling differ"):
        embed(model, source, tmp_path / "cut.npy", pooling="max")
    found = embed(model, source, tmp_path / "cut.npy", batch=40)
    assert found.computed == found.counts.rows - 3 * 8
    np.testing.assert_allclose(np.load(tmp_path / "cut.npy"), np.load(tmp_path / "whole.npy"), atol=ATOL)
    assert (tmp_path / "cut.rows.csv").read_text() == (tmp_path / "whole.rows.csv").read_text()
    assert not (tmp_path / "cut.npy.parts").exists()


def test_another_model_does_not_go_on_with_a_table(model, tmp_path):
    out = tmp_path / "scores.csv"
    source = put(tmp_path, "a.smi", "CCO\nCCN\n")
    stream.RowShards.open(tmp_path / "scores.csv.parts", {"model": "other"})
    with pytest.raises(ShardError, match="another request"):
        score(model, source, out)
    assert json.loads((tmp_path / "scores.csv.parts" / "request.json").read_text()) == {"model": "other"}


@pytest.mark.slow
def test_processes_that_read_molecules_change_nothing(model, small_windows):
    assert score(model, MOLECULES, workers=2).table.equals(score(model, MOLECULES).table)


def test_an_output_is_refused_before_anything_is_read(model, tmp_path):
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        score(model, tmp_path / "no_such_file.csv", tmp_path / "there.csv")
    with pytest.raises(OutputError, match=r"\.csv, \.parquet"):
        score(model, "x", tmp_path / "a.xlsx")
    (tmp_path / "a.rows.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.rows\.csv exists"):
        embed(model, "x", tmp_path / "a.npy")
    with pytest.raises(OutputError, match="no molecule"):
        score(model, [])
