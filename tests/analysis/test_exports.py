"""The verb on exports of W&B: CSV of its table, JSON of its interface."""

import json

import pytest

from tests.helpers.fit_command import SIZES, invoke, reason

WANDB = """"Name","State","Created","model.width","N","validation/nats_per_token"
"a","finished","2026","16","1000","{}"
"b","finished","2026","32","10000","{}"
"c","crashed","2026","48","50000",""
"d","finished","2026","64","100000","{}"
"e","finished","2026","96","400000",""
"f","finished","2026","128","1000000","{}"
""".format(*(4 * n**-0.1 for n in SIZES))


def test_a_table_exported_from_wandb_leaves_crashed_and_empty_runs_out_with_the_reason(tmp_path):
    path = tmp_path / "wandb.csv"
    path.write_text(WANDB)
    result = invoke(path, "--columns", "N=N,loss=validation/nats_per_token", "--bootstrap", 100)
    assert result.exit_code == 0, result.output
    assert "β = 0.1 [" in result.output
    law = json.loads((tmp_path / "wandb-law" / "law.json").read_text())
    reasons = {p["label"]: p["reason"] for p in law["data"]["points"] if not p["used"]}
    assert reasons == {
        "c": "state crashed",
        "e": "no number in validation/nats_per_token (blank)",
    }
    page = (tmp_path / "wandb-law" / "report.html").read_text()
    said = "eft out: 2 of 6: 1 state crashed (row 4); 1 no number in validation/nats_per_token (row 6)"
    assert f"l{said}" in result.output
    assert f"L{said}" in page
    assert law["data"]["left_out"]["reasons"]["state crashed"] == ["row 4"]


@pytest.mark.parametrize("lines", [False, True], ids=["list", "lines"])
def test_runs_exported_from_wandb_as_json_are_read_by_dotted_keys(tmp_path, lines):
    runs = [
        {
            "name": f"run-{n:g}",
            "state": "finished",
            "config": {"model": {"value": {"parameters": n}}, "seed": {"value": k}, "_wandb": {"value": {}}},
            "summary": {"validation": {"nats_per_token": 4 * n**-0.1}, "loss": "NaN"},
        }
        for k, n in enumerate(SIZES)
    ]
    runs.append({"name": "killed", "state": "killed", "config": {}, "summary": json.dumps({"loss": 1})})
    path = tmp_path / ("runs.jsonl" if lines else "runs.json")
    path.write_text("\n".join(map(json.dumps, runs)) if lines else json.dumps(runs))
    columns = "N=model.parameters,loss=summary.validation.nats_per_token,seed=seed"
    result = invoke(path, "--columns", columns, "--bootstrap", 100)
    assert result.exit_code == 0, result.output
    assert "β = 0.1 [" in result.output
    points = json.loads((tmp_path / "runs-law" / "law.json").read_text())["data"]["points"]
    assert [p["seed"] for p in points] == [0, 1, 2, 3, 0]
    assert points[-1]["reason"] == "state killed"
    assert "no column 'model.size'; there are" in reason(invoke(path, "--columns", "N=model.size,loss=loss"))
    assert "none of its 5 runs" in reason(invoke(path, "--columns", "N=model.parameters,loss=summary.loss"))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "not JSON"),
        ("b.json", "[]", "no run in it"),
        ("c.json", '[{"name": "x", "config": {}}]', "run 1: a run is an object with"),
        ("f.json", '[{"name": "x"}]', "no column 'n'; there are name"),
        ("g.json", "[3]", "run 1: a run is an object of names and values, not 3"),
        ("h.json", '{"n": [1, 2], "l": [3]}', "of different length: n has 2, l has 1"),
        ("d.jsonl", '{"config": 3, "summary": {}}', "its config is not an object"),
        ("e.csv", "Name,State\nx,finished\n", "no column 'n'; there are Name, State"),
    ],
)
def test_an_export_that_cannot_be_read_is_refused_with_the_reason(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    assert words in reason(invoke(tmp_path / name, "--columns", "N=n,loss=l"))
