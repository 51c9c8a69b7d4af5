"""A thousand runs on the local dashboard: ``python benchmarks/dashboard.py --points 1000``.

Writes a sweep of made-up but plausible records in every state through ``chemscale.records``, serves it, and
measures from outside: seconds and bytes of the first answers and of those after one run has logged a line,
and, where chromium and playwright are there, seconds until a browser shows all rows and all curves.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from chemscale.records import Compute, DataSeen, Loss, Parameters, RunRecord, State

STATES = (
    [State.DONE] * 80 + [State.RUNNING] * 10 + [State.FAILED] * 4 + [State.PREEMPTED] * 3 + [State.PAUSED] * 3
)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


TRUTH = {"padding_percent": 0.6, "data_wait_percent": 1.2, "mfu_percent": 31.0, "peak_memory_gib": 3.1}
PAINT = "(() => {{ const began = performance.now(); {}(); return performance.now() - began }})()"


def write_sweep(root: Path, points: int, rows: int = 200, name: str = "made_up", seed: int = 0) -> Path:
    """A sweep of language models of many sizes and seeds below `root`; returns its folder."""
    chance, folder = random.Random(seed), root / name
    for number in range(points):
        width = int(16 * 2 ** chance.uniform(0, 6))
        write_point(folder, number, width, STATES[number % len(STATES)], rows, chance)
    return folder


def write_point(
    folder: Path, number: int, width: int, state: State, rows: int, chance: random.Random
) -> None:
    """One record with its curve: L = 0.6 + 18·N^−0.34 + 90·D^−0.4 and noise."""
    matrices, per_step = 96 * width**2, 2048
    share = 1.0 if state is State.DONE else chance.uniform(0.1, 0.95)
    last, rate = max(1, int(share * rows / 2)), 4e9 / matrices
    lines, values = [], {}
    for row in range(1, last + 1):
        tokens = 100 * row * per_step
        clean = 0.6 + 18 * matrices**-0.34 + 90 * tokens**-0.4
        at = {"step": 100 * row, "tokens": tokens, "flops": 6.2 * matrices * tokens}
        spike = 1.5 if chance.random() < 0.002 else 1.0
        loss, norm = spike * clean * math.exp(chance.gauss(0, 0.01)), chance.uniform(0.3, 1)
        lines.append({"kind": "train", **at, "loss": loss, "lr": 4e-3, "gradient_norm": norm})
        now = {"tokens_per_second": rate * chance.uniform(0.95, 1), **TRUTH}
        lines.append({"kind": "truth", "step": 100 * row, "tokens": tokens, **now})
        if row % 4 == 0 or row == rows // 2:
            values = {"nats_per_token": clean, "nats_per_molecule": 47 * clean}
            lines.append({"kind": "validation", **at, **values})
    directory = folder / f"{number:012x}"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tokens, flops = 100 * last * per_step, 6.2 * matrices * 100 * last * per_step
    RunRecord(
        identity=f"{number:012x}", sweep=folder.name, family="chemgpt", name=f"chemgpt-w{width}-s{number}",
        config={"model": {"family": "chemgpt", "width": width, "layers": 8}, "seed": number}, versions={},
        git_revision="0" * 40, data_hash="made up", seed=number,
        parameters=Parameters(matrices + 90 * width, matrices + 2 * width, matrices + width, matrices),
        overrides=[f"model.width={width}", f"seed={number}"], state=state, attempts=1 + number % 2,
        planned_steps=100 * rows // 2, reason="RuntimeError: out of memory" if state is State.FAILED else "",
        data=DataSeen(100 * last, tokens, tokens // 47, tokens // 2, unique_tokens=10**9),
        compute=Compute(flops, flops, 0.0, tokens / rate, tokens / rate, "H100"),
        final=Loss(100 * last, values) if values else None, truth={"tokens_per_second": rate, **TRUTH},
        started="2026-01-01T00:00:00+00:00", updated="2026-01-01T01:00:00+00:00",
    ).save(directory)  # fmt: skip
    if state is State.FAILED:
        (directory / "error.txt").write_text("RuntimeError: out of memory\n")


@contextlib.contextmanager
def served(root: Path) -> Iterator[str]:
    """The dashboard of `root` as its own process; its address."""
    command = [sys.executable, "-m", "chemscale.dashboard", "local", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield "http:" + process.stdout.readline().rpartition("http:")[2].strip()
        finally:
            process.terminate()


def fetch(url: str) -> tuple[float, int, dict]:
    """Seconds, bytes as sent, and the answer."""
    import gzip

    began = time.monotonic()
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})) as answer:
        content = answer.read()
        packed = answer.headers["Content-Encoding"] == "gzip"
    seconds = time.monotonic() - began
    return seconds, len(content), json.loads(gzip.decompress(content) if packed else content)


def measure(root: Path, folder: Path) -> None:
    """Answers of the server, first and later."""
    metrics = "metric=validation/nats_per_token&metric=train/loss"
    with served(root) as url:
        seconds, size, state = fetch(f"{url}api/state")
        print(f"first state: {len(state['rows'])} rows, {seconds:.2f} s, {size / 1e3:.0f} kB")
        whole, total, answers, version, more = 0.0, 0, 0, 0, 1
        while more:
            seconds, size, found = fetch(
                f"{url}api/curves?sweep={folder.name}&{metrics}&boot={state['boot']}&since={version}"
            )
            whole, total, answers = whole + seconds, total + size, answers + 1
            version, more = found["version"], found["more"]
        print(f"all curves: {whole:.2f} s in {answers} answers, {total / 1e3:.0f} kB")
        running = next(key for key, row in state["rows"].items() if row["state"] == "running")
        with open(root / running / "metrics.jsonl", "r+") as file:
            line = next(row for row in reversed(file.readlines()) if '"train"' in row)
            file.write(json.dumps(json.loads(line) | {"loss": 1.0}) + "\n")
        time.sleep(2)
        seconds, size, later = fetch(f"{url}api/state?boot={state['boot']}&since={version}")
        print(f"after one line: {len(later['rows'])} row, {1e3 * seconds:.0f} ms, {size / 1e3:.1f} kB")


def until(page, expression: str, seconds: float = 60) -> None:
    """Wait for an expression; the driver's own way evaluates text, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        if time.monotonic() > end:
            raise TimeoutError(expression)
        time.sleep(0.02)


