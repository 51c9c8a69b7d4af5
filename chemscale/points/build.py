"""From a composed configuration to the point that it describes: resolved, checked and built once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from chemscale.common.sections import ConfigurationError
from chemscale.config.check import check_keys
from chemscale.points.base import Point
from chemscale.points.parents.beginning import stated_shape
from chemscale.points.sections import GeneralSettings
from chemscale.points.shared_data import SharedData
from chemscale.points.uncertainty.chosen import stated_selection
from chemscale.training.budget import Budget
from chemscale.training.distributed.ranks import inside_job
from chemscale.training.settings import TrainerSettings
from chemscale.training.trackers import check_trackers

SECTIONS = ("model", "data", "budget", "batch", "optimizer", "schedule", "trainer", "strategy", "launcher")
"""Parts that every point reads."""


def resolve_config(
    cfg: DictConfig, typed: Sequence[str] = (), own: Sequence[str] = (), *, recorded: bool = False
) -> dict[str, Any]:
    """The plain dictionaries of a composed configuration, with one unit of budget; nothing is built.

    Args:
        cfg: as Hydra composed it, without Hydra's own part or with it.
        typed: the command line, whose budget unit wins over one from a file.
        own: overrides of the point, in a sweep.
        recorded: it stands in a record: what it was composed with may have had other keys.

    Raises:
        UnknownKeyError: a key that nothing reads.
        ConfigurationError: a budget that is no number.
        TrackerError: a logger that cannot be had.
    """
    if not recorded:
        check_keys(cfg)
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    if not recorded:  # what it was tracked by may be absent from this machine
        check_trackers(config)
    for section in SECTIONS:
        if config.get(section) is None:
            raise ConfigurationError(f"{section} is missing: it can be changed, not taken out.")
        if not isinstance(config[section], dict):
            raise ConfigurationError(
                f"{section}={config[section]}: it is a section, set its keys one by one."
            )
    config["trainer"]["precision"] = str(config["trainer"].get("precision", TrainerSettings.precision))
    config["trainer"].setdefault("accelerator", TrainerSettings.accelerator)
    for key in ("runs", "corpora", "structures", "pause"):
        config.setdefault(key, getattr(GeneralSettings, key))
    if not recorded:
        refuse_missing_gpu(config)
    config["budget"] = choose_budget(config["budget"], typed)
    config["model"] = stated_shape(config, [*typed, *own])
    config["data"] = stated_selection(config["data"])
    if not recorded:
        Budget.from_mapping(config["budget"])  # refused before data are prepared
    return config


def build_point(config: Mapping[str, Any], shared: SharedData | None = None) -> Point:
    """The point that a resolved configuration describes; prepares the data where they are missing.

    Args:
        config: of ``resolve_config``; it is not changed.
        shared: data that points of one command have in common.

    Raises:
        ConfigurationError: what cannot be run, by its key.
        ValueError: what the package that reads a section refuses.
    """
    shared = shared or SharedData()
    # The site is of the launcher alone; records and W&B need not know a cluster's set-up.
    own = {key: value for key, value in config.items() if key != "site"}
    family = own["model"].get("family")
    if family == "chemgpt":
        from chemscale.points.language import LanguagePoint

        return LanguagePoint.read(own, shared)
    from chemscale.models.potentials import (
        CONFIGS,
        is_potential,
    )  # seconds that a language model need not wait

    if isinstance(family, str) and is_potential(family):
        from chemscale.points.potential import PotentialPoint

        return PotentialPoint.read(own, shared)
    raise ConfigurationError(f"model.family={family!r}: choose one of chemgpt, {', '.join(CONFIGS)}.")


def read_point(cfg: DictConfig, typed: Sequence[str] = (), *, recorded: bool = False) -> Point:
    """Check a composed configuration and build what it describes; see ``resolve_config``, ``build_point``."""
    return build_point(resolve_config(cfg, typed, recorded=recorded))


def refuse_missing_gpu(config: Mapping[str, Any]) -> None:
    """Refuse ``trainer.accelerator=cuda`` for a point that trains on a machine without a GPU.

    Raises:
        ConfigurationError: torch sees none here, and no job is to find one elsewhere.
    """
    here = config["launcher"].get("name") == "local" or inside_job()
    if config["trainer"]["accelerator"] == "cuda" and here and not torch.cuda.is_available():
        raise ConfigurationError(
            "trainer.accelerator=cuda: torch sees no GPU on this machine. auto takes one where there is one."
        )


def choose_budget(budget: Mapping[str, Any], typed: Sequence[str]) -> dict[str, float | None]:
    """The budget with one unit: one that is named on the command line wins, the others are set aside.

    Raises:
        ConfigurationError: an amount that is no number.
    """
    for unit, amount in budget.items():
        if amount is not None and (isinstance(amount, bool) or not isinstance(amount, int | float)):
            raise ConfigurationError(f"budget.{unit}={amount}: give a number above 0, or null.")
    named = [o.split("=", 1)[0].split(".", 1)[1] for o in typed if o.lstrip("+").startswith("budget.")]
    set_here = [unit for unit in named if budget.get(unit) is not None]
    if set_here:
        return {unit: (value if unit in set_here else None) for unit, value in budget.items()}
    return dict(budget)
