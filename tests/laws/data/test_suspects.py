"""Rows that look like mistakes are named before their law is believed."""

from pathlib import Path

import pytest

from chemscale.laws.data.points import LawPoint, LawPoints, PointsError
from chemscale.laws.data.suspects import check_compute, notes_on

NS = (1e6, 2e6, 4e6, 8e6)


def table(factors: list[float], labels: str = "") -> LawPoints:
    points = [
        LawPoint(f"r{k}", {"parameters": n, "tokens": 1e8, "flops": 6e8 * n * f}, {"loss": 3.0}, row=k + 2)
        for k, (n, f) in enumerate(zip(NS, factors, strict=True))
    ]
    return LawPoints(tuple(points), "t.csv")


def test_a_row_whose_compute_is_off_from_the_others_is_refused_by_name():
    with pytest.raises(
        PointsError, match=r"t\.csv, row 4 \(r2\): C = 4.8e\+17 is 2e\+02 times 6ND, and the others"
    ):
        check_compute(Path("t.csv"), table([1, 1.2, 200, 1]))
    assert not check_compute(Path("t.csv"), table([1, 6, 3, 0.5]))


def test_a_column_of_compute_in_another_unit_is_refused_and_a_doubtful_one_noted():
    with pytest.raises(
        PointsError, match=r"C is 1e-12 times 6ND \(row 2: C = 600, 6ND = 6e\+14\), and so in all"
    ):
        check_compute(Path("t.csv"), table([1e-12] * 4))
    assert "make sure that C is in FLOPs" in check_compute(Path("t.csv"), table([100.0] * 4))[0]


def test_names_at_several_rows_and_losses_that_agree_to_the_last_digit_are_noted():
    sizes = [{"parameters": n, "tokens": d} for n in NS for d in (1e8, 2e8)]
    points = [
        LawPoint(f"run{s['parameters']:g}", s, {"loss": 3.123456}, row=k + 2) for k, s in enumerate(sizes)
    ]
    said = notes_on(LawPoints((*points, LawPoint("again", sizes[0], {"loss": 3.123456}, row=99)), ""), "loss")
    assert "4 names stand at several rows (run1e+06: rows 2, 3)" in said[0]
    assert "group=NAME" in said[0]
    assert "1 row has the sizes and the loss of another to the last digit (row 99 (again) as row 2" in said[1]


def test_sizes_in_millions_are_noted():
    points = [
        LawPoint(f"row {n}", {"parameters": n, "tokens": 1e9}, {"loss": 3 / n}, row=n) for n in (1, 2, 4)
    ]
    assert notes_on(LawPoints(tuple(points), ""), "loss")[0].startswith(
        "N is at most 4: if that is in millions"
    )
