"""An optimisation as a user runs it: it finds better molecules, and an interruption changes nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chemscale.molecules.loading import load_trained
from chemscale.reinforcement.run import optimise
from chemscale.reinforcement.scoring.errors import OracleError, ScoringError
from chemscale.reinforcement.scoring.score import Component
from chemscale.reinforcement.settings import SettingError
from chemscale.reinforcement.state import StateError
from tests.helpers.preloaded import python
from tests.helpers.priors import SYMBOLS, write_prior

HOW = {"batch": 24, "max_length": 24, "learning_rate": 3e-3, "save_seconds": 0.0, "device": "cpu"}
COMPARED = ("molecules.csv", "steps.csv", "curve.csv", "summary.json", "model/model.safetensors")


def nitrogen(smiles):
    """Share of nitrogen among the letters."""
    letters = [c for c in smiles.upper() if c.isalpha()]
    return letters.count("N") / len(letters)


@pytest.fixture(scope="module")
def prior(tmp_path_factory) -> Path:
    return write_prior(tmp_path_factory.mktemp("prior") / "random")


@pytest.fixture(scope="module")
def whole(prior, tmp_path_factory):
    """An optimisation that nothing interrupted."""
    return optimise(prior, nitrogen, tmp_path_factory.mktemp("whole") / "out", budget=240, sigma=30, **HOW)


def assert_same(one: Path, other: Path) -> None:
    for name in COMPARED:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_the_agent_finds_better_molecules_than_it_began_with(whole):
    rows = [line.split(",") for line in (whole.folder / "steps.csv").read_text().splitlines()[1:]]
    means = [float(row[5]) for row in rows]
    assert sum(means[-3:]) / 3 > 2 * means[0]  # the first batch is the prior's own
    assert (whole.calls, whole.ended) == (240, "budget")
    assert whole.top[1] >= whole.top[10] >= whole.top[100] > 0
    assert 0 < whole.auc_top10 < whole.top[10]
    assert whole.best[0].score == whole.top[1]


def test_what_it_leaves_is_read_by_people_and_by_every_verb(whole):
    model, tokenizer = load_trained(whole.folder, "cpu")
    assert model.config.vocab_size == tokenizer.vocab_size
    page = (whole.folder / "page.html").read_text()
    assert page.count("<svg") == 24
    assert whole.best[0].smiles in page
    assert not re.search(r"(src|href)=.?http", page)
    summary = json.loads((whole.folder / "summary.json").read_text())
    assert summary["top"]["10"] == whole.top[10]
    assert len(list(whole.folder.glob("state-*"))) == 1


def test_an_interrupted_run_goes_on_to_the_bit_and_pays_for_nothing_twice(prior, whole, tmp_path):
    asked = []

    def nitrogen(smiles, stop_at=None):
        asked.append(smiles)
        if len(asked) in (70, 150):
            raise KeyboardInterrupt
        return globals()["nitrogen"](smiles)

    nitrogen.__qualname__, out = "nitrogen", tmp_path / "out"
    for save_seconds in (0.0, 1e9):  # a state each step, and none since then
        with pytest.raises(KeyboardInterrupt):
            optimise(prior, nitrogen, out, budget=240, sigma=30, **{**HOW, "save_seconds": save_seconds})
        assert not (out / "summary.json").exists()
    optimise(prior, nitrogen, out, budget=240, sigma=30, **HOW)
    assert_same(whole.folder, out)
    assert len(asked) == 240 + 2  # the two that were interrupted


def test_a_larger_budget_goes_on_as_if_it_had_been_given_at_first(prior, whole, tmp_path):
    out = tmp_path / "out"
    optimise(prior, nitrogen, out, budget=90, sigma=30, **HOW)
    optimise(prior, nitrogen, out, budget=240, sigma=30, **HOW)
    assert_same(whole.folder, out)
    before = (out / "molecules.csv").read_bytes()
    again = optimise(prior, nitrogen, out, budget=240, sigma=30, **HOW)
    assert again.calls == 240
    assert (out / "molecules.csv").read_bytes() == before
    with pytest.raises(SettingError, match="240 calls already"):
        optimise(prior, nitrogen, out, budget=100, sigma=30, **HOW)


@pytest.mark.parametrize(
    "how",
    [
        {"method": "ahc", "diversity": "none", "replay": 0},
        {"replay_choice": "random", "bucket": 3, "min_score": 0.1},
    ],
)
def test_other_ways_to_learn_go_on_to_the_bit_as_well(prior, tmp_path, how):
    settings = {**HOW, **how, "budget": 100}
    optimise(prior, nitrogen, tmp_path / "whole", **settings)
    optimise(prior, nitrogen, tmp_path / "cut", steps=2, **settings)
    optimise(prior, nitrogen, tmp_path / "cut", **settings)
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_a_function_that_fails_loses_nothing(prior, whole, tmp_path):
    broken = True

    def failing(smiles):
        if broken and smiles == fatal:
            raise RuntimeError("no licence")
        return nitrogen(smiles)

    failing.__module__, failing.__qualname__ = nitrogen.__module__, "nitrogen"
    rows = [line.split(",") for line in (whole.folder / "molecules.csv").read_text().splitlines()]
    fatal = rows[120][3]
    with pytest.raises(OracleError, match="no licence"):
        optimise(prior, failing, tmp_path / "out", budget=240, sigma=30, **HOW)
    broken = False
    optimise(prior, failing, tmp_path / "out", budget=240, sigma=30, **HOW)
    assert_same(whole.folder, tmp_path / "out")


def test_a_score_that_failed_at_once_may_be_mended_in_the_same_folder(prior, tmp_path):
    with pytest.raises(ScoringError, match="gave 7"):
        optimise(prior, Component(lambda smiles: 7, name="f"), tmp_path / "out", budget=9, **HOW)
    mended = Component(lambda smiles: 7, transform="linear:0,10", name="g")
    assert optimise(prior, mended, tmp_path / "out", budget=9, **HOW).top[1] == 0.7


def test_an_agent_that_draws_nothing_new_ends_it(prior, tmp_path):
    how = {**HOW, "max_length": 2, "batch": 8}  # one atom at most
    found = optimise(prior, nitrogen, tmp_path / "out", budget=100, patience=5, **how)
    assert found.ended == "nothing new"
    assert found.calls < 10
    assert "collapsed" in (tmp_path / "out" / "page.html").read_text()


def test_another_optimisation_in_the_folder_is_refused_by_what_differs(prior, whole, tmp_path):
    with pytest.raises(StateError, match=r"settings\.batch, settings\.sigma differ"):
        optimise(prior, nitrogen, whole.folder, budget=240, **{**HOW, "batch": 8})
    with pytest.raises(StateError, match=r"score\.components"):
        optimise(prior, "QED", whole.folder, budget=240, sigma=30, **HOW)
    other = write_prior(tmp_path / "other", seed=1)
    with pytest.raises(StateError, match="agent, prior differ"):
        optimise(other, nitrogen, whole.folder, budget=240, sigma=30, **HOW)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(StateError, match="is no optimisation"):
        optimise(prior, nitrogen, tmp_path / "full", **HOW)
    assert os.listdir(tmp_path / "full") == ["thesis.tex"]


def test_bad_input_is_refused_before_anything_is_written(prior, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(SettingError, match="sigm: no such setting"):
        optimise(prior, nitrogen, out, sigm=3)
    with pytest.raises(SettingError, match="--budget"):
        optimise(prior, nitrogen, out, budget=0)
    with pytest.raises((ValueError, FileNotFoundError)):
        optimise(tmp_path / "absent", nitrogen, out)
    other = write_prior(tmp_path / "other", symbols=[*SYMBOLS, "[S]"])
    with pytest.raises(SettingError, match="another tokenizer than that of"):
        optimise(prior, nitrogen, out, agent=other, device="cpu")
    assert not out.exists()


def test_an_agent_may_begin_as_the_one_of_an_earlier_run(prior, whole, tmp_path):
    how = {**HOW, "budget": 40, "sigma": 30}
    fresh = optimise(prior, nitrogen, tmp_path / "fresh", **how)
    led = optimise(prior, nitrogen, tmp_path / "led", agent=whole.folder, **how)
    assert led.top[10] > fresh.top[10]


FUNCTION = """
import time
def share(smiles):
    time.sleep(0.02)
    letters = [c for c in smiles.upper() if c.isalpha()]
    return letters.count("N") / len(letters)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_is_continued_and_leaves_no_process(prior, tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FUNCTION)
    how = {"budget": 200, "max_length": 24, "batch": 16, "device": "cpu"}
    words = [word for key, value in how.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    interpreter = sys.executable if number == signal.SIGKILL else python()
    command = [interpreter, "-m", "chemscale.optimise", str(prior), "--score", "mine.py:share", *words]
    process = subprocess.Popen(
        [*command, "--workers", "2", "--out", "cut"], stderr=subprocess.PIPE, text=True
    )
    table, deadline = Path("cut/molecules.csv"), time.monotonic() + 120
    while time.monotonic() < deadline and not (table.exists() and table.read_text().count("\n") > 60):
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)  # ends once no process holds the pipe
    assert process.returncode == (-9 if number == signal.SIGKILL else 130), said
    assert ("The same command goes on" in said) == (number == signal.SIGINT)
    assert 60 < table.read_text().count("\n") < 200
    optimise(prior, "mine.py:share", "cut", **how)
    optimise(prior, "mine.py:share", "whole", **how)
    assert_same(Path("whole"), Path("cut"))


@pytest.mark.slow
def test_the_command_line_refuses_in_one_paragraph(prior, tmp_path):
    command = [python(), "-m", "chemscale.optimise", str(prior), "--out", "out", "--score"]
    for score, why in (("logP", "logP has a unit of its own"), ("mine.py:f", "there is no file")):
        done = subprocess.run([*command, score], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert why in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
