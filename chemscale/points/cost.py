"""What a sweep will cost, shown before it is spent, and what came of it."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from chemscale.hardware.accelerators import HardwareError, accelerator, accelerator_named, training_rate
from chemscale.hardware.communication import Cluster, collectives, step
from chemscale.launchers.section import planned_world
from chemscale.points.base import Point, has_gpu
from chemscale.points.build import read_points
from chemscale.points.placement import elsewhere
from chemscale.points.tables import show_plan
from chemscale.records import PointPlan
from chemscale.sweeps.sweeper import is_done

UNKNOWN = math.nan
"""Seconds of a point of which nothing says on what it will run."""


def estimate(point: Point) -> PointPlan:
    """Count a point's parameters, data and FLOPs; estimate its hours on the hardware that it will run on."""
    flops = point.amount("flops")
    return PointPlan(
        identity=point.identity,
        directory=point.directory,
        name=point.name,
        parameters=point.parameter_counts()["matrices"],
        amount=point.amount(point.epoch.axis),
        flops=flops,
        seconds=0.0 if is_done(point.directory) else seconds_of(point, flops),
        memory_gib=point.memory_gib(),
        steps=point.steps,
    )


def trained_by_others(config: dict[str, Any]) -> bool:
    """Whether a point of this machine is trained by processes other than this one."""
    return planned_world(config) > 1 or int(config["launcher"].get("parallel") or 1) > 1


def seconds_of(point: Point, flops: float) -> float:
    """Seconds of all steps: from a trial step here, or for a job from the table of accelerators.

    A login node says nothing of the nodes behind it: without ``launcher.gpu`` the time of a job is unknown.
    """
    world = planned_world(point.config)
    gpu = point.config["launcher"].get("gpu")
    here = not elsewhere(point.config)
    if here and has_gpu(point.config) and trained_by_others(point.config):
        # A trial step would keep a part of the GPU that its ranks have been promised.
        gpu = accelerator_named(torch.cuda.get_device_name(0))
    elif here:
        rate = point.flops_per_second()
        return flops / (rate * (world if has_gpu(point.config) else spread(world, point.config)))
    try:
        rate_of_table = training_rate(gpu, precision=point.precision)
        if rate_of_table is None:
            return UNKNOWN
        return flops / (rate_of_table.flops * world * efficiency(point, gpu, flops / point.steps))
    except HardwareError:
        return UNKNOWN


def spread(world: int, config: dict[str, Any]) -> float:
    """How many times faster CPU ranks are than the one whose step was tried: they share this machine."""
    cores = len(os.sched_getaffinity(0))
    threads = config["trainer"]["threads"] or int(os.environ.get("OMP_NUM_THREADS") or cores)
    return max(1.0, min(world, cores / threads))


def efficiency(point: Point, gpu: str, flops_per_step: float) -> float:
    """Share of the time in which the GPUs of a point compute (``chemscale.hardware.communication``)."""
    known, world = accelerator(gpu), planned_world(point.config)
    if world == 1 or not known.link or known.mfu is None:
        return 1.0
    numbers = float(point.parameter_counts()["all"])
    units = int(point.config["model"]["layers"]) + 1
    parts = collectives(point.strategy, numbers, units, accumulate=point.config["batch"]["accumulate"])
    cluster = replace(Cluster.of(known, gpu), per_node=int(point.config["launcher"]["gpus_per_node"]))
    return step(cluster, world, flops_per_step / world, known.mfu, parts).efficiency


def share_trunks(points: Sequence[Point], plans: Sequence[PointPlan]) -> list[PointPlan]:
    """Order and time of points that begin where the stable phase of a shorter one ended."""
    shared = list(plans)
    reached: dict[Path, int] = {}
    trunks = [(point.trunk, number) for number, point in enumerate(points) if point.trunk is not None]
    for trunk, number in sorted(trunks, key=lambda pair: pair[0].end):
        begun = reached.get(trunk.folder, trunk.newest_step())
        left = 1 - begun / points[number].steps
        shared[number] = replace(plans[number], order=trunk.end, seconds=left * plans[number].seconds)
        reached[trunk.folder] = trunk.end
    return shared


def plan_points(configs: Sequence[DictConfig], overrides: Sequence[str] | None = None) -> list[PointPlan]:
    """Check every point, estimate what it costs on this machine, and show the table."""
    named = list(overrides) if overrides is not None else command_line_overrides()
    points = read_points(configs, named)
    plans = share_trunks(points, [estimate(point) for point in points])
    show_plan(points, plans)
    return plans


def command_line_overrides() -> list[str]:
    """The overrides that the user typed, for what has to know whether a key was named."""
    return [argument for argument in sys.argv[1:] if "=" in argument and not argument.startswith("-")]
