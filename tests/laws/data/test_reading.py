"""Tables as people have them give the runs that they hold, or a message that names row and column."""

import gzip
import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from chemscale.laws.data.columns import parse_columns
from chemscale.laws.data.points import PointsError
from chemscale.laws.data.reading import ReadTable, read_table

LOSSES = (4.12, 3.55, 3.08, 2.71)
SIZES = (1e6, 2e6, 4e6, 8e6)
WANTED = list(zip(SIZES, LOSSES, strict=True))
PLAIN = "".join(f"{n:.0f},{y}\n" for n, y in zip(SIZES, LOSSES, strict=True))


def read(tmp_path: Path, content: str | bytes, columns: str = "N=n,loss=l", name: str = "t.csv") -> ReadTable:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, parse_columns(columns))


def numbers(table: ReadTable) -> list[tuple[float, float]]:
    return [(p.sizes["parameters"], p.losses["loss"]) for p in table.points.points if p.used]


@pytest.mark.parametrize(
    "content",
    [
        "n,l\n" + PLAIN,
        "n,l\r\n" + PLAIN.replace("\n", "\r\n") + "\r\n",
        "n,l\r" + PLAIN.replace("\n", "\r"),
        "n,l\n" + PLAIN + "\n\n,\n",
        "\ufeffn,l\n" + PLAIN,
        ("n,l\n" + PLAIN).encode("utf-16"),
        ("n,l\n" + PLAIN).encode("utf-32"),
        "n;l\n" + PLAIN.replace(",", ";"),
        "n;l\n" + PLAIN.replace(",", ";").replace(".", ","),
        "n;l\n" + "".join(f"{n:.0f};{y:.3f}\n".replace(".", ",") for n, y in WANTED),
        "n\tl\n" + PLAIN.replace(",", "\t"),
        "n|l\n" + PLAIN.replace(",", "|"),
        "n   l\n" + PLAIN.replace(",", "  "),
        "sep=;\nn;l\n" + PLAIN.replace(",", ";"),
        " n , l \n" + PLAIN.replace(",", " , "),
        "# made by hand\nn,l\n# a note\n" + PLAIN,
        "# n,l\n" + PLAIN,
        "n,l\n" + PLAIN.replace("000000", "M"),
        "n,l\n" + PLAIN.replace("000000", " m"),
        "n,l\n" + PLAIN.replace("000000", "_000_000"),
        "n,l\n" + PLAIN.replace("000000", "\u202f000\u202f000"),
        'n,l\n' + "".join(f'"{n:,.0f}",{y}\n' for n, y in WANTED),
        'n,l\n' + "".join(f'"{n:.0f}","{str(y).replace(".", ",")}"\n' for n, y in WANTED),
        'n,l\n' + "".join(f"{n / 1e3:g}k,{y * 100:g}%\n" for n, y in WANTED),
        gzip.compress(("n,l\n" + PLAIN).encode(), mtime=0),  # two workers must collect one name
        json.dumps([{"n": n, "l": y} for n, y in WANTED]),
        "\n".join(json.dumps({"n": n, "l": y}) for n, y in WANTED),
        json.dumps({"n": {str(i): n for i, n in enumerate(SIZES)}, "l": dict(enumerate(LOSSES))}),
        json.dumps({"n": SIZES, "l": LOSSES}),
        json.dumps({"columns": ["n", "l"], "index": [0, 1, 2, 3], "data": WANTED}),
    ],
)  # fmt: skip
def test_one_table_in_many_writings_gives_the_same_runs(tmp_path, content):
    assert numbers(read(tmp_path, content)) == [pytest.approx(pair) for pair in WANTED]


def test_parquet_is_read_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"n": SIZES, "l": LOSSES}), path)
    assert numbers(read_table(path, {"N": "n", "loss": "l"})) == WANTED
    with pytest.raises(PointsError, match=r"cut\.parquet: its Parquet cannot be read"):
        read(tmp_path, path.read_bytes()[:-20], name="cut.parquet")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("n,l\n1000000,4,12\n2000000,3,55\n", "row 2: 3 cells, and the header has 2 (separated by commas)"),
        ('"n","l"\n"1",1e6,4.1\n"2",2e6,3.5\n', "R's write.table"),
        ('"n" "l"\n"1" 1e6 4.1\n"2" 2e6 3.5\n', "row.names=FALSE"),
        ("n,l\n1e6,4.1\n2e6\n3e6,3.1\n", "row 3: 1 cells"),
        ("n,l\n1e6,4.1\n2e6,3.1,\n", "row 3: 3 cells"),
        ('n,l\n"1e6,4.1\n2e6,3.1\n', "row 2: not a CSV file"),
        ('n,l\n1e6,"1,376"\n2e6,"1,285"\n', "row 2, column l: '1,376' may be 1376 or 1.376"),
        ("n;l\n1,500;2.1\n2,500;1.9\n", "row 2, column n: '1,500' may be 1500 or 1.500"),
        ('n,l\n1e6,"1,37"\n2e6,1.28\n', "column l: '1.28' has a decimal point and '1,37' a decimal comma"),
        ("n,l\n1e6,12%\n2e6,0.11\n", "row 3, column l: '0.11' has no per cent sign"),
        ("params;loss\n1;2\n", "no column 'n'; there are params, loss (separated by semicolons)"),
        ("n,l\n1e6,4.1 nats\n2e6,3 nats\n", "2 no number in l (rows 2, 3); row 2: no number in l ('4.1"),
        (b"n,l\n1e6,4.1\n\xe9,3\n", "not in UTF-8 (line 3, byte 0xe9)"),
        (b"PK\x03\x04rest", "a workbook of Excel"),
        (b"\x1f\x8bnot", "its gzip is damaged"),
        ("<!DOCTYPE html>\n<html></html>\n", "a page of the web"),
        ("1e6,4.1\n2e6,3.1\n", "The first row must hold the names"),
        ("", "there is no row"),
        ("n,l\n", "no row below the header"),
        ("# only\n# notes\n", "there is no row"),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused_with_the_way_out(tmp_path, content, words):
    with pytest.raises(PointsError) as refused:
        read(tmp_path, content)
    assert words in str(refused.value)


