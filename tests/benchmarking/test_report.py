"""The table, the sentences and the JSON of what was timed."""

import pytest
from rich.console import Console

from chemscale.benchmarking.report import best_against_best, contents, sentences, table_of
from chemscale.benchmarking.rounds import Timing, Turn
from chemscale.benchmarking.session import Outcome
from chemscale.benchmarking.works import WORKS

CEILINGS = {"product": 1e9, "copy": 4e9}


def timing(rate, peak=100.0, **facts):
    turns = [Turn(2.0, 4, 2.0 * rate * share) for share in (0.9, 1.0, 1.1)]
    return Timing(facts, turns, {"peak_mib": peak, "step_mib": peak / 2})


def outcome(**failed):
    return Outcome(
        WORKS["painn"],
        {
            "chemscale, eager": timing(40.0, flops=5e6, bytes=1e7),
            "chemscale, compiled": timing(60.0, 80.0),
            "schnetpack": timing(20.0, 160.0, version="2.2.0"),
        },
        failed,
    )


def test_shares_of_the_ceilings_follow_from_what_a_unit_takes():
    first, second, _ = contents(outcome(), CEILINGS)["rows"]
    assert first["percent_of_product"] == pytest.approx(20.0)  # 40/s of 5e6 FLOPs below 1e9
    assert first["percent_of_copy"] == pytest.approx(10.0)
    assert "percent_of_product" not in second
    assert second["first_is_faster"]["median"] == pytest.approx(2 / 3)


def test_our_best_stands_beside_the_best_of_the_others():
    (best,) = best_against_best(outcome())
    assert (best["ours"], best["other"]) == ("chemscale, compiled", "schnetpack")
    assert best["ratio"]["median"] == pytest.approx(3.0)
    assert sentences([contents(outcome(), CEILINGS)]) == [
        "painn: chemscale, compiled is 3.00× (3.00 to 3.00) schnetpack; peak memory 80 against 160 MiB"
    ]


def test_another_revision_is_compared_apart_from_other_codes():
    rates = {"chemscale, eager": 3.0, "chemscale 1234abcd": 2.0, "mace, eager": 1.0, "mace, compiled": 1.5}
    found = best_against_best(Outcome(WORKS["mace"], {name: timing(rate) for name, rate in rates.items()}))
    medians = {pair["other"]: pair["ratio"]["median"] for pair in found}
    assert medians == {"chemscale 1234abcd": pytest.approx(1.5), "mace, compiled": pytest.approx(2.0)}


def test_who_failed_is_said():
    result = contents(outcome(mace="ended with status 1: out of luck"), CEILINGS)
    assert sentences([result])[-1] == "painn: mace FAILED, ended with status 1: out of luck"


def test_a_work_that_nobody_did_has_no_rows():
    result = contents(Outcome(WORKS["painn"], {}, {"chemscale, eager": "gone"}), CEILINGS)
    assert (result["rows"], result["best"]) == ([], [])
    table_of([result])


def test_the_table_has_a_row_each():
    console = Console(width=170)
    with console.capture() as captured:
        console.print(table_of([contents(outcome(), CEILINGS)]))
    text = captured.get()
    assert "schnetpack 2.2.0" in text
    assert "2.00 (2.00 to 2.00)" in text
    assert "500.0 ms" in text
