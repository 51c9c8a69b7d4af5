"""Hydra finds plugins only in this namespace package; the sweeper itself lives in chemscale.sweeps."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from chemscale.sweeps.sweeper import PointSweeper


class ChemscaleSweeper(PointSweeper):
    """``override /hydra/sweeper: chemscale``"""


@dataclass
class ChemscaleSweeperConf:
    _target_: str = "hydra_plugins.chemscale_sweeper.ChemscaleSweeper"
    axes: dict[str, Any] = field(default_factory=dict)
    points: list[Any] = field(default_factory=list)
    plan: str = "chemscale.train.plan_points"
    finish: str = "chemscale.train.finish_sweep"


ConfigStore.instance().store(
    group="hydra/sweeper", name="chemscale", node=ChemscaleSweeperConf, provider="chemscale"
)