def browse(url: str, points: int) -> None:
    """Seconds from the address to all rows and all curves in a real browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        began = time.monotonic()
        page.goto(url)
        until(page, f"document.querySelectorAll('tbody tr').length === {points}")
        rows = time.monotonic() - began
        until(page, f"curves.byPoint.size === {points} && !curves.more")
        whole = time.monotonic() - began
        draw, table = (page.evaluate(PAINT.format(name)) for name in ("showCurves", "showTable"))
        print(f"browser: rows {rows:.2f} s, all curves {whole:.2f} s")
        print(f"one drawing of the curves {draw:.0f} ms, of the table {table:.0f} ms")
        print(f"console errors: {wrong or 'none'}")
        browser.close()


def picture(runs: Path, png: Path, width: int = 1400, scheme: str = "light") -> None:
    """A picture of the dashboard of `runs` as it stands now, for documents."""
    from playwright.sync_api import sync_playwright

    from chemscale.dashboards.local.page import write_page

    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(write_page(runs, Path(scratch) / "page.html").as_uri())
        until(page, "document.querySelectorAll('tbody tr').length > 0 && curves.byPoint.size > 0")
        page.screenshot(path=png, full_page=True)
        browser.close()


def main() -> None:
    """Measure the dashboard, or take its picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", nargs=2, type=Path, metavar=("RUNS", "PNG"), help="only take a picture")
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=200, help="training and throughput lines of a curve")
    parser.add_argument("--keep", type=Path, help="write the runs here and leave them")
    options = parser.parse_args()
    if options.picture:
        picture(*options.picture)
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = options.keep or Path(scratch)
        folder = write_sweep(root, options.points, options.rows)
        size = sum(os.stat(path).st_size for path in folder.rglob("*.jsonl"))
        print(f"{options.points} points, {size / 1e6:.0f} MB of metrics")
        measure(root, folder)
        page = Path(scratch) / "page.html"
        command = [sys.executable, "-m", "chemscale.dashboard", "local", str(root), "--out", str(page)]
        subprocess.run(command, check=True)
        if shutil.which("chromium"):
            with served(root) as url:
                browse(url, options.points)
            browse(page.as_uri(), options.points)


if __name__ == "__main__":
    main()
