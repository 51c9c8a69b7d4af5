"""The verb on anyone's table: what is read, what is asked for, and what is refused before it is misread."""

import json
import re

import pytest

from chemscale.laws import PointsError, read_csv
from tests.helpers.fit_command import SIZES, invoke, reason, write_csv
from tests.helpers.paths import real_data


def test_a_csv_of_anyone_is_fitted_from_the_command_line(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("params,val\n" + "\n".join(f"{n},{4 * n**-0.1}" for n in (1e3, 1e4, 1e5, 1e6)))
    result = invoke(path, "--columns", "N=params,loss=val", "--bootstrap", 100)
    assert result.exit_code == 0, result.output
    assert "β = 0.1 [" in result.output
    assert (tmp_path / "mine-law" / "report.html").exists()


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("n,l\n1,2\n", {"N": "size", "loss": "l"}, "no column 'size'; there are n, l"),
        (
            "n,l\n1,2\n3,x\n4,\n",
            {"N": "n", "loss": "l"},
            "2 no number in l (rows 3, 4); row 3: no number in l ('x')",
        ),
        ("n,l\n1,-2\n", {"N": "n", "loss": "l"}, "row 2: not above 0 in l (-2)"),
        ("n,l\n", {"N": "n", "loss": "l"}, "no row"),
        ("n,l\n1,2\n", {"loss": "l"}, "--columns needs"),
    ],
)
def test_a_bad_csv_names_row_and_column(tmp_path, text, columns, words):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(PointsError, match=re.escape(words)):
        read_csv(path, columns)


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("n,l,s\n1,2,nan\n", "N=n,loss=l,seed=s", "row 2, column s: nan is not a seed"),
        ("n,l,s\n1,2,1\n2,2,1.5\n", "N=n,loss=l,seed=s", "row 3, column s: 1.5 is not a seed"),
        ("n,l\n1e300,2\n", "N=n,loss=l", "row 2: not within 1e-30 to 1e+60 in n (1e+300)"),
        ("n,l,l\n1,2,3\n", "N=n,loss=l", "2 columns are called 'l'"),
        ("n,l\n1,2\n", "N=n,loss=l,loss=n", "gives loss twice"),
        ("n,l\n1,2\n", "N=n,loss=l,l", "no column 'l,l'; there are n, l"),
        ("n,l\n1,2\n", "l,N=n", "'l' is not ROLE=NAME"),
        ("n,l\0\n1,2\n", "N=n,loss=l", "not a CSV file"),
        ("Name,State,n,l,s\na,finished,1,2,0.5\n", "N=n,loss=l,seed=s", "row 2, column s: 0.5 is not a seed"),
    ],
)
def test_a_file_that_would_be_misread_is_refused(tmp_path, text, columns, words):
    (tmp_path / "x.csv").write_text(text)
    assert words in reason(invoke(tmp_path / "x.csv", "--columns", columns))


def test_a_column_that_stands_twice_and_is_not_used_does_no_harm(tmp_path):
    path = write_csv(tmp_path / "c.csv", "n,l,x,x", [(n, 4 * n**-0.1, 0, 1) for n in SIZES])
    assert invoke(path, "--columns", "N=n,loss=l", "--bootstrap", 100).exit_code == 0


def test_compute_of_a_csv_is_assumed_only_where_it_is_asked_for_and_noted(tmp_path):
    path = write_csv(tmp_path / "c.csv", "n,d,l", [(n, 20 * n, 4 * n**-0.1) for n in SIZES])
    columns = ("--columns", "N=n,D=d,loss=l", "--axis", "flops", "--bootstrap", 100)
    assert "these points have parameters, tokens" in reason(invoke(path, *columns))
    result = invoke(path, *columns, "--flops-model", "6nd")
    assert result.exit_code == 0, result.output
    assert "β = 0.05 [" in result.output
    assert "C = 6ND is assumed" in result.output
    law = json.loads((tmp_path / "c-law" / "law.json").read_text())
    assert law["data"]["points"][0]["flops"] == 6 * 1e3 * 20e3
    assert "7nd" in reason(invoke(path, *columns, "--flops-model", "7nd"))


def test_runs_of_the_highest_loss_are_left_out_in_a_stated_way(tmp_path):
    rows = [(n, 4 * n**-0.1) for n in SIZES] + [(500, 9.0)]
    path = write_csv(tmp_path / "o.csv", "n,l", rows)
    result = invoke(path, "--columns", "N=n,loss=l", "--exclude-highest", 1, "--bootstrap", 100)
    assert "β = 0.1 [" in result.output
    assert "The run of the highest loss is left out (--exclude-highest 1)." in result.output
    law = json.loads((tmp_path / "o-law" / "law.json").read_text())
    assert [p["reason"] for p in law["data"]["points"] if not p["used"]] == ["the highest loss"]
    assert "only 5 runs" in reason(invoke(path, "--columns", "N=n,loss=l", "--exclude-highest", 5))


def test_forms_are_listed_with_what_they_assume_and_wrong_ones_are_refused(tmp_path):
    listing = invoke("--forms")
    assert listing.exit_code == 0
    for name in ("power", "offset", "broken1", "broken2", "additive", "repeats", "tied", "kaplan", "auto"):
        assert re.search(rf"^  {name} ", listing.output, re.M), name
    assert "Muennighoff" in listing.output
    path = write_csv(tmp_path / "c.csv", "n,l", [(n, 4 * n**-0.1) for n in SIZES])
    columns = ("--columns", "N=n,loss=l")
    assert "--form cubic: there are auto, power" in reason(invoke(path, *columns, "--form", "cubic"))
    assert "not a mixture" in reason(invoke(path, *columns, "--form", "power,additive"))
    assert "tokens is needed" in reason(invoke(path, *columns, "--form", "additive"))
    assert "leave --axis out" in reason(invoke(path, *columns, "--form", "additive", "--axis", "flops"))


def test_a_form_that_is_asked_for_is_the_only_one(tmp_path):
    path = write_csv(tmp_path / "c.csv", "n,l", [(10**k, 1 + 4 * 10 ** (-0.3 * k)) for k in range(3, 9)])
    result = invoke(path, "--columns", "N=n,loss=l", "--form", "offset", "--bootstrap", 100)
    assert result.exit_code == 0, result.output
    law = json.loads((tmp_path / "c-law" / "law.json").read_text())
    assert [fit["form"] for fit in law["fits"]] == ["offset"]
    assert law["parameters"]["floor"] == pytest.approx(1, rel=1e-4)


def test_real_runs_are_fitted(tmp_path):
    source = real_data("scaling/epoch_chinchilla_svg_extracted_data.csv")
    result = invoke(
        source, "--columns", "N=Model Size,loss=loss", "--out", tmp_path, "--bootstrap", 100,
        "--form", "power,offset",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "law.json").read_text())["intervals"]["beta"][0] > 0


@pytest.mark.slow
def test_real_runs_of_sizes_and_data_give_the_published_joint_law(tmp_path):
    source = real_data("scaling/epoch_chinchilla_svg_extracted_data.csv")
    result = invoke(
        source, "--columns", "N=Model Size,C=Training FLOP,loss=loss", "--flops-model", "6nd",
        "--exclude-highest", 5, "--out", tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    law = json.loads((tmp_path / "law.json").read_text())
    assert law["objective"] <= 0.0010182740265
    assert law["parameters"]["alpha"] == pytest.approx(0.34731, rel=1e-3)
    assert law["intervals"]["beta"] == pytest.approx([0.332, 0.415], abs=0.01)
    assert {a["approach"][0] for a in law["allocation"]} == {"2", "3"}
