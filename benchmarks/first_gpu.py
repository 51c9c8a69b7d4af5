"""Questions to a machine's first GPU that no other command asks; ``gpu.sh`` puts all of them.

    python benchmarks/first_gpu.py losses --device cuda      # 200 steps: CPU, device, compiled on the device
    python benchmarks/first_gpu.py steps --device cuda       # memory beside the plan, launches, waiting
    python benchmarks/first_gpu.py table FOLDER              # what they wrote there with --json, as one table

With ``--device cpu --quick`` everything runs that a CPU has. The data are made up on the spot. Status 1 where
a loss or the memory is not what it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.points.base import Point
from chemscale.points.build import read_point
from chemscale.points.run import fit, open_record
from chemscale.testing.fake_cuda.cases import molecules, structures

LANGUAGE = ("batch.tokens=2048", "data.validation_molecules=64")
SMALL = {
    "chemgpt": ("model.width=64", "model.layers=4", "model.heads=4", *LANGUAGE),
    "schnet": ("model=schnet", "model.width=32"),
    "painn": ("model=painn", "model.width=32"),
    "spookynet": ("model=spookynet", "model.width=32", "model.layers=2"),
    "nequip": ("model=nequip", "model.width=16", "model.layers=2"),
    "allegro": ("model=allegro", "model.width=32", "model.layers=2"),
    "mace": ("model=mace", "model.width=16"),
}
"""Models whose losses are compared."""
COMPILED = ("chemgpt", "painn", "nequip")
"""Of these also compiled: it takes a minute or two of each."""
SHIPPED = {
    **{
        name: (f"model={name}", "precision=bf16-mixed", "batch.tokens=8192", "data.validation_molecules=64")
        for name in ("chemgpt_4.7m", "chemgpt_19m", "chemgpt_1.2b")
    },
    **{
        name: (f"model={name}", "batch.frames=32")
        for name in ("schnet_rmd17", "painn_rmd17", "spookynet", "nequip_rmd17", "allegro", "mace_rmd17")
    },
}
"""Models whose memory and launches are looked at, at the sizes that are shipped."""
FIRST, AT_FIRST, AT_LAST = 20, 2e-3, 5e-2
"""Losses of so many first steps agree to the one, the mean of the last quarter to the other."""
PLANNED = (0.4, 1.1)
"""Least and most share of the planned memory that may be taken."""
PROFILED = 4
"""Number of the step that is profiled, from 0."""


def point_of(folder: Path, name: str, own: tuple[str, ...], device: str, *more: str) -> Point:
    """A point on made-up data.

    Args:
        folder: for data and runs.
        name: of the model; a ChemGPT by its beginning.
        own: its overrides.
        device: cpu or cuda.
        more: overrides of the run.
    """
    data = [f"runs={folder}/runs", f"corpora={folder}/corpora", f"structures={folder}/structures"]
    if name.startswith("chemgpt"):
        data += ["data=smiles", f"data.path={molecules(folder)}", "data.prepare_workers=1"]
    else:
        data = ["task=potential", "data=structures", f"data.path={structures(folder)}", "lint=off", *data]
        data += ["data.validation_frames=16"]
    common = ["budget.epochs=null", "logger=jsonl", "schedule=constant", "trainer.checkpoint_seconds=1e9"]
    with initialize_config_dir(config_dir=str(CONFIG_DIRECTORY), version_base=None):
        typed = [*data, *common, f"trainer.accelerator={device}", *own, *more]
        return read_point(compose("train", overrides=typed))


# --- losses ---


class Adopted(pl.Callback):
    """Notes whether a run trained through a compiled step."""

    def __init__(self) -> None:
        self.compiled = False

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self.compiled = module.compiled is not None


def losses_of(point: Point) -> tuple[list[float], bool]:
    """Train a point; its losses, step by step, and whether it was compiled."""
    record, adopted = open_record(point, []), Adopted()
    fit(point, record, extra=[adopted])
    rows = [row for row in record.curve_rows(point.directory) if row["kind"] == "train"]
    return [row["loss"] for row in rows], adopted.compiled


def losses(device: str, quick: bool, folder: Path) -> Iterator[dict[str, Any]]:
    """Compare the losses of a run on the device, eager and compiled, with those on the CPU."""
    steps = 24 if quick else 200
    names = ("chemgpt", "painn") if quick else tuple(SMALL)
    for name in names:
        runs = {}
        ways = {"cpu": ("cpu", "false"), f"{device} again": (device, "false")}
        if name in COMPILED:
            ways["compiled"] = (device, "true")
        for way, (where, compiled) in ways.items():
            cadence = (f"budget.steps={steps}", "trainer.log_every=1", "trainer.validate_every=100000")
            more = (
                *cadence,
                f"trainer.compile={compiled}",
                f"sweep_name={way.split()[-1]}",
                "optimizer.lr=1e-3",
            )
            row = {"what": f"losses {name}", "how": way, "passed": False}
            started = time.perf_counter()
            try:
                runs[way], adopted = losses_of(point_of(folder, name, SMALL[name], where, *more))
            except Exception as error:
                logging.exception("%s, %s", name, way)
                yield {**row, "found": first_line(error)}
                continue
            first, last = differences(runs["cpu"], runs[way])
            took = f"{time.perf_counter() - started:.0f} s"
            if adopted != (way == "compiled"):
                took += ", fell back to eager"
            elif first < AT_FIRST and last < AT_LAST:
                row["passed"] = True
            yield {**row, "found": f"{first:.1e} first {FIRST} steps, {last:.1e} last quarter, {took}"}


def first_line(error: Exception) -> str:
    """What went wrong, short."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:100]


