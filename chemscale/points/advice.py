"""Sentences under the plan: how sure its times are, and which precision a GPU was made for."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from chemscale.hardware.accelerators import ACCELERATORS, accelerator_named
from chemscale.points.base import Point

PRECISION_KEYS = ("precision=", "+precision=", "++precision=", "trainer.precision=")


def describe_precision(points: Sequence[Point], typed: Sequence[str]) -> list[str]:
    """What ``precision=32`` costs on a GPU, where nobody asked for it; and bf16 where there is none.

    Args:
        points: of the sweep.
        typed: arguments that they were composed from.
    """
    found = []
    if any(p.precision == "bf16-mixed" and (g := gpu_of(p)) and not ACCELERATORS[g].bf16 for p in points):
        found.append("This GPU computes bf16 without its matrix units: precision=16-mixed has them.")
    if any(word.startswith(PRECISION_KEYS) for word in typed):
        return found
    for forces in (False, True):
        concerned = [
            point
            for point in points
            if point.placement.has_gpu and point.precision == "32" and point.settings.forces == forces
        ]
        if not concerned:
            continue
        better = "tf32" if forces else "bf16-mixed"
        why = (
            "it is tried on the forces before training"
            if forces
            else "weights and optimizer stay float32, and the certificate holds for it"
        )
        gpu = gpu_of(concerned[0])
        rates = ""
        if gpu is not None:
            known = ACCELERATORS[gpu]
            rates = (
                f" ({gpu}: at best {known.float32 / 1e12:,.0f} TFLOP/s, {known.peak_of(better) / 1e12:,.0f} "
                f"with {better})"
            )
        found.append(f"precision=32 leaves a GPU's matrix units idle{rates}: try precision={better}; {why}.")
    return found


def gpu_of(point: Point) -> str | None:
    """Name in the table of the GPU that a point will train on; None where it is not known."""
    if point.placement.elsewhere:
        gpu = point.placement.launcher.gpu
        return gpu if gpu in ACCELERATORS else None
    return accelerator_named(torch.cuda.get_device_name(0)) if point.placement.has_gpu else None


def describe_times(points: Sequence[Point]) -> list[str]:
    """What the times of jobs are: no measurement."""
    named = sorted({str(point.placement.launcher.gpu) for point in points if point.placement.elsewhere})
    named = [gpu for gpu in named if gpu in ACCELERATORS]
    if not named:
        return []
    return [
        f"Times on {', '.join(named)} are estimates, from operations launched, bytes moved and FLOPs of an "
        "eager step, not measured: perhaps half or twice. A run prints its own rate."
    ]
