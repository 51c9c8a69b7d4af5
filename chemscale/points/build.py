"""From a composed configuration to the point that it describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from chemscale.config.check import check_keys
from chemscale.models.potentials import CONFIGS, is_potential
from chemscale.points.base import ConfigurationError, Point, choose_budget
from chemscale.training.trackers import check_trackers


def read_points(configs: Sequence[DictConfig], overrides: Sequence[str] = ()) -> list[Point]:
    """The points of a sweep; nothing is prepared for the first before the keys of the last are checked.

    Raises:
        UnknownKeyError, or as ``read_point``.
    """
    for cfg in configs:
        check_keys(cfg)
    return [_build(cfg, overrides) for cfg in configs]


def read_point(cfg: DictConfig, overrides: Sequence[str] = (), *, recorded: bool = False) -> Point:
    """Check a configuration and build what it describes; prepares the data where they are missing.

    Args:
        overrides: the command line, whose budget unit wins over one from a file.
        recorded: it stands in a record: what it was composed with may have had other keys.

    Raises:
        UnknownKeyError: a key that nothing reads.
        ConfigurationError, or the ValueError of the room that refuses its part.
    """
    if not recorded:
        check_keys(cfg)
    return _build(cfg, overrides, recorded=recorded)


def _build(cfg: DictConfig, overrides: Sequence[str], *, recorded: bool = False) -> Point:
    """The point of a configuration whose keys are known."""
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    config.pop("site", None)  # of the launcher alone; records and W&B need not know a cluster's set-up
    if not recorded:  # what it was tracked by may be absent from this machine
        check_trackers(config)
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
