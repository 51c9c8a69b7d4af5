"""Runs as training leaves them, small and made by hand, and the dashboard as its own process."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chemscale.analysis.records_to_points import point_of
from chemscale.common.files import write_json
from chemscale.laws.axis.law import fit_axis
from chemscale.laws.data.points import LawPoints
from chemscale.laws.reports.axis_report import Report
from chemscale.laws.reports.page import Origin
from chemscale.records import Compute, DataSeen, Loss, Parameters, RunRecord, State, find_records

PER_STEP = 1000


def write_run(
    sweep: Path,
    name: str,
    state: State = State.DONE,
    *,
    matrices: int = 10_000,
    steps: int = 100,
    planned: int = 100,
    loss: float = 2.0,
    rate: float = 5000.0,
    joules: float | None = None,
    reason: str = "",
    **fields: Any,
) -> Path:
    """A language model's directory with record and curve: a row of each kind every 10 steps."""
    directory = sweep / name.translate({ord(c): "_" for c in "<>/ "})
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "metrics.jsonl", "w") as file:
        for step in range(10, steps + 1, 10):
            file.writelines(json.dumps(row) + "\n" for row in rows_at(step, loss * (1 + 1 / step), rate))
    tokens, flops = steps * PER_STEP, 6.0 * matrices * steps * PER_STEP
    record = RunRecord(
        identity=directory.name, sweep=sweep.name, family="chemgpt", name=name,
        config={"model": {"family": "chemgpt"}}, versions={}, git_revision=None, data_hash="data", seed=0,
        parameters=Parameters(matrices + 500, matrices, matrices, matrices), state=state, reason=reason,
        attempts=1, planned_steps=planned, data=DataSeen(steps, tokens, unique_tokens=10**6),
        compute=Compute(flops, flops, 0.0, tokens / rate, tokens / rate, "a device", joules),
        final=Loss(steps, {"nats_per_token": loss, "nats_per_molecule": 40 * loss}) if steps else None,
        truth={"tokens_per_second": rate}, started="2026-01-01T00:00:00+00:00", **fields,
    )  # fmt: skip
    record.save(directory)
    return directory


def rows_at(step: int, loss: float, rate: float = 5000.0) -> list[dict[str, Any]]:
    """What training writes at a step."""
    tokens = step * PER_STEP
    at = {"step": step, "tokens": tokens, "flops": 6e4 * tokens}
    return [
        {"kind": "train", **at, "loss": loss, "lr": 1e-3, "gradient_norm": None},
        {"kind": "truth", "step": step, "tokens": tokens, "tokens_per_second": rate, "padding_percent": 0.5},
        {"kind": "validation", **at, "nats_per_token": loss, "nats_per_molecule": 40 * loss},
    ]


def grow(directory: Path, step: int, loss: float) -> None:
    """A run goes on: its next rows."""
    with open(directory / "metrics.jsonl", "a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows_at(step, loss))


@contextlib.contextmanager
def served(runs: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a running dashboard, and its process; it is ended as a person ends it."""
    command = [sys.executable, "-u", "-m", "chemscale.dashboard", "local", str(runs), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "http" not in line:
                raise AssertionError(process.communicate(timeout=20)[1])
            yield line[line.index("http:") :].strip(), process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()  # else leaving `with` would wait for it for ever
                raise


def write_law(sweep: Path, out: Path | None = None) -> dict[str, Any]:
    """What a fit leaves, without its figures, which take seconds: ``law.json`` and a page."""
    found = [(d, r) for d, r in find_records(sweep) if r.state is State.DONE]
    points = LawPoints(tuple(point_of(record, "nats_per_token") for _, record in found), str(sweep))
    law_of = fit_axis(*points.used("parameters", "nats_per_token"), axis="parameters", bootstrap=200)
    law = Report("made", points, law_of, "parameters", "nats_per_token", Origin()).law()
    folder = out or sweep / "law"
    write_json(folder / "law.json", law)
    (folder / "report.html").write_text("<!doctype html><h1>the report</h1><script>window.ran = 1</script>")
    return law
