"""What the command says of a table: which runs are fitted, which not and why, and where no law is."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from chemscale.analysis.fit import fit_csv
from chemscale.fit import app
from chemscale.laws.data.configurations import same_configuration
from chemscale.laws.data.points import LawPoint
from chemscale.laws.reports.page import OutputError, refuse_unwritable

NS = np.geomspace(1e6, 6.4e7, 7)
DS = np.geomspace(2e7, 6.4e8, 6)


def invoke(*arguments: object):
    return CliRunner().invoke(app, [*map(str, arguments), "--bootstrap", "100"])


def law_of(n, d):
    return 1.7 + 400 / n**0.34 + 400 / d**0.28


def grid(path: Path, noise: float = 0.004, seeds: int = 1, **odd: dict) -> Path:
    """A table of N × D; `odd` maps ``row5`` to cells that differ there."""
    random = np.random.default_rng(0)
    rows = []
    for n in NS:
        for d in DS:
            for _ in range(seeds):
                loss = law_of(n, d) * np.exp(noise * random.standard_normal())
                rows.append({"n": f"{n:.0f}", "d": f"{d:.0f}", "l": repr(float(loss))})
    for name, cells in odd.items():
        rows[int(name[3:]) - 2] |= cells
    path.write_text("n,d,l\n" + "".join(",".join(row.values()) + "\n" for row in rows))
    return path


GRID = ("--columns", "N=n,D=d,loss=l")


@pytest.mark.parametrize("columns", ["N=n,D=d,loss=l", "N=n,loss=l"])
def test_two_horizons_give_no_law_a_status_and_the_way_out(tmp_path, columns):
    path = tmp_path / "t.csv"
    rows = "".join(f"{n},{d},{law_of(n, d)}\n" for n in NS for d in (2e8, 4e9))
    path.write_text(f"n,d,l\n{rows}".replace("n,d,l", "n,tokens,l"))
    result = invoke(path, "--columns", columns.replace("D=d", "D=tokens"))
    assert result.exit_code == 1, result.output
    assert "not seeds of one size" in result.output
    assert "No law" in result.output
    assert json.loads((tmp_path / "t-law" / "law.json").read_text())["parameters"] is None


def test_unmarked_seeds_are_no_other_axis(tmp_path):
    random = np.random.default_rng(1)
    rows = [(n, seed, 2 + 300 * n**-0.4 + 0.01 * random.standard_normal()) for n in NS for seed in range(3)]
    path = tmp_path / "t.csv"
    path.write_text("n,data_seed,l\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    assert invoke(path, "--columns", "N=n,loss=l").exit_code == 0


def test_a_folder_that_cannot_be_written_is_told_before_the_table_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        result = invoke(tmp_path / "absent.csv", *GRID, "--out", out)
        assert not isinstance(result.exception, OutputError)  # no table: that comes first
        result = invoke(grid(tmp_path / "t.csv"), *GRID, "--out", out)
        assert isinstance(result.exception, OutputError)
        assert "Name another by --out" in str(result.exception)
    with pytest.raises(OutputError, match=r"nothing can be written in /proc"):
        refuse_unwritable(Path("/proc/law"))
    refuse_unwritable(tmp_path / "new" / "law")
    assert not (tmp_path / "new").exists()


def test_one_diverged_run_of_one_axis_is_named_with_the_law_without_it(tmp_path):
    path = tmp_path / "t.csv"
    losses = [0.9 + 30 * n**-0.3 * (1 + 0.002 * (-1) ** k) for k, n in enumerate(NS)]
    losses[3] = 9.7
    path.write_text("n,l\n" + "".join(f"{n},{loss}\n" for n, loss in zip(NS, losses, strict=True)))
    result = invoke(path, "--columns", "N=n,loss=l")
    assert "CHECK row 5: its loss is +" in result.output
    assert "--exclude-highest 1 leaves it out" in result.output
    path.write_text(path.read_text().replace("9.7\n", "1.164\n"))
    assert "CHECK" not in invoke(path, "--columns", "N=n,loss=l").output


def test_smooth_curves_that_no_form_has_name_no_run(tmp_path):
    for bend in (0.0, 0.01, 0.03):
        x = np.log(NS / NS[0])
        path = tmp_path / "t.csv"
        loss = np.exp(1 - 0.1 * x - bend * x**2 / 10)
        path.write_text("n,l\n" + "".join(f"{n},{y}\n" for n, y in zip(NS, loss, strict=True)))
        assert "CHECK" not in invoke(path, "--columns", "N=n,loss=l").output, bend


@pytest.mark.slow
def test_one_diverged_run_of_a_grid_is_named_with_the_law_without_it(tmp_path):
    outcome = fit_csv(grid(tmp_path / "t.csv", row22={"l": "9.7"}), "N=n,D=d,loss=l", bootstrap=100)
    said = next(line for line in outcome.lines if line.startswith("CHECK"))
    assert said.startswith("CHECK row 22: its loss is +")
    assert said in outcome.law["notes"]
    assert all(p["used"] for p in outcome.law["data"]["points"])
    clean = fit_csv(grid(tmp_path / "u.csv"), "N=n,D=d,loss=l", bootstrap=100)
    assert not any(line.startswith("CHECK") for line in clean.lines)


@pytest.mark.slow
def test_a_fifth_of_the_configurations_is_held_out_whether_or_not_seeds_are_marked(tmp_path):
    outcome = fit_csv(grid(tmp_path / "t.csv", seeds=3), "N=n,D=d,loss=l", bootstrap=100)
    assert [len(each["runs"]) for each in outcome.law["held_out"]] == [3, 24]


def test_configurations_are_told_by_size_data_and_distinct_data():
    def point(n, d, u):
        return LawPoint("", {"parameters": n, "tokens": d, "unique_tokens": u}, {"loss": 3.0})

    points = [point(1e6, 1e8, 1e8), point(1e6, 1.005e8, 1.005e8), point(1e6, 1e8, 5e7), point(2e6, 1e8, 1e8)]
    assert same_configuration([*points, points[0]], "tokens").tolist() == [1, 1, 0, 2, 1]


@pytest.mark.slow
def test_checkpoints_that_name_their_run_widen_the_intervals(tmp_path):
    random = np.random.default_rng(2)
    path = tmp_path / "t.csv"
    rows = []
    for k, n in enumerate(np.repeat(NS, 3)):
        off = 0.02 * random.standard_normal()
        for d in np.geomspace(2e7, 6.4e8, 8) * (1 + 0.1 * (k % 3)):
            loss = law_of(n, d) * np.exp(off + 0.001 * random.standard_normal())
            rows.append(f"r{k},{n},{d},{loss}\n")
    path.write_text("run,n,d,l\n" + "".join(rows))
    alone = fit_csv(path, "N=n,D=d,loss=l,label=run", bootstrap=100)
    grouped = fit_csv(path, "N=n,D=d,loss=l,group=run", bootstrap=100)
    width = [np.diff(each.law["intervals"]["alpha"])[0] for each in (alone, grouped)]
    assert width[1] > 1.5 * width[0]
    assert any("group=NAME" in line for line in alone.lines)
    assert not any("group=NAME" in line for line in grouped.lines)
