"""From a number in its own unit to a share of what is wanted: 0 is nothing, 1 is all.

GuacaMol's modifiers (Brown et al., J. Chem. Inf. Model. 59, 1096, 2019) and REINVENT's transformations have
the same shapes; here each is written as ``NAME:NUMBERS``, such as ``window:1,4``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from chemscale.reinforcement.scoring.errors import ScoringError

EDGE = math.log(19)
"""A logistic curve is 0.05 at minus this, and 0.95 at plus this."""


def linear(value: float, low: float, high: float) -> float:
    """0 at `low` and before it, 1 at `high` and beyond; falling where `low` is the larger one."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def sigmoid(value: float, low: float, high: float) -> float:
    """Logistic, 0.05 at `low` and 0.95 at `high`; falling where `low` is the larger one."""
    x = EDGE * (2 * value - low - high) / (high - low)
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def window(value: float, low: float, high: float, spread: float | None = None) -> float:
    """1 from `low` to `high`, beyond them a Gaussian of `spread`; a quarter of the width where not given."""
    spread = (high - low) / 4 if spread is None else spread
    outside = max(low - value, value - high, 0.0)
    return 1.0 if outside == 0 else (math.exp(-0.5 * (outside / spread) ** 2) if spread else 0.0)


def gauss(value: float, mean: float, spread: float) -> float:
    """Gaussian around `mean`, 1 there."""
    return math.exp(-0.5 * ((value - mean) / spread) ** 2)


def step(value: float, at: float) -> float:
    """1 from `at` on."""
    return float(value >= at)


SHAPES: dict[str, tuple[Callable[..., float], int, int, str]] = {
    "linear": (linear, 2, 2, "linear:LOW,HIGH"),
    "sigmoid": (sigmoid, 2, 2, "sigmoid:LOW,HIGH"),
    "window": (window, 2, 3, "window:LOW,HIGH[,SPREAD]"),
    "gauss": (gauss, 2, 2, "gauss:MEAN,SPREAD"),
    "step": (step, 1, 1, "step:AT"),
}
"""Function, least and most numbers, and how it is written."""


@dataclass(frozen=True)
class Transform:
    """A shape with its numbers.

    Args:
        text: ``NAME:NUMBERS``, such as ``sigmoid:-6,-10`` (docking energies: lower is better).

    Raises:
        ScoringError: no such shape, or numbers that it cannot have.
    """

    text: str

    def __post_init__(self) -> None:
        self._parsed()

    def __call__(self, value: float) -> float:
        """A score from 0 to 1.

        Args:
            value: in the unit of the component.
        """
        function, numbers = self._parsed()
        return function(value, *numbers)

    def _parsed(self) -> tuple[Callable[..., float], list[float]]:
        name, _, rest = self.text.partition(":")
        forms = ", ".join(form for *_, form in SHAPES.values())
        if name not in SHAPES:
            raise ScoringError(f"transform={self.text}: no such transform. Choose one of {forms}.")
        function, least, most, form = SHAPES[name]
        try:
            numbers = [float(part) for part in rest.split(",")]
        except ValueError:
            numbers = []
        if not least <= len(numbers) <= most or not all(map(math.isfinite, numbers)):
            raise ScoringError(f"transform={self.text}: write {form}, with numbers.")
        if name in ("linear", "sigmoid") and numbers[0] == numbers[1]:
            raise ScoringError(f"transform={self.text}: LOW and HIGH must differ.")
        if name == "window" and (numbers[0] >= numbers[1] or min(numbers[2:], default=1) < 0):
            raise ScoringError(f"transform={self.text}: LOW lies below HIGH, and SPREAD is not negative.")
        if name == "gauss" and numbers[1] <= 0:
            raise ScoringError(f"transform={self.text}: SPREAD must be above 0.")
        return function, numbers
