"""How an optimisation learns: every number that decides its course, checked before anything is spent."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


class SettingError(ValueError):
    """A setting outside its range."""


METHODS = {"reinvent": 128.0, "ahc": 60.0}
"""Method and its usual σ."""
DIVERSITY = ("scaffold", "none")
REPLAYS = ("prioritised", "random")


@dataclass(frozen=True)
class Settings:
    """What decides the course of an optimisation, beside the models and the score.

    Args:
        method: ``reinvent``: augmented likelihood over the whole batch (Olivecrona et al., J. Cheminf. 9, 48,
            2017; Blaschke et al., J. Chem. Inf. Model. 60, 5918, 2020); ``ahc``: Augmented Hill-Climb, over
            its best part only (Thomas et al., J. Cheminf. 14, 68, 2022).
        sigma: nats that a score of 1 adds to the prior's log-likelihood; None: 128, or 60 for ``ahc``.
        learning_rate: of Adam.
        batch: molecules drawn a step.
        top_fraction: of a batch that ``ahc`` learns from.
        diversity: ``scaffold``: no reward for a molecule seen before, nor where its Bemis-Murcko scaffold has
            its share already; ``none``.
        bucket: rewarded molecules of one scaffold.
        min_score: from which on a molecule counts for its scaffold.
        replay: remembered molecules that each step learns from as well; 0 for none.
        replay_size: best molecules that are remembered.
        replay_choice: ``prioritised`` by their reward, or ``random``.
        max_length: symbols at most; a molecule that is cut off there has no reward.
        seed: of all random numbers.

    Raises:
        SettingError: a setting outside its range; the message names its option.
    """

    method: str = "reinvent"
    sigma: float | None = None
    learning_rate: float = 5e-4
    batch: int = 32
    top_fraction: float = 0.5
    diversity: str = "scaffold"
    bucket: int = 25
    min_score: float = 0.4
    replay: int = 24
    replay_size: int = 100
    replay_choice: str = "prioritised"
    max_length: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        choices = (("method", tuple(METHODS)), ("diversity", DIVERSITY), ("replay_choice", REPLAYS))
        for key, allowed in choices:
            if getattr(self, key) not in allowed:
                raise SettingError(f"{_option(key)} {getattr(self, key)}: choose {' or '.join(allowed)}.")
        for key in ("batch", "bucket", "replay_size", "max_length"):
            if getattr(self, key) < 1:
                raise SettingError(f"{_option(key)} {getattr(self, key)}: must be at least 1.")
        for key in ("sigma", "learning_rate"):
            value = getattr(self, key)
            if value is not None and not 0 < value < math.inf:
                raise SettingError(f"{_option(key)} {value}: must be above 0.")
        if self.replay < 0 or self.seed < 0:
            raise SettingError("--replay and --seed must not be negative.")
        if not 0 < self.top_fraction <= 1 or not 0 <= self.min_score <= 1:
            raise SettingError("--top-fraction lies above 0 and at most at 1, --min-score from 0 to 1.")

    @property
    def strength(self) -> float:
        """σ, the usual one of the method where none was given."""
        return METHODS[self.method] if self.sigma is None else self.sigma

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name, σ as it is used."""
        return {**asdict(self), "sigma": self.strength}


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"
