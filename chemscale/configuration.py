"""From a composed configuration to the point that it describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from chemscale.models.potentials import CONFIGS, is_potential
from chemscale.points.base import ConfigurationError, Point, choose_budget


def read_point(cfg: DictConfig, overrides: Sequence[str] = ()) -> Point:
    """Check a configuration and build what it describes; prepares the data where they are missing.

    Args:
        overrides: the command line, whose budget unit wins over one from a file.

    Raises:
        ConfigurationError, or the ValueError of the room that refuses its part.
    """
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    config.pop("site", None)  # of the launcher alone; records and W&B need not know a cluster's set-up
    config["trainer"]["precision"] = str(config["trainer"]["precision"])
    config["budget"] = choose_budget(config["budget"], overrides)
    family = config["model"].get("family")
    if family == "chemgpt":
        from chemscale.points.language import LanguagePoint

        return LanguagePoint.read(config)
    if is_potential(family):
        from chemscale.points.potential import PotentialPoint

        return PotentialPoint.read(config)
    raise ConfigurationError(f"model.family={family!r}: choose one of chemgpt, {', '.join(CONFIGS)}.")
