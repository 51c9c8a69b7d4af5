"""Hydra finds plugins only in this namespace package; the sweepers themselves live in chemscale.sweeps."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from chemscale.launchers import hooks
from chemscale.sweeps.early_stopping_sweeper import EstimatingSweeper
from chemscale.sweeps.sweeper import PointSweeper


class ChemscaleSweeper(PointSweeper):
    """``override /hydra/sweeper: chemscale``"""


class ChemscaleEstimatingSweeper(EstimatingSweeper):
    """``override /hydra/sweeper: chemscale_tpe``"""


@dataclass
class ChemscaleSweeperConf:
    _target_: str = "hydra_plugins.chemscale_sweeper.ChemscaleSweeper"
    axes: dict[str, Any] = field(
        default_factory=dict,
        metadata={"meaning": "keys and the lists of their values; the sweep is their product"},
    )
    points: list[Any] = field(
        default_factory=list,
        metadata={"meaning": "values that go together, a mapping a point; each is combined with the axes"},
    )
    plan: str = hooks.PLAN_POINTS
    finish: str = hooks.FINISH_SWEEP


ConfigStore.instance().store(
    group="hydra/sweeper", name="chemscale", node=ChemscaleSweeperConf, provider="chemscale"
)


@dataclass
class ChemscaleEstimatingSweeperConf(ChemscaleSweeperConf):
    _target_: str = "hydra_plugins.chemscale_sweeper.ChemscaleEstimatingSweeper"
    plan: str = hooks.PLAN_SETTINGS
    choose: str = hooks.CHOOSE_SETTINGS
    finish: str = hooks.FINISH_SETTINGS
    # Of chemscale.laws.early_stopping.rule.Rule.
    rule: dict[str, Any] = field(
        default_factory=lambda: {
            "share": 0.2,
            "keep": 3,
            "controls": 2,
            "risk": 0.05,
            "estimator": "tse",
        },
        metadata={
            "meaning": {
                "share": "part of its budget that every point is trained before it is judged",
                "keep": "most promising points that are finished in any case",
                "controls": "others that are finished, spread over the ranking, to judge the estimate by",
                "risk": "points whose chance to be the best is above this are finished too",
                "estimator": "ranks the points: tse, tse-e, tse-ema, ema, validation, power, offset or bnsl",
            }
        },
    )


ConfigStore.instance().store(
    group="hydra/sweeper", name="chemscale_tpe", node=ChemscaleEstimatingSweeperConf, provider="chemscale"
)
