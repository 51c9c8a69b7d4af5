"""Rows of (run, step, loss) are runs at their last row, and curves for Approach 1."""

from pathlib import Path

import numpy as np
import pytest

from chemscale.analysis.fit import fit_csv
from chemscale.laws.data.columns import parse_columns
from chemscale.laws.data.learning_curves import curves_of
from chemscale.laws.data.points import PointsError
from chemscale.laws.data.reading import read_table

COLUMNS = "N=n,D=d,loss=l,run=run,step=step"


def write(path: Path, sizes: np.ndarray, steps: int = 40) -> Path:
    rows = [
        (f"r{k}", step, n, 1e4 * step, 1.5 + 400 / n**0.35 + 300 / (1e4 * step) ** 0.35)
        for k, n in enumerate(sizes)
        for step in (np.geomspace(10, 3000, steps)).astype(int)
    ]
    random = np.random.default_rng(0)
    random.shuffle(rows)
    path.write_text("run,step,n,d,l\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def test_the_last_row_of_each_run_is_its_point_in_whatever_order_rows_stand(tmp_path):
    path = write(tmp_path / "c.csv", np.array([1e4, 1e5]))
    found = curves_of(read_table(path, parse_columns(COLUMNS)), parse_columns(COLUMNS))
    assert {p.label: p.sizes["tokens"] for p in found.points.points} == {"r0": 3e7, "r1": 3e7}
    assert [len(curve.d) for curve in found.curves] == [40, 40]
    assert found.curves[0].flops[-1] == 6 * found.curves[0].n * 3e7
    assert "80 rows of 2 learning curves" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("run,step,n,d,l\na,1,1e6,1e6,3\na,1,1e6,2e6,2\n", COLUMNS, "row 3: step 1 of a stands twice"),
        ("run,step,n,d,l\na,,1e6,1e6,3\n", COLUMNS, "row 2: its run or its step is missing"),
        ("run,step,n,l\na,1,1e6,3\na,2,1e6,2\n", "N=n,loss=l,run=run,step=step", "give them by --columns"),
        ("run,step,n,l\na,1,1e6,3\n", "N=n,loss=l,run=run", "run= and step= go together"),
    ],
)
def test_a_table_of_curves_that_has_no_axis_or_no_order_is_refused(tmp_path, text, columns, words):
    path = tmp_path / "c.csv"
    path.write_text(text)
    roles = parse_columns(columns)
    with pytest.raises(PointsError) as refused:
        curves_of(read_table(path, roles), roles)
    assert words in str(refused.value)


def test_curves_of_one_horizon_give_approach_1_beside_the_law_of_one_axis(tmp_path):
    path = write(tmp_path / "c.csv", np.geomspace(1e4, 1e7, 16))
    outcome = fit_csv(path, COLUMNS, bootstrap=100)
    assert outcome.law["axis"] == "parameters"
    assert any(line.startswith("Approach 1 (envelope), C = 6ND: N* ∝ C^a, a = 0.") for line in outcome.lines)
    few = write(tmp_path / "few.csv", np.geomspace(1e4, 1e7, 4))
    assert any(
        "Approach 1 is not fitted: 4 sizes" in line for line in fit_csv(few, COLUMNS, bootstrap=100).lines
    )


@pytest.mark.slow
def test_curves_of_runs_at_several_horizons_feed_approach_1(tmp_path):
    path = write(tmp_path / "c.csv", np.geomspace(1e4, 1e7, 16))
    head, *rows = path.read_text().splitlines()
    last = {0: 3000.0, 1: 2000.0, 2: 1000.0}
    kept = [row for row in rows if float(row.split(",")[1]) <= last[int(row.split(",")[0][1:]) % 3]]
    path.write_text("\n".join([head, *kept]))
    outcome = fit_csv(path, COLUMNS, bootstrap=100)
    assert outcome.law["kind"] == "surface", outcome.lines
    assert any(each["approach"].startswith("1") for each in outcome.law["allocation"]), outcome.lines[-6:]
