"""Points of a law: sizes under every convention, losses, and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from chemscale.laws.data.left_out import LeftOut, sentence, summary

ROLES = {"N": "parameters", "D": "tokens", "C": "flops", "U": "unique_tokens", "J": "joules"}
"""What a column of a table is, and the axis that it gives."""
MIN_VALUE, MAX_VALUE = 1e-30, 1e60
"""Sizes and losses outside these are mistakes, and their powers leave what a number holds."""


class PointsError(ValueError):
    """Points that cannot be read; the message names file, row and column."""


@dataclass(frozen=True)
class LawPoint:
    """One run as a point of a law.

    Args:
        label: name of the run.
        sizes: axis (``parameters``, ``tokens``, ``unique_tokens``, ``frames``, ``flops``, ``joules``, or a
            convention such as ``blocks``) → number.
        losses: unit → loss.
        seed: of the run.
        used: whether it is fitted; it is shown in any case.
        reason: why it is not used, in the words of ``left_out``.
        extra: anything else.
        row: of the table that it was read from, as a person finds it there.
        group: name of the run that this is a checkpoint of, where points of one run share it.
        trunk: the stable phase that its run shares with others, and with it its noise.
    """

    label: str
    sizes: dict[str, float]
    losses: dict[str, float]
    seed: int = 0
    used: bool = True
    reason: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    row: int | None = None
    group: str = ""
    trunk: str = ""

    @property
    def where(self) -> str:
        """Where a person finds it: its row, or its name."""
        return self.label if self.row is None else f"row {self.row}"

    @property
    def named(self) -> str:
        """Its row with its name, where it has both."""
        return self.where if self.label == self.where else f"{self.where} ({self.label})"


@dataclass(frozen=True)
class LawPoints:
    """A table of points, and what lay beside them and is none: unreadable records, copies of a run."""

    points: tuple[LawPoint, ...]
    source: str
    beside: tuple[LeftOut, ...] = ()

    def used(self, axis: str, unit: str) -> tuple[np.ndarray, np.ndarray]:
        """Sizes (n,) and losses (n,) of the points that are fitted, by size."""
        pairs = sorted((p.sizes[axis], p.losses[unit]) for p in self.points if p.used)
        return np.array([x for x, _ in pairs]), np.array([y for _, y in pairs])

    def table(self, axes: Sequence[str], unit: str) -> tuple[np.ndarray, np.ndarray]:
        """Sizes and losses of the points that are fitted, in their order.

        Args:
            axes: of the sizes.
            unit: of the loss.

        Returns:
            (n, k) sizes and (n,) losses.

        Raises:
            PointsError: a point lacks one of the axes.
        """
        chosen = self.fitted(unit)
        for axis in axes:
            lacking = [p.label for p in chosen if axis not in p.sizes]
            if lacking:
                raise PointsError(f"{axis} is needed and {lacking[0]} does not have it.")
        sizes = np.array([[p.sizes[axis] for axis in axes] for p in chosen], dtype=float)
        return sizes.reshape(len(chosen), len(axes)), np.array([p.losses[unit] for p in chosen])

    def fitted(self, unit: str) -> list[LawPoint]:
        """The points that are fitted, in their order."""
        return [p for p in self.points if p.used and unit in p.losses]

    @property
    def left_out(self) -> str:
        """What is left out, counted by reason, in a sentence; empty where all are fitted."""
        return sentence(self._left(), len(self.points) + len(self.beside))

    @property
    def left_out_summary(self) -> dict[str, Any]:
        """The same for ``law.json``."""
        return summary(self._left(), len(self.points) + len(self.beside))

    def _left(self) -> list[LeftOut]:
        return [*(LeftOut(p.where, p.reason) for p in self.points if not p.used), *self.beside]

    def repeats(self) -> bool:
        """Whether any run sees its data more than once."""
        return _repeats(self)

    def without_highest(self, count: int, unit: str) -> LawPoints:
        """The same table with the runs of the highest losses left out, as Besiroglu et al. 2024 do.

        Args:
            count: how many.
            unit: of the loss.

        Raises:
            PointsError: nothing would remain.
        """
        chosen = sorted(self.fitted(unit), key=lambda p: -p.losses[unit])
        if count >= len(chosen):
            raise PointsError(f"--exclude-highest {count}: there are only {len(chosen)} runs to fit.")
        out = {id(p) for p in chosen[:count]}
        why = "the highest loss" if count == 1 else f"one of the {count} highest losses"
        return self._with([replace(p, used=False, reason=why) if id(p) in out else p for p in self.points])

    def with_six_nd(self) -> LawPoints:
        """The same table with C = 6ND where a point has no C, or D = C/6N where it has no D."""
        points = []
        for p in self.points:
            sizes = dict(p.sizes)
            n, d, c = (sizes.get(axis) for axis in ("parameters", "tokens", "flops"))
            if n and d and c is None:
                sizes["flops"] = 6 * n * d
            elif n and c and d is None:
                sizes["tokens"] = c / (6 * n)
            points.append(replace(p, sizes=sizes))
        return self._with(points)

    def _with(self, points: Sequence[LawPoint]) -> LawPoints:
        return replace(self, points=tuple(points))

    @property
    def hash(self) -> str:
        """Hash of every number that a fit may use."""
        rows = [{key: value for key, value in asdict(p).items() if key != "row"} for p in self.points]
        new = ("group", "trunk")  # not there in 0.1.0, whose hashes stay
        rows = [{key: value for key, value in row.items() if key not in new or value} for row in rows]
        return hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest()


def distinct(values: Iterable[float], apart: float = 1.05) -> int:
    """How many of these sizes differ by more than a factor: counted tokens of one horizon differ a little.

    Args:
        values: sizes.
        apart: the factor.
    """
    count, last = 0, 0.0
    for value in sorted(values):
        if value > apart * last:
            count, last = count + 1, value
    return count


def varying_axis(points: LawPoints, axes: Sequence[str]) -> str:
    """The first axis along which the used points differ by more than 2 per cent.

    Distinct tokens come before tokens seen where runs repeat their data and differ in how much it is.

    Args:
        points: the table.
        axes: in the order of preference.
    """
    for axis in axes:
        if axis == "tokens" and _repeats(points) and _varies(points, "unique_tokens"):
            return "unique_tokens"
        if _varies(points, axis):
            return axis
    return next((a for a in axes if any(a in p.sizes for p in points.points)), axes[0])


def _varies(points: LawPoints, axis: str) -> bool:
    sizes = [p.sizes[axis] for p in points.points if p.used and axis in p.sizes]
    return bool(sizes) and max(sizes) > 1.02 * min(sizes)


def _repeats(points: LawPoints) -> bool:
    """Whether any used run sees its data more than once."""
    return any(
        p.sizes["tokens"] > 1.01 * p.sizes["unique_tokens"] for p in points.points if p.used and _both(p)
    )


def _both(point: LawPoint) -> bool:
    return {"tokens", "unique_tokens"} <= set(point.sizes)
