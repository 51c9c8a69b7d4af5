"""The Hydra application behind ``chemscale train`` and ``chemscale launch submit``.

What trains is imported when a point is planned: ``--help`` and ``--cfg`` need none of it.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from chemscale.cli.app import one_paragraph
from chemscale.common.exit_status import FAILED
from chemscale.common.logs import show_logs
from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.records import RECORD_NAME, is_done

if TYPE_CHECKING:
    from chemscale.launchers.settings import PointJob

log = logging.getLogger(__name__)


@hydra.main(config_path=str(CONFIG_DIRECTORY), config_name="train", version_base=None)
def hydra_main(cfg: DictConfig) -> None:
    """Train one point; a sweep reaches this only through a launcher or sweeper that is not ours."""
    from chemscale.points.build import read_point
    from chemscale.points.cost import plan_points
    from chemscale.points.estimates.tables import describe_without_effect
    from chemscale.points.run import train_point

    hydra_config = HydraConfig.get()
    overrides = list(hydra_config.overrides.task)
    if hydra_config.mode is RunMode.MULTIRUN:
        point = read_point(cfg, overrides)
        for line in describe_without_effect([point]):
            log.warning("%s", line)
        train_point(point, overrides)
        return
    (job,) = plan_points([cfg], [overrides], overrides)
    run_single(job)


def run_single(job: PointJob) -> None:
    """Run a point that is no part of a sweep, and see that its store has it, whatever its end.

    Args:
        job: the point.

    Raises:
        SystemExit: status 1, it did not end well, or its store has not all of it.
    """
    from chemscale.launchers.run import run_points
    from chemscale.points.mirroring import end_mirrored

    if is_done(job.plan.directory):
        log.info("%s is done already: %s", job.plan.name, job.plan.directory / RECORD_NAME)
    elif job.launcher.name == "local" and job.launcher.world == 1 and job.train is not None:
        train_alone(job)
    else:
        try:
            run_points([job], [job], finish=None)
        except SystemExit:  # a rank that was killed has told its store nothing
            end_mirrored([job.plan.directory])
            raise
    end_mirrored([job.plan.directory])


def train_alone(job: PointJob) -> None:
    """Train a single point in this process; leaves with status 1 where the run did not end well.

    What a run cannot help is recorded and logged where it happens: no traceback follows.
    """
    assert job.train is not None
    try:
        job.train(job)
    except RuntimeError as error:
        if os.environ.get("CHEMSCALE_DEBUG") or not _was_told(error):
            raise
        sys.exit(FAILED)


def main() -> None:
    """Run the command line; errors are one paragraph.

    A point that failed in a sweep of a sweeper that is not ours was logged where it happened.
    """
    show_logs()
    with one_paragraph():
        try:
            hydra_main()
        except RuntimeError as error:
            if os.environ.get("CHEMSCALE_DEBUG") or not _was_told(error):
                raise
            sys.exit(FAILED)


def _was_told(error: RuntimeError) -> bool:
    from chemscale.training.checkpointing.checkpoints import CheckpointError
    from chemscale.training.health import DivergedError

    return isinstance(error, DivergedError | CheckpointError)
