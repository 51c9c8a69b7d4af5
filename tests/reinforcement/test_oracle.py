"""Scores are asked for once, in an order that stays, within the budget; what was paid for is never lost."""

import os

import pytest

from chemscale.reinforcement.journal import Journal, JournalError
from chemscale.reinforcement.oracle import Oracle
from chemscale.reinforcement.scoring.errors import OracleError, ScoringError
from chemscale.reinforcement.scoring.score import as_score

FUNCTIONS = """
import os, time

def slow_for_short(smiles):
    time.sleep(0.05 if len(smiles) < 4 else 0.0)
    return len(smiles) / 100

def fails(smiles):
    if smiles == "CCN":
        raise OSError("disk full")
    return 0.5

def dies(smiles):
    if smiles == "CCN":
        os._exit(9)
    return 0.5
"""
MOLECULES = ["C", "CC", "CCN", "CCCCC", "CCCCCC"]


@pytest.fixture
def functions(tmp_path):
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS)
    return path


def oracle(wanted, folder, budget=100, **more):
    score = as_score(wanted)
    return Oracle(score, Journal(folder / "molecules.csv", score.labels), budget, **more)


def test_a_molecule_is_scored_once_and_repetitions_cost_nothing(tmp_path):
    asked = []

    def count(smiles):
        asked.append(smiles)
        return 0.5

    with oracle(count, tmp_path, budget=3) as found:
        assert found.ask(["C", "CC", "C"], 1)
        assert found.ask(["CC", "C"], 2)
        assert found.left == 1
        assert not found.ask(["C", "N", "O"], 3)
        assert found.left == 0
    assert asked == ["C", "CC", "N"]
    again = oracle(count, tmp_path, budget=4)
    assert again.ask(["N", "CC", "O"], 4)
    assert asked == ["C", "CC", "N", "O"]
    assert [(row.call, row.step) for row in again.journal.rows.values()] == [(1, 1), (2, 1), (3, 3), (4, 4)]


def test_several_processes_give_the_same_rows_in_the_same_order(functions, tmp_path):
    texts = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        with oracle(f"{functions}:slow_for_short", folder, workers=workers) as found:
            assert found.ask(MOLECULES, 1)
        texts.append((folder / "molecules.csv").read_text())
    assert texts[0] == texts[1]
    assert texts[0].splitlines()[3] == "3,1,0.03,CCN,,0.03"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_function_that_raises_is_named_and_what_was_scored_is_kept(functions, tmp_path, workers):
    with (
        pytest.raises(OracleError, match=r"CCN: fails raised OSError: disk full.*--on-error zero"),
        oracle(f"{functions}:fails", tmp_path, workers=workers) as found,
    ):
        found.ask(MOLECULES, 1)
    kept = list(Journal(tmp_path / "molecules.csv", ["fails"]).rows)
    assert kept == (MOLECULES[:2] if workers == 1 else [m for m in MOLECULES if m != "CCN"])
    with oracle(f"{functions}:fails", tmp_path, on_error="zero") as found:
        assert found.ask(MOLECULES, 1)
        row = found.journal.rows["CCN"]
        assert (row.score, row.problem, len(found.journal)) == (0.0, "fails raised OSError: disk full", 5)


def test_a_process_that_dies_is_told_and_loses_nothing_that_was_there(functions, tmp_path):
    with oracle(f"{functions}:dies", tmp_path, workers=2) as found:
        found.ask(["C"], 1)
        with pytest.raises(OracleError, match=r"died.*near"):
            found.ask(MOLECULES, 2)
    assert "C" in Journal(tmp_path / "molecules.csv", ["dies"])


def test_a_function_that_cannot_be_sent_to_a_process_is_refused(tmp_path):
    with (
        pytest.raises(ScoringError, match="cannot be sent to another process"),
        oracle(lambda smiles: 0.5, tmp_path, workers=2) as found,
    ):
        found.ask(["C"], 1)


def test_a_row_that_was_cut_off_is_taken_away_and_a_damaged_table_refused(tmp_path):
    with oracle(lambda smiles: 0.5, tmp_path) as found:
        found.ask(["C", "CC"], 1)
    path = tmp_path / "molecules.csv"
    whole = path.read_text()
    path.write_text(whole[:-4])
    assert list(Journal(path, found.score.labels).rows) == ["C"]
    assert os.path.getsize(path) == whole.index("2,1,")
    path.write_text(whole.replace("2,1,", "7,1,"))
    with pytest.raises(JournalError, match="row 2: damaged"):
        Journal(path, found.score.labels)
    with pytest.raises(JournalError, match="not the table of this score"):
        Journal(path, ["another"])
