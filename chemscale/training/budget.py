"""How long a point trains: one budget in epochs, steps, FLOPs, tokens, molecules or frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


class BudgetError(ValueError):
    """A budget that is not one positive amount of one unit."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training subset holds.

    Args:
        cuts: the pieces that optimiser steps are made of: blocks of tokens, micro-batches of frames.
        amounts: units of the pass, the first being the axis that progress is counted along.
        flops: training FLOPs of the pass, as counted.
    """

    cuts: int
    amounts: dict[str, int]
    flops: float

    @property
    def axis(self) -> str:
        """The unit that progress is counted along."""
        return next(iter(self.amounts))

    def in_units(self, unit: str) -> float:
        """How much of a budget's unit one pass is.

        Args:
            unit: of a budget.

        Raises:
            BudgetError: this kind of data has no such unit.
        """
        known = {"epochs": 1.0, "flops": self.flops, **self.amounts}
        if unit not in known:
            raise BudgetError(f"budget.{unit}: choose one of steps, {', '.join(known)}.")
        return known[unit]


@dataclass(frozen=True)
class Budget:
    """A single amount of one unit.

    Args:
        unit: steps, epochs, flops, or a unit of the data.
        amount: of it.

    Raises:
        BudgetError: an amount that is not positive.
    """

    unit: str
    amount: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise BudgetError(f"budget.{self.unit}={self.amount}: must be above 0.")

    @classmethod
    def from_mapping(cls, values: Mapping[str, float | None]) -> Budget:
        """Read a section ``budget``, where exactly one unit is set and the others are null.

        Args:
            values: the section.

        Raises:
            BudgetError: none or several are set.
        """
        given = {unit: float(amount) for unit, amount in values.items() if amount is not None}
        if len(given) != 1:
            named = ", ".join(f"budget.{u}={a:g}" for u, a in given.items()) or "none"
            raise BudgetError(
                f"A point needs exactly one budget, got {named}. Set one of budget.{{{','.join(values)}}} "
                "and null the others (for example budget.steps=1000 budget.epochs=null)."
            )
        return cls(*next(iter(given.items())))

    def steps(self, epoch: Epoch, cuts_per_step: int) -> int:
        """Optimizer steps that spend at least this budget.

        Args:
            epoch: one pass over the training subset.
            cuts_per_step: pieces in a step.

        Raises:
            BudgetError: the data have no such unit.
        """
        if self.unit == "steps":
            return math.ceil(self.amount)
        epochs = self.amount / epoch.in_units(self.unit)
        # A whole number of epochs must not gain a step from the last bits of a division.
        return max(1, math.ceil(epochs * epoch.cuts / cuts_per_step - 1e-9))
