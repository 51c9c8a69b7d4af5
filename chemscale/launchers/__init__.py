"""Handing points to ranks: processes of this machine, or SLURM jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chemscale.launchers.section import planned_world
from chemscale.records import PointPlan


def run_one(plan: PointPlan, config: dict[str, Any], overrides: Sequence[str]) -> bool:
    """Run a single point, no sweep, on the ranks that its configuration asks for.

    Args:
        plan: what ``plan_points`` made of it.
        config: the resolved configuration, plain dictionaries.

    Returns:
        Whether the point has ended; False where a job was queued that nobody waits for.

    Raises:
        LaunchError: what cannot be launched.
        SystemExit: status 1, the point failed.
        KeyboardInterrupt: a person stopped it; it saved itself.
    """
    from chemscale.launchers.run import run_points
    from chemscale.launchers.settings import PointJob

    job = PointJob(plan, config, list(overrides))
    return run_points([job], [job], finish=None)


def in_process(config: dict[str, Any]) -> bool:
    """Whether a point runs in the command's own process: one rank, one point at a time, on this machine."""
    launcher = config["launcher"]
    alone = planned_world(config) == 1 and int(launcher.get("parallel") or 1) == 1
    return launcher["name"] == "local" and alone
