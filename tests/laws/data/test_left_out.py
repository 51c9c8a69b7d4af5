"""What is left out is said in one set of words, with rows and runs that a person finds."""

from chemscale.laws.data import left_out
from chemscale.laws.data.left_out import LeftOut, named, sentence, summary


def test_runs_are_counted_by_reason_whatever_detail_each_has():
    left = [
        LeftOut("row 5", left_out.no_number("val_loss", "")),
        LeftOut("row 17", left_out.no_number("val_loss", "n/a (lost)")),
        LeftOut("row 9", left_out.in_state("crashed")),
    ]
    assert (
        sentence(left, 42)
        == "left out: 3 of 42: 2 no number in val_loss (rows 5, 17); 1 state crashed (row 9)"
    )
    assert summary(left, 42)["reasons"] == {
        "no number in val_loss": ["row 5", "row 17"],
        "state crashed": ["row 9"],
    }
    assert sentence([], 42) == ""


def test_many_rows_are_named_in_spans_and_many_runs_are_counted():
    assert named(f"row {n}" for n in (2, 3, 7, 8, 9, 10)) == "rows 2, 3, 7 to 10"
    assert named([f"row {2 * n}" for n in range(12)], 3) == "rows 0, 2, 4 and 9 more"
    assert named(["a", "b", "c"], 2) == "a, b and 1 more"
