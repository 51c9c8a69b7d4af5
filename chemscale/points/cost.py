"""Planning the points of a sweep: checked, costed and shown before anything is spent."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from chemscale.hardware.accelerators import ACCELERATORS, Accelerator
from chemscale.hardware.communication import Cluster, collectives, step
from chemscale.hardware.memory import GIB
from chemscale.hardware.step_time import step_time
from chemscale.launchers.settings import PointJob
from chemscale.launchers.slurm.resources import Site
from chemscale.points.base import Point
from chemscale.points.build import build_point, resolve_config
from chemscale.points.estimates.advice import describe_precision, describe_times, gpu_of
from chemscale.points.estimates.tables import show_plan, wide_console
from chemscale.points.mirroring import bring_points, warn_of_shared_copies
from chemscale.points.run import train_point
from chemscale.points.shared_data import SharedData
from chemscale.points.sweep_folder import describe_longer_budgets, refuse_unwritable
from chemscale.records import PointPlan, is_done

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
        memory_gib=point.memory().total / GIB,
        steps=point.steps,
    )


def seconds_of(point: Point, flops: float) -> float:
    """Seconds of all steps: from a trial step here, or for a job estimated (``hardware.step_time``).

    A login node says nothing of the nodes behind it: without ``launcher.gpu`` the time of a job is unknown.
    """
    place = point.placement
    # A trial step would keep a part of the GPU that the ranks of other processes have been promised.
    if not (place.elsewhere or (place.has_gpu and place.by_other_processes)):
        rate = point.flops_per_second()
        return flops / (rate * (place.world if place.has_gpu else cpu_speed_up(point)))
    gpu = gpu_of(point)
    return UNKNOWN if gpu is None else point.steps * estimated_step(point, ACCELERATORS[gpu])


def cpu_speed_up(point: Point) -> float:
    """How many times faster CPU ranks are than the one whose step was tried: they share this machine."""
    cores = len(os.sched_getaffinity(0))
    threads = point.settings.trainer.threads or int(os.environ.get("OMP_NUM_THREADS") or cores)
    return max(1.0, min(point.placement.world, cores / threads))


def estimated_step(point: Point, gpu: Accelerator) -> float:
    """Seconds of an optimizer step of a point on GPUs of the table, with what its ranks send each other.

    Args:
        point: whose step it is.
        gpu: of each rank.
    """
    work, accumulate = point.work(), point.settings.micro_batching.accumulate
    launcher, world = point.placement.launcher, point.placement.world
    alone = step_time(gpu, work, point.precision, micro_batches=accumulate, per_gpu=launcher.per_gpu).seconds
    if world == 1 or not gpu.link:
        return alone
    numbers = float(point.parameter_counts()["all"])
    units = int(point.config["model"]["layers"]) + 1
    parts = collectives(point.strategy, numbers, units, accumulate=accumulate)
    cluster = replace(Cluster.of(gpu, ""), per_node=launcher.gpus_per_node)
    flops = accumulate * work.flops
    return step(cluster, world, flops, flops / (alone * cluster.peak), parts).seconds


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


def plan_points(
    configs: Sequence[DictConfig], overrides: Sequence[Sequence[str]], typed: Sequence[str]
) -> list[PointJob]:
    """Check every point, estimate what it costs on this machine, and show the table.

    Args:
        configs: as Hydra composed them.
        overrides: what each was composed from.
        typed: the command line.

    Returns:
        The points, each ready to be trained in this process or handed to ranks as data.

    Raises:
        UnknownKeyError: a key that nothing reads; nothing is prepared for the first point before the keys of
            the last are checked.
        ConfigurationError: what cannot be run, by its key.
    """
    shared = SharedData()
    resolved = [resolve_config(cfg, typed, own) for cfg, own in zip(configs, overrides, strict=True)]
    for config in resolved:
        if config["launcher"].get("name") == "slurm":
            Site.of(config)  # refused before data are prepared
    refuse_unwritable(resolved)
    warn_of_shared_copies(resolved)
    points = [build_point(config, shared) for config in resolved]
    bring_points(points)
    plans = share_trunks(points, [estimate(point) for point in points])
    show_plan(points, plans)
    words = [*typed, *(word for own in overrides for word in own)]
    for line in (*describe_times(points), *describe_precision(points, words)):
        wide_console().print(line, highlight=False, markup=False, soft_wrap=True)
    if text := describe_longer_budgets(points):
        wide_console().print(text, highlight=False, markup=False, soft_wrap=True)
    return [
        PointJob(plan, config, list(own), partial(train_planned, point))
        for point, plan, config, own in zip(points, plans, resolved, overrides, strict=True)
    ]


def train_planned(point: Point, job: PointJob) -> None:
    """Train a planned point in this process; the job may pause it earlier than it was planned."""
    train_point(point.paused_at(job.config["pause"]), job.overrides)
