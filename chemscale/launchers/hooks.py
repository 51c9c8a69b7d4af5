"""The only functions that are reached by name: what a sweep calls above its own layer.

Sweeps and launchers know nothing of models or laws; what plans, trains and ends is named here, once.
Names also travel in Hydra's configuration of a sweeper and in ledgers, where a user may put one of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

PLAN_POINTS = "chemscale.points.cost.plan_points"
RUN_RANK = "chemscale.points.run.run_rank"
PREPARE = "chemscale.points.preparation.prepare"
FINISH_SWEEP = "chemscale.analysis.finish.finish_sweep"
PLAN_SETTINGS = "chemscale.analysis.early_stopping_sweep.plan_settings"
CHOOSE_SETTINGS = "chemscale.analysis.early_stopping_sweep.choose"
FINISH_SETTINGS = "chemscale.analysis.early_stopping_sweep.finish"
CHOOSE_FRAMES = "chemscale.points.uncertainty.rounds.choose_frames"
FINISH_ROUNDS = "chemscale.analysis.active_learning.finish"


def resolve(name: str) -> Callable[..., Any]:
    """The function of a dotted name.

    Of the module itself, not of the package's attribute: ``chemscale.train`` is a function there.

    Args:
        name: ``package.module.function``.

    Raises:
        ValueError: nothing of that name can be imported.
    """
    module, _, function = name.rpartition(".")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{name}: no such function ({error}).") from None
