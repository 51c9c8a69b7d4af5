"""A plan from start to end: the law that is known, the runs that a budget allows, and which to train."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chemscale.hardware.accelerators import Rate, training_rate
from chemscale.laws.allocation.design import Design, choose_points
from chemscale.laws.allocation.known import KnownLaw
from chemscale.planning.candidates import Family, Near, PlanError, candidates
from chemscale.planning.inputs import (
    guessed,
    like_runs,
    read_budget,
    read_goal,
    read_guess,
    read_ratio,
    with_settings,
)
from chemscale.planning.law_file import Source, read_law

REPEATS = 2
"""Most points of one configuration. Where the law is true many runs of few configurations narrow a goal most;
where it is not, only other configurations show it, and two seeds of one are enough to see their noise."""
REACH = 10.0
"""Times the largest N, D and FLOPs of the law's runs that a point may have, unless asked otherwise."""


@dataclass(frozen=True)
class Hardware:
    """GPUs that train one point together.

    Args:
        gpu: name in the table of accelerators; None where it is not given.
        gpus: how many of them.
        rate: FLOP/s of one; None where it is not known.
        price: euros of a GPU-hour; None where it is not given.
    """

    gpu: str | None = None
    gpus: int = 1
    rate: Rate | None = None
    price: float | None = None


@dataclass(frozen=True)
class PlanOptions:
    """What a plan is to be made of: the options of the command, as they were given."""

    law: Path | None = None
    guess: str | None = None
    budget: float | None = None
    gpu_hours: float | None = None
    euros: float | None = None
    euros_per_gpu_hour: float | None = None
    gpu: str | None = None
    gpus: int = 1
    measured_flops: float | None = None
    mfu: float | None = None
    precision: str | None = None
    goal: str = "loss"
    target: str | None = None
    points: int = 6
    layers: int = 24
    heads: int = 16
    vocab: int = 100
    tokens_per_molecule: float = 32.0
    ratio: str = "1:1000"
    max_tokens: float | None = None
    noise: float = 0.01
    reach: float = REACH


@dataclass(frozen=True)
class Proposal:
    """The chosen points and everything that they follow from.

    Args:
        source: the law as it was given.
        known: how well it is known.
        family: the models that points differ in by width only.
        hardware: what they are trained on.
        spend: FLOPs for all of them together.
        budget: the same in words.
        design: the points, and how well the law is known before and after them.
        widths: of the points, in the order of the design.
        aim: N, D or C of the loss that is to be narrowed; empty where the goal is no loss.
    """

    source: Source
    known: KnownLaw
    family: Family
    hardware: Hardware
    spend: float
    budget: str
    design: Design
    widths: list[int]
    aim: dict[str, float] = field(default_factory=dict)

    @property
    def places(self) -> list[dict[str, float]]:
        """N, D and C of the points."""
        return [
            {"N": float(n), "D": float(d), "C": float(c)}
            for (n, d), c in zip(self.design.inputs, self.design.flops, strict=True)
        ]

    def overrides(self) -> list[dict[str, Any]]:
        """Overrides of each point; one that was run before, here or by the law, gets another seed."""
        taken: dict[tuple[int, int], int] = {}
        out = []
        for width, (n, tokens) in zip(self.widths, self.design.inputs, strict=True):
            key = (width, round(tokens))
            same = [
                run
                for run in self.source.runs
                if run[self.source.axis] == n and abs(run["tokens"] / tokens - 1) < 0.02
            ]
            seed = taken.get(key, max((int(run.get("seed", 0)) + 1 for run in same), default=0))
            taken[key] = seed + 1
            out.append({"model.width": width, "budget.tokens": round(tokens), "seed": seed})
        return out


def _speller(options: PlanOptions, spend: float) -> Callable[[float], str]:
    """Writes FLOPs in the unit of the budget as well."""
    given, unit = options.gpu_hours or options.euros, "GPU-hours" if options.gpu_hours else "€"
    if not given:
        return "{:.3g} FLOP".format
    return lambda flops: f"{flops:.3g} FLOP ({flops / spend * given:.3g} {unit})"


def propose(options: PlanOptions, settings: Any) -> Proposal:
    """Choose the runs within a budget that narrow a goal most.

    Args:
        options: of the command.
        settings: nested mapping of ``--set``, for every point.

    Raises:
        PlanError: an option that cannot be read, or a budget that allows no run.
        HardwareError: an unknown GPU, or no rate for it.
        FitError: the law's runs do not say how well it is known.
    """
    family = Family(
        options.layers,
        options.heads,
        options.vocab,
        options.tokens_per_molecule,
        precision=options.precision or ("bf16-mixed" if options.gpu else "32"),
    )
    family = with_settings(family, settings)
    if options.law and options.guess:
        raise PlanError("Give a law.json or --law, not both.")
    source = read_guess(options.guess) if options.guess else read_law(options.law)
    family = like_runs(replace(family, convention=source.convention), source)
    rate = training_rate(
        options.gpu, measured=options.measured_flops, mfu=options.mfu, precision=family.precision
    )
    hardware = Hardware(options.gpu, options.gpus, rate, options.euros_per_gpu_hour)
    spend, budget = read_budget(options.budget, options.gpu_hours, options.euros, hardware.price, rate)
    spans = source.measured.spans
    allowed = candidates(
        family, spend, ratio=read_ratio(options.ratio), max_tokens=options.max_tokens or math.inf,
        points=options.points, spell=_speller(options, spend),
        near=Near(spans["N"], spans["D"], spans["C"], options.reach, source.where) if spans else None,
    )  # fmt: skip
    known = source.law or guessed(source.theta, allowed.inputs, options.noise)
    goal, aim = read_goal(options.goal, options.target, known, family, spend)
    design = choose_points(
        known, allowed.inputs, allowed.flops, goal, budget=spend, points=options.points, repeats=REPEATS
    )
    widths = [int(allowed.width[number]) for number in design.chosen]
    return Proposal(source, known, family, hardware, spend, budget, design, widths, aim)