def differences(reference: list[float], losses: list[float]) -> tuple[float, float]:
    """Largest relative difference of the first losses, and that of the mean of the last quarter."""
    if len(reference) != len(losses) or not all(map(math.isfinite, losses)):
        return math.inf, math.inf
    first = max(abs(a - b) / abs(a) for a, b in zip(reference[:FIRST], losses[:FIRST], strict=True))
    part = max(1, len(losses) // 4)
    mean = sum(reference[-part:])
    return first, abs(sum(losses[-part:]) - mean) / abs(mean)


# --- a step ---


class OneStep(pl.Callback):
    """Profiles one step of a run in its middle, and takes its time."""

    def __init__(self, device: str):
        self.cuda = device == "cuda"
        self.activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.cuda else [])]
        self.seconds: list[float] = []
        self.busy = 0.0
        self.launches = 0
        self._profile: Any = None
        self._began = 0.0

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self._synchronize()
        if batch_idx == PROFILED:
            self._profile = profile(activities=self.activities)
            self._profile.__enter__()
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._synchronize()
        self.seconds.append(time.perf_counter() - self._began)
        if batch_idx == PROFILED:
            self._profile.__exit__(None, None, None)
            self._read(self._profile.events())

    def _synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def _read(self, events: Any) -> None:
        """Kernels and the time that they ran; on a CPU operations, which are the device's work themselves."""
        kind = torch.autograd.DeviceType.CUDA if self.cuda else torch.autograd.DeviceType.CPU
        of_device = [event for event in events if event.device_type == kind]
        self.launches = len(of_device)
        spent = (event.device_time_total if self.cuda else event.self_cpu_time_total for event in of_device)
        self.busy = sum(spent) / 1e6

    @property
    def waiting(self) -> float:
        """Share of a step, as it runs without the profiler, in which the device has nothing to do."""
        usual = min(self.seconds[1:PROFILED])
        return max(0.0, 1 - self.busy / usual)


def steps(device: str, quick: bool, folder: Path) -> Iterator[dict[str, Any]]:
    """Peak memory beside the plan, launches and waiting of a step of each shipped model."""
    names = ("chemgpt_4.7m", "schnet_rmd17") if quick else tuple(SHIPPED)
    for name in names:
        own = SHIPPED[name]
        if quick:
            own = (*own, "precision=32", *(("batch.tokens=1024",) if name.startswith("chemgpt") else ()))
        cadence = ("trainer.log_every=1000", "trainer.validate_every=1000", f"budget.steps={PROFILED + 2}")
        point = point_of(folder, name, own, device, *cadence, "trainer.compile=false")
        planned, probe = point.memory().total, OneStep(device)
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        fit(point, open_record(point, []), extra=[probe])
        found = f"{1e3 * min(probe.seconds[1:PROFILED]):.1f} ms, {probe.launches:,} launches"
        passed = probe.launches > 0
        if device == "cuda":
            taken = torch.cuda.max_memory_allocated()
            found += (
                f", {probe.waiting:.0%} waiting, {taken / 2**30:.2f} of {planned / 2**30:.2f} GiB planned"
            )
            passed = PLANNED[0] < taken / planned < PLANNED[1]
        else:
            found += f", {planned / 2**30:.2f} GiB planned"
        yield {"what": f"step {name}", "how": "eager", "found": found, "passed": passed}


# --- the command ---


QUESTIONS = {"losses": losses, "steps": steps}


def ask(question: str, device: str, quick: bool) -> list[dict[str, Any]]:
    """Rows of a question; what raises is a row that did not pass."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="chemscale-first-gpu-") as folder:
        answers = QUESTIONS[question](device, quick, Path(folder))
        try:
            for row in answers:
                rows.append(row)
                print(f"{row['what']}, {row['how']}: {row['found']}", flush=True)
        except Exception as error:
            logging.exception("%s failed", question)
            rows.append({"what": question, "how": device, "found": first_line(error), "passed": False})
    return rows


def show(folder: Path) -> bool:
    """Print all rows of a folder as one table; whether all passed."""
    table = Table("what", "how", "found", "passed")
    passed = True
    for file in sorted(folder.glob("*.json")):
        for row in rows_of(json.loads(file.read_text())):
            table.add_row(row["what"], row["how"], row["found"], "yes" if row["passed"] else "NO")
            passed = passed and row["passed"]
    console = Console()
    (console if console.is_terminal else Console(width=150)).print(table)
    return passed


def rows_of(contents: Any) -> Iterator[dict[str, Any]]:
    """Rows of a file: ours as they are, those of ``chemscale.bench`` in the same form."""
    if isinstance(contents, list):
        yield from contents
        return
    for work in contents.get("works", ()):
        for row in work["rows"]:
            share = row.get("percent_of_product")
            found = f"{row['rate']:,.0f} {work['unit']}, step {1e3 * row['step_seconds']:.1f} ms"
            found += "" if share is None else f", {share:.1f} % of a product"
            yield {"what": f"bench {work['work']}", "how": row["who"], "found": found, "passed": True}
        for who, why in dict(work["failed"]).items():
            yield {"what": f"bench {work['work']}", "how": who, "found": str(why)[:120], "passed": False}


def main() -> None:
    """Ask, print and leave with a status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("question", choices=[*QUESTIONS, "table"])
    parser.add_argument("folder", nargs="?", type=Path, help="of table")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="few models, few steps")
    parser.add_argument("--json", type=Path, help="write the rows here")
    given = parser.parse_args()
    if given.question == "table":
        raise SystemExit(not show(given.folder))
    with contextlib.suppress(ValueError):  # a logger that is not there
        logging.getLogger("chemscale").setLevel(logging.WARNING)
    rows = ask(given.question, given.device, given.quick)
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1))
    raise SystemExit(not rows or not all(row["passed"] for row in rows))


if __name__ == "__main__":
    main()
