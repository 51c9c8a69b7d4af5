"""Hydra finds plugins only in this namespace package; the sweepers themselves live in chemscale.sweeps."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from chemscale.launchers import hooks
from chemscale.laws.early_stopping.rule import RUNGS
from chemscale.sweeps.active_learning_sweeper import ActiveLearningSweeper
from chemscale.sweeps.early_stopping_sweeper import EstimatingSweeper
from chemscale.sweeps.sweeper import PointSweeper


class ChemscaleSweeper(PointSweeper):
    """``override /hydra/sweeper: chemscale``"""


class ChemscaleEstimatingSweeper(EstimatingSweeper):
    """``override /hydra/sweeper: chemscale_early_stopping``"""


class ChemscaleActiveLearningSweeper(ActiveLearningSweeper):
    """``override /hydra/sweeper: chemscale_active_learning``"""


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
    parent: Any = field(
        default=None,
        metadata={
            "meaning": "a model that points begin from by model.from: parent: keys of the run that trains it "
            "first, a mapping, or the path of one that is trained"
        },
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
    # Of chemscale.laws.early_stopping.rule.Rule; the folders are read by chemscale.analysis.
    rule: dict[str, Any] = field(
        default_factory=lambda: {
            "rungs": list(RUNGS),
            "risk": 0.05,
            "tolerance": 0.005,
            "estimator": "validation",
            "earlier": [],
        },
        metadata={
            "meaning": {
                "rungs": "shares of its budget at which a point waits until the rule lets it go on",
                "risk": "chance at which the best point may be lost",
                "tolerance": "a point counts as better only if its loss is lower by this share",
                "estimator": "shown at a rung: validation, tse, tse-e, tse-ema, ema, power, offset or bnsl",
                "earlier": "folders of sweeps that were trained before: they tell what to expect",
            }
        },
    )


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="chemscale_early_stopping",
    node=ChemscaleEstimatingSweeperConf,
    provider="chemscale",
)


@dataclass
class ChemscaleActiveLearningSweeperConf(ChemscaleSweeperConf):
    _target_: str = "hydra_plugins.chemscale_sweeper.ChemscaleActiveLearningSweeper"
    finish: str = hooks.FINISH_ROUNDS
    choose: str = hooks.CHOOSE_FRAMES
    rounds: list[int] = field(
        default_factory=lambda: [96, 192, 384],
        metadata={"meaning": "rising numbers of labelled frames, one a round"},
    )
    methods: list[str] = field(
        default_factory=lambda: ["random", "uncertain"],
        metadata={"meaning": "ways of choosing frames: uncertain, farthest, random"},
    )
    members: int = field(default=3, metadata={"meaning": "seeds of each committee"})
    repeats: int = field(default=3, metadata={"meaning": "repetitions, each from other frames and seeds"})
    candidates: int = field(
        default=1000, metadata={"meaning": "frames of the pool that a committee looks at in a round, at most"}
    )


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="chemscale_active_learning",
    node=ChemscaleActiveLearningSweeperConf,
    provider="chemscale",
)
