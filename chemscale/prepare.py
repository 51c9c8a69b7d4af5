"""Molecules to a corpus, structures to a store: ``python -m chemscale.prepare data=… data.path=FILE``."""

from __future__ import annotations

import sys
from typing import Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from chemscale.cli.app import one_paragraph
from chemscale.common.logs import show_logs
from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.config.check import check_keys
from chemscale.launchers.section import preparation_launcher
from chemscale.points.preparation import check_preparation, is_molecules, prepare


@hydra.main(config_path=str(CONFIG_DIRECTORY), config_name="prepare", version_base=None)
def hydra_main(cfg: DictConfig) -> None:
    check_keys(cfg, "prepare")
    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    config = {name: part for name, part in cast(dict[str, Any], plain).items() if name != "hydra"}
    launcher = preparation_launcher(config, can_share=is_molecules(config))
    if launcher.name == "local":
        ended_well = prepare(config)
    else:
        from chemscale.launchers.slurm.preparation import queue_preparation, wait_for_preparation

        check_preparation(config)
        jobs = queue_preparation(config, launcher, shared=is_molecules(config))
        ended_well = not launcher.wait or wait_for_preparation(jobs)
    if not ended_well:
        sys.exit(1)


def main() -> None:
    show_logs()
    with one_paragraph():
        hydra_main()


if __name__ == "__main__":
    main()
