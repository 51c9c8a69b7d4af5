"""How long a point trains: one budget in tokens, molecules, epochs, steps or FLOPs, as optimiser steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

UNITS = ("steps", "tokens", "molecules", "epochs", "flops")


class BudgetError(ValueError):
    """A budget that says nothing, or too many things."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training subset holds."""

    blocks: int
    tokens: int
    molecules: int
    flops: float
    """Training FLOPs of the pass: three forward passes."""


@dataclass(frozen=True)
class Budget:
    """A single amount of one unit.

    Raises:
        BudgetError: an unknown unit or an amount that is not positive.
    """

    unit: str
    amount: float

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise BudgetError(f"budget.{self.unit}: choose one of {', '.join(UNITS)}.")
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise BudgetError(f"budget.{self.unit}={self.amount}: must be above 0.")

    @classmethod
    def from_mapping(cls, values: Mapping[str, float | None]) -> Budget:
        """Exactly one unit is set, the others are null.

        Raises:
            BudgetError: none or several are set.
        """
        given = {unit: float(amount) for unit, amount in values.items() if amount is not None}
        if len(given) != 1:
            named = ", ".join(f"budget.{u}={a:g}" for u, a in given.items()) or "none"
            raise BudgetError(
                f"A point needs exactly one budget, got {named}. Set one of budget.{{{','.join(UNITS)}}} "
                "and null the others (for example budget.tokens=1e6 budget.epochs=null)."
            )
        return cls(*next(iter(given.items())))

    def steps(self, epoch: Epoch, blocks_per_step: int) -> int:
        """Optimiser steps that spend at least this budget."""
        if self.unit == "steps":
            return math.ceil(self.amount)
        of_epoch = {"epochs": 1.0, "tokens": epoch.tokens, "molecules": epoch.molecules, "flops": epoch.flops}
        epochs = self.amount / of_epoch[self.unit]
        # A whole number of epochs must not gain a step from the last bits of a division.
        return max(1, math.ceil(epochs * epoch.blocks / blocks_per_step - 1e-9))
