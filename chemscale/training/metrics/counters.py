"""How much data a run has trained on, and the FLOPs of it, counted into its record.

Ranks need not meet at every step for that: the amounts of each step wait until they do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chemscale.records import SEEN, RunRecord
from chemscale.training.budget import Epoch

COMPUTE = ("flops", "flops_6nd", "inherited_flops", "seconds", "device_seconds", "joules")
"""Fields of ``records.Compute`` that go on from a checkpoint."""


@dataclass(frozen=True)
class StepAmounts:
    """What all ranks trained on in one optimizer step.

    Args:
        amounts: units of data, the first being the axis of progress.
        slots: places in batches, padding counted, in units of the axis.
        flops: training FLOPs.
    """

    amounts: dict[str, int]
    slots: int
    flops: float


class Counters:
    """Counts micro-batches of a rank, and wherever ranks meet the steps of all of them into the record.

    Args:
        record: of the run.
        epoch: one pass over the training subset.
        batch_flops: training FLOPs of a micro-batch.
    """

    def __init__(self, record: RunRecord, epoch: Epoch, batch_flops: Callable[[Any], float]):
        self.record, self.epoch, self.batch_flops = record, epoch, batch_flops
        self._step: Counter[str] = Counter()
        self._pending: list[Counter[str]] = []

    def add(self, batch: Any) -> None:
        """Count a micro-batch that this rank has trained on."""
        self._step.update(batch.counts)
        self._step["slots"] += getattr(batch, "slots", next(iter(batch.counts.values())))
        self._step["flops"] += self.batch_flops(batch)  # type: ignore[assignment]

    def end_step(self) -> None:
        """The micro-batches since the last call were one optimizer step."""
        self._pending.append(self._step)
        self._step = Counter()

    def pending(self) -> list[float]:
        """This rank's part of the steps that are not counted yet, in an order that all ranks share."""
        return [float(amount) for step in self._pending for amount in step.values()]

    def count(self, totals: Sequence[float]) -> list[StepAmounts]:
        """Count the steps that wait into the record, one after another.

        Args:
            totals: ``pending`` summed over ranks.
        """
        rest = iter(totals)
        steps = [{unit: next(rest) for unit in step} for step in self._pending]
        self._pending.clear()
        return [self._count(step) for step in steps]

    def _count(self, done: dict[str, float]) -> StepAmounts:
        slots, flops = int(done.pop("slots")), done.pop("flops")
        amounts = {unit: int(amount) for unit, amount in done.items()}
        data, compute = self.record.data, self.record.compute
        for unit, amount in amounts.items():
            setattr(data, unit, getattr(data, unit) + amount)
        self._count_epochs()
        compute.flops += flops
        per_unit = 6.0 * self.record.parameters.matrices
        compute.flops_6nd += per_unit * amounts.get("tokens", amounts.get("atoms", 0))
        return StepAmounts(amounts, slots, flops)

    def _count_epochs(self) -> None:
        seen = getattr(self.record.data, self.epoch.axis)
        self.record.data.epochs = seen / self.epoch.amounts[self.epoch.axis]

    def state_dict(self) -> dict[str, Any]:
        data, compute = self.record.data, self.record.compute
        return {
            "data": {key: getattr(data, key) for key in ("steps", *SEEN)},
            "compute": {key: getattr(compute, key) for key in COMPUTE},
        }

    def load_state_dict(self, state: dict[str, Any], *, inherited: bool) -> None:
        """Go on from a checkpoint.

        Args:
            state: the whole state of a step boundary.
            inherited: whether another run spent what the checkpoint counts.
        """
        data, compute = self.record.data, self.record.compute
        for key, value in state["data"].items():
            setattr(data, key, value)
        self._count_epochs()
        for key, value in state["compute"].items():
            setattr(compute, key, value)
        if inherited:
            compute.inherited_flops = compute.flops
            compute.seconds = compute.device_seconds = 0.0
            compute.joules = None