@pytest.mark.parametrize("cell", ["", "nan", "None", "NA", "-", "n/a"])
def test_a_cell_without_a_number_leaves_its_run_out_and_is_counted(tmp_path, cell):
    points = read(tmp_path, f"n,l\n{PLAIN}1.6e7,{cell}\n").points
    assert points.left_out == "left out: 1 of 5: 1 no number in l (row 6)"
    assert points.left_out_summary == {"count": 1, "of": 5, "reasons": {"no number in l": ["row 6"]}}


def test_reasons_are_counted_apart(tmp_path):
    content = f"n,l\n{PLAIN}1.6e7,\n3.2e7,inf\n6.4e7,0\n1000000,4.12\n1e70,2\n"
    assert read(tmp_path, content).points.left_out == (
        "left out: 5 of 9: 1 no number in l (row 6); 1 diverged (row 7); 1 not above 0 in l (row 8); "
        "1 the same as an earlier row (row 9); 1 not within 1e-30 to 1e+60 in n (row 10)"
    )


def test_a_table_of_which_more_than_half_would_be_left_out_is_refused_with_its_rows(tmp_path):
    rows = PLAIN + "".join(f"{n}e7,1.{n} nats\n" for n in range(1, 6))
    with pytest.raises(
        PointsError, match=r"more than half .* left out: 5 of 9: 5 no number in l \(rows 6 to 10\)"
    ):
        read(tmp_path, "n,l\n" + rows)


@pytest.mark.parametrize("column", ["State", "state", "status", "Status"])
def test_states_of_runs_are_honoured_under_their_usual_names(tmp_path, column):
    states = ("finished", "done", "COMPLETED", "crashed")
    rows = [f"{line},{state}" for line, state in zip(PLAIN.split(), states, strict=True)]
    points = read(tmp_path, f"n,l,{column}\n" + "\n".join(rows)).points
    assert points.left_out == "left out: 1 of 4: 1 state crashed (row 5)"


def test_a_state_column_of_any_name_is_one_where_it_is_said_so(tmp_path):
    rows = "".join(f"{line},{'ok' if n else 'hm'}\n" for n, line in enumerate(PLAIN.split()))
    table = f"n,l,how\n{rows}"
    assert read(tmp_path, table, "N=n,loss=l,state=how").points.left_out.endswith("1 state hm (row 2)")
    assert not read(tmp_path, table).points.left_out


def test_a_table_of_which_no_run_finished_says_how_a_finished_one_is_written(tmp_path):
    rows = "".join(f"{line},failed\n" for line in PLAIN.split())
    with pytest.raises(
        PointsError, match=r"none of its 4 runs .* 4 state failed .* has the state finished, done"
    ):
        read(tmp_path, f"n,l,state\n{rows}")


def test_a_column_called_state_that_holds_no_states_is_not_one(tmp_path):
    rows = "".join(f"{line},CA\n" for line in PLAIN.split())
    assert not read(tmp_path, f"n,l,state\n{rows}").points.left_out


def test_copies_are_dropped_and_named_whatever_index_they_have(tmp_path):
    lines = PLAIN.split() * 3
    table = "".join(f"{number},{line}\n" for number, line in enumerate(lines))
    points = read(tmp_path, f",n,l\n{table}").points
    assert points.left_out == "left out: 8 of 12: 8 the same as an earlier row (rows 6 to 13)"
    assert points.points[4].reason == "the same as an earlier row (row 2)"


def test_runs_that_differ_in_any_cell_are_no_copies(tmp_path):
    table = "".join(f"{line},{seed}\n" for seed in (0, 1) for line in PLAIN.split())
    assert not read(tmp_path, f"n,l,seed\n{table}").points.left_out


def test_rows_are_named_by_their_line_in_the_file(tmp_path):
    points = read(tmp_path, '# a note\n\nn,l,why\n1e6,4,"two\nlines"\n\n2e6,nan,x\n4e6,3,x\n').points
    assert [p.row for p in points.points] == [4, 7, 8]
    assert points.left_out == "left out: 1 of 3: 1 no number in l (row 7)"


@pytest.mark.parametrize(
    "columns", ["N=n,loss=val, loss", 'N=n,loss="val, loss"', 'loss = "val, loss" , N = n']
)
def test_a_name_with_a_comma_is_a_column(tmp_path, columns):
    assert numbers(read(tmp_path, f'n,"val, loss"\n{PLAIN}', columns)) == WANTED


def test_history_of_wandb_keeps_its_own_keys(tmp_path):
    content = "\n".join(json.dumps({"_step": n, "n": size, "l": y}) for n, (size, y) in enumerate(WANTED))
    assert numbers(read(tmp_path, content, "N=n,loss=l,label=_step")) == WANTED
