"""What a plan is made from: a law with the runs behind it, or a guess; a budget; and a goal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from chemscale.hardware.accelerators import Rate
from chemscale.laws.allocation import design
from chemscale.laws.allocation.design import Goal
from chemscale.laws.allocation.known import GUESSED, KnownLaw
from chemscale.laws.joint.surfaces import Additive
from chemscale.planning.candidates import Family, PlanError
from chemscale.planning.law_file import GUESS, Source


def read_guess(text: str) -> Source:
    """Read a guess: ``E=…,A=…,B=…,alpha=…,beta=…``, all above 0.

    Raises:
        PlanError: a name too many, too few, or a value that is not above 0.
    """
    pairs = dict(part.strip().partition("=")[::2] for part in text.split(","))
    if set(pairs) != set(GUESS):
        raise PlanError(f"--law {text}: give each of {', '.join(f'{key}=…' for key in GUESS)} once.")
    theta = [positive(f"--law {key}", pairs[key]) for key in GUESS]
    return Source(None, theta, "a guess")


def read_budget(
    flops: float | None,
    gpu_hours: float | None,
    euros: float | None,
    price: float | None,
    rate: Rate | None,
) -> tuple[float, str]:
    """FLOPs to spend, and the budget in words.

    Args:
        flops: the budget, or
        gpu_hours: the budget, or
        euros: the budget.
        price: euros of a GPU-hour.
        rate: FLOP/s of a GPU.

    Raises:
        PlanError: none or several budgets, no rate, or no price.
    """
    given = {"--budget": flops, "--gpu-hours": gpu_hours, "--euros": euros}
    named = [option for option, value in given.items() if value is not None]
    if len(named) != 1:
        raise PlanError(
            f"Give one budget: --budget FLOPS, --gpu-hours or --euros; got {' and '.join(named) or 'none'}."
        )
    for option, value in {**given, "--euros-per-gpu-hour": price}.items():
        if value is not None:
            positive(option, value)
    if flops is not None:
        return flops, f"Budget: {flops:.3g} FLOP."
    if rate is None:
        raise PlanError(f"{named[0]} needs a rate: --gpu NAME, or --measured-flops (FLOP/s of one GPU).")
    if euros is not None:
        if price is None:
            raise PlanError("--euros needs --euros-per-gpu-hour: prices differ by place and month.")
        gpu_hours = euros / price
    assert gpu_hours is not None
    spend = gpu_hours * 3600 * rate.flops
    paid = f"{euros:,.2f} € = " if euros is not None else ""
    return spend, f"Budget: {paid}{gpu_hours:,.3g} GPU-hours = {spend:.3g} FLOP."


def read_goal(
    goal: str, target: str | None, known: KnownLaw, family: Family, spend: float
) -> tuple[Goal, dict[str, float]]:
    """What is to be narrowed, and the N, D or C of the loss that it is about, as far as it names them.

    Args:
        goal: loss, exponent or allocation.
        target: where the loss matters, ``C=…`` or ``N=…,D=…``; None for ten budgets.
        known: the law.
        family: that counts FLOPs.
        spend: FLOPs of the budget.

    Raises:
        PlanError: an unknown goal, or a target that cannot be read.
    """
    if goal == "exponent":
        return design.exponents(known.surface), {}
    if goal == "allocation":
        return design.allocation_exponent(known.surface), {}
    if goal != "loss":
        raise PlanError(f"--goal {goal}: choose loss, exponent or allocation.")
    pairs = dict(part.strip().partition("=")[::2] for part in target.split(",")) if target else {}
    if target is None or set(pairs) == {"C"}:
        compute = 10 * spend if target is None else positive("--target C", pairs["C"])
        return design.loss_of_budget(known.surface, compute, family.flops_of), {"C": compute}
    if set(pairs) == {"N", "D"}:
        n, d = (positive(f"--target {key}", pairs[key]) for key in "ND")
        chosen = design.loss_at(known.surface, np.array([[n, d]]), (f"loss at N = {n:.3g}, D = {d:.3g}",))
        return chosen, {"N": n, "D": d, "C": float(family.flops_of(np.array(n), np.array(d)))}
    raise PlanError(f"--target {target}: write C=1e20 (its best run), or N=1e8,D=1e10.")


def guess_text() -> str:
    """How uncertain a guess is taken to be."""
    factor, floor = math.exp(GUESSED["terms"]), GUESSED["floor"]
    return (
        f"one standard deviation taken as {GUESSED['exponents']} of α and β, {floor:.0%} of E, and a factor "
        f"of {factor:.2g} of both terms in the middle of what the budget allows"
    )


def guessed(theta: Sequence[float], inputs: np.ndarray, noise: float) -> KnownLaw:
    """The law of a guess, as uncertain as ``GUESSED``.

    Args:
        theta: E, A, B, α and β.
        inputs: (m, 2) N and D of the candidates, in whose middle the terms are guessed.
        noise: spread of a run's log loss.
    """
    middle = np.exp(np.log(inputs).mean(0))
    return KnownLaw.of_guess(Additive(), np.array(theta), middle, positive("--noise", noise))


def with_settings(family: Family, values: Any) -> Family:
    """The family with the settings of ``--set``, which go into the sweep file too.

    Args:
        family: without them.
        values: nested mapping.

    Raises:
        PlanError: a precision that a run does not know, or a number that is not above 0.
    """
    keys = {"layers": "model", "heads": "model", "tokens": "batch", "accumulate": "batch"}
    found: dict[str, Any] = {}
    for key, group in keys.items():
        value = OmegaConf.select(values, f"{group}.{key}")
        if value is not None:
            field = "batch_tokens" if key == "tokens" else key
            found[field] = int(positive(f"--set {group}.{key}", value))
    given = OmegaConf.select(values, "precision") or OmegaConf.select(values, "trainer.precision")
    precision = str(given or family.precision)
    if precision not in ("32", "tf32", "bf16-mixed", "16-mixed"):
        raise PlanError(f"--precision {precision}: choose 32, tf32, bf16-mixed or 16-mixed.")
    return replace(family, precision=precision, **found)


def like_runs(family: Family, source: Source) -> Family:
    """The family with the head and attention that the FLOPs of the law's runs imply, if they do."""
    runs = [run for run in source.runs if run.get("flops")]
    if family.convention != "matrices" or not runs:
        return family
    return family.like_runs(
        *(np.array([run[key] for run in runs]) for key in (source.axis, "tokens", "flops"))
    )


def read_ratio(text: str) -> tuple[float, float]:
    """Least and largest tokens a parameter, from ``1:1000``.

    Raises:
        PlanError: not two rising numbers above 0.
    """
    low, _, high = text.partition(":")
    least, largest = positive("--ratio", low), positive("--ratio", high)
    if least >= largest:
        raise PlanError(f"--ratio {text}: the least comes first, as in 1:1000.")
    return least, largest


def positive(option: str, value: str | float) -> float:
    """A number above 0.

    Args:
        option: for the message.
        value: as it was given.

    Raises:
        PlanError: anything else.
    """
    try:
        number = float(value)
    except ValueError:
        raise PlanError(f"{option}: {value!r} is not a number.") from None
    if not (math.isfinite(number) and number > 0):
        raise PlanError(f"{option}: {value} must be above 0.")
    return number
