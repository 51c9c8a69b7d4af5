"""Train one point, or a sweep of points and fit its law: ``python -m chemscale.train --help``."""

from __future__ import annotations

import logging
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from chemscale.analysis.finish import finish_sweep
from chemscale.cli.app import one_paragraph
from chemscale.common.logs import show_logs
from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.launchers import run_one
from chemscale.launchers.section import planned_world
from chemscale.points.cost import plan_points
from chemscale.points.run import train_point
from chemscale.records import RECORD_NAME
from chemscale.sweeps.sweeper import is_done

# Written in ledgers of version 0.1.0, which `chemscale launch requeue-failed` may continue.
__all__ = ["finish_sweep", "main"]

log = logging.getLogger("chemscale.train")  # run with -m, __name__ is __main__


@hydra.main(config_path=str(CONFIG_DIRECTORY), config_name="train", version_base=None)
def hydra_main(cfg: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    overrides = list(hydra_config.overrides.task)
    if hydra_config.mode is RunMode.MULTIRUN:
        train_point(cfg, overrides)
        return
    plan = plan_points([cfg], overrides)[0]
    if is_done(plan.directory):
        log.info("%s is done already: %s", plan.name, plan.directory / RECORD_NAME)
        return
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    if config["launcher"]["name"] != "local" or planned_world(config) > 1:
        run_one(plan, config, overrides)
        return
    train_point(cfg, overrides)


def main() -> None:
    show_logs()
    with one_paragraph():
        hydra_main()


if __name__ == "__main__":
    main()
