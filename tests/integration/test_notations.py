"""One model a notation, trained, then used by every verb as one of SELFIES is."""

import json
import math

import pytest

from chemscale.molecules.likelihood import sequence_nll
from chemscale.molecules.loading import load_trained
from chemscale.molecules.representation.run import embed, score
from chemscale.points.estimates.tables import describe_notations
from chemscale.points.language import LanguagePoint
from chemscale.records import RunRecord
from tests.helpers.points import point_in
from tests.helpers.preloaded import python
from tests.helpers.runs import SMALL, finish, start

NOTATIONS = ("selfies", "smiles", "deepsmiles", "safe")


def test_a_point_says_its_notation_and_that_of_selfies_stays_the_same(smiles, tmp_path):
    rows = tmp_path / "rows.smi"
    rows.write_text("\n".join(smiles[:60]))
    plain = point_in(tmp_path, rows)
    stated = point_in(tmp_path, rows, "data.notation=selfies")
    other = point_in(tmp_path, rows, "data.notation=smiles")
    assert isinstance(other, LanguagePoint)
    assert stated.identity == plain.identity != other.identity
    assert (plain.name, other.name) == ("chemgpt-w8-l1", "chemgpt-smiles-w8-l1")
    assert "tokens in the vocabulary of SMILES." in other.describe_data()
    given = point_in(tmp_path, rows, f"data.tokenizer={other.corpus.path}")
    assert given.config["data"]["notation"] == "smiles"  # laws tell families by it
    assert describe_notations([plain, other]) == []


def test_a_plan_says_that_notations_do_not_hold_the_same_molecules(smiles, tmp_path):
    rows = tmp_path / "rows.smi"
    rows.write_text("\n".join([*smiles[:100], "FI(F)(F)(F)F"]))
    points = [point_in(tmp_path, rows, f"data.notation={n}") for n in ("selfies", "smiles")]
    (line,) = describe_notations(points)
    assert "(selfies 100, smiles 101)" in line
    assert "data.common_to=[selfies,smiles]" in line
    both = [
        point_in(tmp_path, rows, f"data.notation={n}", "data.common_to=[smiles,selfies]")
        for n in ("selfies", "smiles")
    ]
    assert describe_notations(both) == []


@pytest.fixture(scope="module")
def sweep(smiles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("notations")
    (folder / "rows.smi").write_text("\n".join(smiles[:120]))
    small = [word for word in SMALL if not word.startswith("+sweep")]
    words = ["model.width=8", "model.layers=1", "data=smiles", "data.path=rows.smi", "data.molecules=100"]
    command = [python(), "-m", "chemscale.train", "+sweep=notations", *small, *words]
    return folder, finish(start(folder, command))


@pytest.mark.slow
def test_a_sweep_over_notations_trains_a_family_each_and_fits_them_side_by_side(sweep):
    folder, said = sweep
    records = [RunRecord.load(path) for path in (folder / "runs" / "notations").glob("*/record.json")]
    assert sorted(r.config["data"]["notation"] for r in records) == sorted(NOTATIONS)
    assert {r.data.unique_molecules for r in records} == {100}
    law = json.loads((folder / "runs" / "notations" / "law" / "law.json").read_text())
    assert law["unit"] == "nats_per_heavy_atom"
    assert set(law["rungs"]) == {f"chemgpt {notation}" for notation in NOTATIONS}
    assert "Every notation has 100 training molecules" in said


@pytest.mark.slow
@pytest.mark.parametrize("notation", NOTATIONS)
def test_every_verb_takes_a_model_of_every_notation(sweep, notation, monkeypatch):
    folder, _ = sweep
    monkeypatch.chdir(folder)
    (found,) = [
        path.parent
        for path in (folder / "runs" / "notations").glob("*/record.json")
        if RunRecord.load(path).config["data"]["notation"] == notation
    ]
    model, tokenizer = load_trained(found, "cpu")
    assert tokenizer.representation.notation == notation
    ids = [*tokenizer.from_smiles("CC(=O)Nc1ccccc1"), tokenizer.eos_id]
    assert math.isfinite(sequence_nll(model, [ids]).item())
    auto = pytest.importorskip("transformers", reason="transformers is an optional dependency")
    theirs = auto.AutoTokenizer.from_pretrained(found / "model")
    assert theirs(tokenizer.decode(ids))["input_ids"] == [tokenizer.bos_id, *ids]
    scored = score(found, "rows.smi", out=folder / f"{notation}.csv", workers=1)
    embedded = embed(found, "rows.smi", out=folder / f"{notation}.npy", workers=1)
    assert scored.counts.done == embedded.counts.done == 120
    drawn = f"{notation}-drawn.csv"
    finish(start(folder, [python(), "-m", "chemscale.generate", str(found), "--n", "20", "--out", drawn]))
    assert len((folder / drawn).read_text().splitlines()) == 21
