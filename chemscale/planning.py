"""What a sweep will cost, shown before it is spent, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table

from chemscale.configuration import Point
from chemscale.models.chemgpt import ChemGPT
from chemscale.records import RunRecord
from chemscale.sweeps.points import PointPlan
from chemscale.sweeps.sweeper import is_done
from chemscale.tasks.language_model import LanguageModel
from chemscale.training.progress import clock
from chemscale.training.trainer import set_threads

PROBE_FLOPS = 3e11
"""A trial step is run on as many molecules as cost about this much: well under a second or two."""


def estimate(point: Point) -> PointPlan:
    """Count a point's parameters, data and FLOPs; time a trial step to estimate its hours on this machine."""
    total_tokens = point.steps * point.config["batch"]["tokens"] * _fill(point)
    flops = point.epoch.flops * total_tokens / point.epoch.tokens
    return PointPlan(
        identity=point.identity,
        directory=point.directory,
        name=point.name,
        parameters=point.model.parameter_counts()["matrices"],
        tokens=total_tokens,
        flops=flops,
        seconds=0.0 if is_done(point.directory) else flops / _flops_per_second(point),
        memory_gib=memory_gib(point),
    )


def _fill(point: Point) -> float:
    """Share of the positions of a block that hold a token."""
    return point.epoch.tokens / (point.epoch.blocks * point.config["data"]["block"])


def memory_gib(point: Point) -> float:
    """Weights, gradients and two Adam moments in float32, and the activations that backward needs."""
    model, batch = point.model, point.config["batch"]
    tokens = batch["tokens"] / batch["accumulate"]
    longest = int(point.data.train.lengths.max()) + 1
    per_token = model.layers * (20 * model.width + 2 * model.heads * longest) + 3 * model.vocab_size
    bytes_per = 2 if point.precision != "32" else 4
    return (16 * model.parameter_counts()["all"] + bytes_per * tokens * per_token) / 2**30


def _flops_per_second(point: Point) -> float:
    """FLOP/s of a real training step at this size, measured once; enough for an estimate."""
    set_threads(point.config["trainer"]["threads"])
    on_gpu = point.config["trainer"]["accelerator"] != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    state = torch.get_rng_state()
    module = LanguageModel(ChemGPT(point.model), point.optimizer, point.schedule, point.steps).to(device)
    torch.set_rng_state(state)
    per_token = point.epoch.flops / point.epoch.tokens
    blocks = max(1, round(PROBE_FLOPS / (per_token * point.data.shape.block)))
    batches = point.data.training_batches()
    batches.blocks = min(blocks, batches.blocks)
    batch = batches[0].to(device)
    seconds = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        module.nll(batch).mean().backward()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = min(seconds, time.perf_counter() - started)
    return per_token * batch.tokens.numel() / seconds


def wide_console() -> Console:
    """Standard error; where it is no terminal, wide enough for a table in a log file."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=132)


def show_plan(points: Sequence[Point], plans: Sequence[PointPlan]) -> None:
    """One line a point: size, data, compute, and what it will take here."""
    console = wide_console()
    first = points[0]
    counts = first.corpus.manifest["counts"]
    console.print(
        f"Corpus {first.corpus.path.name}: {counts['train']:,} training and {counts['validation']:,} "
        f"validation molecules, {first.corpus.tokenizer.vocab_size} tokens in the vocabulary.",
        highlight=False,
    )
    table = Table("point", "identity", "N = 12·L·d²", "tokens", "epochs", "FLOPs", "memory", "time", "state")
    for column in table.columns[2:8]:
        column.justify = "right"
    for point, plan in zip(points, plans, strict=True):
        done = is_done(plan.directory)
        table.add_row(
            plan.name,
            plan.identity,
            f"{plan.parameters:,}",
            f"{plan.tokens:,.0f}",
            f"{plan.tokens / point.epoch.tokens:.2f}",
            f"{plan.flops:.2e}",
            f"{plan.memory_gib:.2f} GiB",
            "" if done else f"≈ {clock(plan.seconds)}",
            "done" if done else "to do",
        )
    console.print(table)
    total = sum(plan.seconds for plan in plans)
    if total:
        console.print(f"About {clock(total)} of training on this machine.", highlight=False)


def show_results(plans: Sequence[PointPlan], records: Sequence[RunRecord | None]) -> None:
    """One line a point: what it reached, at what rate."""
    table = Table(
        "point", "N", "tokens", "FLOPs", "nats/token", "/molecule", "/heavy atom", "tokens/s", "state"
    )
    for column in table.columns[1:8]:
        column.justify = "right"
    for plan, record in zip(plans, records, strict=True):
        if record is None:
            table.add_row(plan.name, f"{plan.parameters:,}", "", "", "", "", "", "", "not started")
            continue
        values = record.final.values if record.final else {}
        losses = [values.get(f"nats_per_{unit}") for unit in ("token", "molecule", "heavy_atom")]
        table.add_row(
            plan.name,
            f"{record.parameters.matrices:,}",
            f"{record.data.tokens:,}",
            f"{record.compute.flops:.2e}",
            *("" if loss is None else f"{loss:.4f}" for loss in losses),
            f"{record.truth.get('tokens_per_second', float('nan')):,.0f}",
            record.state.value + (f": {record.reason}" if record.reason else ""),
        )
    wide_console().print(table)
