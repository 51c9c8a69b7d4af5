"""A probe learns what the features hold, says how sure it is, and goes on where it was interrupted."""

import csv
import json
import math

import numpy as np
import pytest

from chemscale.probing import run as probing
from chemscale.probing.data import ProbeError
from chemscale.probing.fine_tuning import FineTuning
from chemscale.probing.results import ProbeResult
from tests.helpers.molecule_files import put
from tests.probing.conftest import MOLECULES

pytest.importorskip("sklearn", reason="scikit-learn is an optional dependency")
QUICK = FineTuning(epochs=2, patience=2, rate=1e-2)


@pytest.fixture(scope="module")
def regression(model, table, tmp_path_factory):
    out = tmp_path_factory.mktemp("regression")
    return out, probing.probe(model, table, tasks=["heavy"], split="random", seeds=3, bootstrap=100, out=out)


def test_the_embedding_holds_the_size_of_a_molecule_and_intervals_hold_the_value(regression):
    outcome = regression[1].of("embedding")
    heavy = [len(text) for text in MOLECULES]
    assert outcome.measure == "RMSE"
    assert outcome.value < 0.7 * np.std(heavy)
    low, high = outcome.over_molecules
    assert low < outcome.value < high
    assert len(outcome.seeds) == 3
    assert outcome.over_seeds[0] < outcome.value < outcome.over_seeds[1]


def test_the_difference_to_the_fingerprint_is_told_on_the_same_molecules(regression):
    result = regression[1]
    value, interval = result.of("embedding").minus_morgan
    assert value == pytest.approx(result.of("embedding").value - result.of("morgan").value)
    assert interval[0] < value < interval[1]
    assert result.of("morgan").minus_morgan is None


def test_the_result_is_kept_with_its_split(regression):
    out, result = regression
    again = ProbeResult.load(out / "probe-made-random.json")
    assert again.lines() == result.lines()
    assert any(split["id"] in " ".join(result.lines()) for split in result.splits)
    rows = list(csv.DictReader((out / "probe-made-random.split.csv").open()))
    assert len(rows) == len(MOLECULES)
    assert {row["seed_2"] for row in rows} == {"train", "validation", "test"}
    assert sorted(path.name for path in out.iterdir()) == [
        "probe-made-random.json",
        "probe-made-random.split.csv",
    ]


def test_the_split_of_one_probe_can_be_given_to_another(regression, model, table, tmp_path):
    out, result = regression
    index = str(out / "probe-made-random.split.csv")
    other = probing.probe(
        model, table, tasks=["heavy"], split=index, seeds=3, pooling="max", bootstrap=50, out=tmp_path
    )
    assert [split["id"] for split in other.splits] == [split["id"] for split in result.splits]
    assert other.of("morgan").seeds == result.of("morgan").seeds
    assert other.of("embedding").seeds != result.of("embedding").seeds


def test_a_finished_probe_is_given_back_and_another_one_of_its_name_is_refused(
    regression, model, table, monkeypatch
):
    out, result = regression
    options = {"tasks": ["heavy"], "split": "random", "seeds": 3, "out": out}
    monkeypatch.setattr(probing, "_predict", None)
    assert probing.probe(model, table, bootstrap=100, **options).outcomes == result.outcomes
    with pytest.raises(ProbeError, match=r"bootstrap, pooling differ.*--name"):
        probing.probe(model, table, bootstrap=99, pooling="last", **options)


def test_several_tasks_with_missing_labels_are_classes(model, table, tmp_path):
    result = probing.probe(
        model, table, tasks=["ring", "nitrogen"], split="random", seeds=1, bootstrap=100, out=tmp_path
    )
    outcome = result.of("embedding")
    assert outcome.measure == "ROC-AUC"
    assert outcome.value == pytest.approx(np.mean(list(outcome.tasks.values())))
    assert outcome.tasks["ring"] > 0.8
    assert result.of("morgan").tasks["nitrogen"] > 0.8
    assert outcome.over_seeds is None


def test_a_measure_that_is_not_defined_is_said_and_is_not_zero(model, tmp_path):
    """The scaffold split puts all chains into one part: rings are of one class in the others."""
    lines = [f"{'C' * n}O,1" for n in range(1, 41)] + [f"{'C' * n}C1CCCCC1,0" for n in range(1, 5)]
    lines += [f"{'C' * n}c1ccccc1,0" for n in range(1, 5)]
    path = put(tmp_path, "rings.csv", "\n".join(["smiles,chain", *lines]))
    index = put(
        tmp_path,
        "index.csv",
        "row,part\n"
        + "".join(f"{i},{'test' if i < 10 else 'validation' if i < 15 else 'train'}\n" for i in range(1, 49)),
    )
    result = probing.probe(model, path, split=str(index), bootstrap=50, out=tmp_path)
    assert math.isnan(result.of("embedding").value)
    assert "not defined" in "".join(result.lines())
    raw = json.loads((tmp_path / "probe-rings-index.json").read_text())
    assert raw["outcomes"][0]["value"] is None
    assert ProbeResult.load(tmp_path / "probe-rings-index.json").lines() == result.lines()


def test_fine_tuning_is_kept_seed_by_seed_and_goes_on(model, table, tmp_path, monkeypatch):
    options = {"tasks": ["heavy"], "split": "random", "seeds": 2, "bootstrap": 50, "fine_tune": QUICK}
    whole = probing.probe(model, table, out=tmp_path / "whole", **options)
    trained, tuned = [], probing.fine_tune

    def stops(*arguments, seed, **more):
        if seed == 1 and trained == [0]:
            raise KeyboardInterrupt
        trained.append(seed)
        return tuned(*arguments, seed=seed, **more)

    monkeypatch.setattr(probing, "fine_tune", stops)
    with pytest.raises(KeyboardInterrupt):
        probing.probe(model, table, out=tmp_path / "cut", **options)
    trained[:] = [None]
    with pytest.raises(ProbeError, match=r"unfinished.*bootstrap differ"):
        probing.probe(model, table, out=tmp_path / "cut", **{**options, "bootstrap": 60})
    cut = probing.probe(model, table, out=tmp_path / "cut", **options)
    assert trained == [None, 1]
    assert cut.outcomes == whole.outcomes
    assert cut.fits["fine-tuned"][0]["epochs"] == 2


def test_the_result_stands_beside_the_record_of_a_run(model, table, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(model, run / "model")
    (run / "record.json").write_text("{}")
    for given in (run, run / "model"):
        probing.probe(given, table, tasks=["heavy"], bootstrap=20, split="random", seeds=1)
    assert (run / "probe-made-random.json").exists()
    assert not list((run / "model").glob("probe*"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"pooling": "cls"}, "mean, last, max"),
        ({"seeds": 0}, "at least 1"),
        ({"bootstrap": 2}, "at least 20"),
        ({"split": "none.csv"}, "index file"),
    ],
)
def test_an_option_that_there_is_not_is_refused(model, table, tmp_path, options, why):
    with pytest.raises(ValueError, match=why):
        probing.probe(model, table, tasks=["heavy"], out=tmp_path, **options)
    assert not list(tmp_path.iterdir())
