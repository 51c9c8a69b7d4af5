"""A long command says what it does: lines with rate and time left, a bar on a terminal."""

import io

from rich.console import Console

from chemscale.cli.stages import Stages
from chemscale.common.listening import listening, work


def test_work_within_a_stage_is_said_in_lines_with_its_rate_and_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("chemscale.cli.stages.time.monotonic", lambda: now[0])
    written = io.StringIO()
    with Stages(console=Console(file=written)) as stages, listening(stages.heard):
        stages("quiet at first")
        now[0] = 6.0
        stages("starts")
        with work(100, "descents") as done:
            for _ in range(4):
                done(10)
                now[0] += 2.5
            with work(7, "inner") as inner:
                inner(7)
    lines = written.getvalue().splitlines()
    assert lines[0] == "  6 s: starts …"
    assert lines[1] == "  11 s: starts: 30/100 descents (6/s), 12 s left"
    assert len(lines) == 2


def test_a_terminal_gets_a_bar(monkeypatch):
    now = [10.0]
    monkeypatch.setattr("chemscale.cli.stages.time.monotonic", lambda: now[0])
    written = io.StringIO()
    with Stages(quiet=0.0, console=Console(file=written, force_terminal=True, width=120)) as stages:
        stages("starts")
        for done in range(1, 5):
            now[0] += 1.0
            stages.heard(10 * done, 40, "descents")
    assert "40/40 descents" in written.getvalue()
