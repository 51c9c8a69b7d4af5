"""ChemGPTs that could be trained next: sizes, FLOPs as counted, memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chemscale.hardware.accelerators import REDUCED, Accelerator
from chemscale.hardware.memory import GIB, STAGES, Transformer, Weights, rank_memory
from chemscale.hardware.step_time import step_time, transformer_work

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Widths of a plan as multiples of the number of heads."""
MIN_STEPS = 100
"""A shorter run is mostly warm-up."""
MIN_SHARE = 1e-4
"""Share of the budget below which a point is not worth a start."""


MAX_LEFT = 10.0
"""A budget of more times what the points can spend is refused; of a smaller one the rest is left over."""
UNITS = 1000.0
"""No plan's sizes are as many times those of a law's runs, unless the runs are counted in other units."""


class PlanError(ValueError):
    """A plan that cannot be made; the message has the reason."""


@dataclass(frozen=True)
class Family:
    """ChemGPTs that differ in width only, and how they are trained.

    Args:
        layers: of every model.
        heads: likewise; widths are multiples of it.
        vocab: symbols.
        length: mean tokens of a molecule, its end included.
        batch_tokens: of an optimizer step over all GPUs.
        accumulate: micro-batches of a step.
        precision: of training.
        convention: which count of parameters the law calls N.
        measured: whether `vocab` and `length` follow from the FLOPs of runs.
    """

    layers: int = 24
    heads: int = 16
    vocab: int = 100
    length: float = 32.0
    batch_tokens: int = 4096
    accumulate: int = 1
    precision: str = "32"
    convention: str = "matrices"
    measured: bool = False

    def counts(self, width: int) -> dict[str, int]:
        """Parameters of a model of this width, by convention."""
        return self._config(width).parameter_counts()

    def flops(self, width: int, tokens: float) -> float:
        """Training FLOPs: three forward passes, attention within molecules of one length."""
        one_million = 10**6
        return (
            3.0
            * self._config(width).forward_flops(one_million, round(one_million * self.length))
            * tokens
            / 1e6
        )

    def flops_of(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        """Training FLOPs of sizes N = 12·L·d² between those that can be built.

        Args:
            n: parameters in matrices.
            d: tokens, of the shape of `n`.
        """
        width = np.sqrt(np.asarray(n, dtype=float) / (12 * self.layers))
        return 6.0 * d * (n + self.vocab * width + 2 * self.layers * width * self.length)

    def estimated_step(self, width: int, gpus: int, gpu: Accelerator) -> tuple[float, float]:
        """Estimate the seconds of an optimizer step without communication, and its FLOPs on one GPU.

        Args:
            width: of the model.
            gpus: that share the step.
            gpu: each of them.
        """
        tokens = self.batch_tokens / self.accumulate / gpus
        flops = self.flops(width, tokens)
        work = transformer_work(
            self._shape(width),
            self.counts(width)["all"],
            tokens,
            flops,
            half=self.precision in REDUCED,
            recompute=False,
        )
        took = step_time(gpu, work, self.precision, micro_batches=self.accumulate)
        return took.seconds, self.accumulate * flops

    def _shape(self, width: int) -> Transformer:
        return Transformer(width, self.layers, self.heads, self.vocab)

    def memory_gib(self, width: int, gpus: int) -> dict[str, float]:
        """Peak GiB of one GPU under each strategy, without what a library reserves (``hardware.memory``)."""
        count = self.counts(width)["all"]
        shape = self._shape(width)
        weights = Weights(count, shape.block, count - self.layers * shape.block)
        half = self.precision in REDUCED
        tokens = self.batch_tokens / self.accumulate / gpus
        active = shape.activation_bytes(tokens, half=half, recompute=False)
        return {
            stage: rank_memory(stage, weights, gpus, activations=active, accumulate=self.accumulate).total
            / GIB
            for stage in STAGES
        }

    def like_runs(self, n: np.ndarray, d: np.ndarray, flops: np.ndarray) -> Family:
        """This family with the head and attention that counted FLOPs of runs imply.

        C/6D − N is (V + 2·L·length)·width for a ChemGPT of these layers; runs of another shape, or FLOPs that
        are 6ND, show nothing and leave the family as it is.

        Args:
            n: (m,) parameters in matrices.
            d: (m,) tokens.
            flops: (m,) as counted.
        """
        width = np.sqrt(n / (12 * self.layers))
        whole = np.abs(width - np.round(width)) < 1e-6 * width
        if not len(n) or not whole.all():
            return self
        both = float(np.median((flops / (6 * d) - n) / width))
        if both < 8 + 2 * self.layers:
            return self
        vocab = both - 2 * self.layers * self.length
        length = self.length if vocab >= 8 else (both - 8) / (2 * self.layers)
        return replace(self, vocab=max(8, round(vocab)), length=length, measured=True)

    def _config(self, width: int) -> Any:
        from chemscale.models.chemgpt import ChemGPTConfig

        return ChemGPTConfig(self.vocab, width, self.layers, self.heads)


@dataclass(frozen=True)
class Candidates:
    """Points that a budget allows: widths (m,), N and D (m, 2), FLOPs (m,)."""

    width: np.ndarray
    inputs: np.ndarray
    flops: np.ndarray


@dataclass(frozen=True)
class Near:
    """The law's runs, and how far from them points may lie.

    Args:
        n: least and largest parameters of the runs.
        d: likewise, tokens.
        flops: likewise.
        reach: times the largest N, D and FLOPs that a point may have; below the least N and D its square
            root, where runs are cheap but tell little of large ones.
        where: the law was read.
    """

    n: tuple[float, float]
    d: tuple[float, float]
    flops: tuple[float, float]
    reach: float
    where: str

    @property
    def words(self) -> str:
        """The limits in words."""
        return (
            f"at most {self.reach:g}× the largest N ({self.n[1]:.3g}), D ({self.d[1]:.3g}) and FLOPs "
            f"({self.flops[1]:.3g}), at least 1/{math.sqrt(self.reach):.2g} of the least N ({self.n[0]:.3g}) "
            f"and D ({self.d[0]:.3g})"
        )

    @property
    def doubt(self) -> str:
        """A question about units, where sizes are smaller than any model or corpus; else empty."""
        small = " and ".join(axis for axis, (_, top) in (("N", self.n), ("D", self.d)) if top < UNITS)
        return f" Are {small} of the law's runs in millions or billions?" if small else ""

    def allows(self, every: np.ndarray) -> np.ndarray:
        """Which (m,) of (m, 4) rows of width, N, D and FLOPs lie near enough."""
        over, under = self.reach * (1 + 1e-9), math.sqrt(self.reach) * (1 + 1e-9)
        out = every[:, 3] <= over * self.flops[1]
        for column, (low, high) in ((1, self.n), (2, self.d)):
            out &= (every[:, column] <= over * high) & (every[:, column] * under >= low)
        return out

    def check_units(self, every: np.ndarray) -> None:
        """Refuse runs whose sizes cannot be counted in the units of a plan.

        Raises:
            PlanError: the nearest N, D or FLOPs of a plan are more than ``UNITS`` times those of the runs.
        """
        for axis, column, (low, high) in (("N", 1, self.n), ("D", 2, self.d)):
            if not len(every):
                return
            least, most = float(every[:, column].min()), float(every[:, column].max())
            above, below = least / high, low / most
            if max(above, below) <= max(UNITS, self.reach):
                continue
            unit = "millions or billions" if above > 1 else "another unit"
            raise PlanError(
                f"{self.where}: the law's runs have {axis} of {low:.3g} to {high:.3g}; are these in {unit}? "
                f"Points of a plan have {axis} from {least:.3g} to {most:.3g}, at least "
                f"{max(above, below):,.0f} times {'more' if above > 1 else 'less'}. Give N and D in "
                "parameters and tokens (1M or 1e6 for a million) and fit again."
            )
        counted = self.flops[1] / (6 * self.n[1] * self.d[1])
        if counted > UNITS or counted * UNITS * self.n[1] / self.n[0] * self.d[1] / self.d[0] < 1:
            raise PlanError(
                f"{self.where}: its largest run has {self.flops[1]:.3g} FLOP and 6ND is at most "
                f"{6 * self.n[1] * self.d[1]:.3g}: N, D or C is in another unit. Give parameters, tokens and "
                "FLOPs and fit again."
            )


def candidates(
    family: Family,
    budget: float,
    *,
    widths: tuple[int, int] = (16, 8192),
    ratio: tuple[float, float] = (1.0, 1000.0),
    max_tokens: float = math.inf,
    points: int = 1,
    near: Near | None = None,
    spell: Callable[[float], str] = "{:.3g} FLOP".format,
) -> Candidates:
    """Every width with amounts of data a factor of two apart.

    Args:
        family: of the models.
        budget: FLOPs of all points together.
        widths: least and largest.
        ratio: least and largest tokens a parameter.
        max_tokens: of a point.
        points: at most.
        near: the law's runs, that points stay near; None where there are none.
        spell: a budget in words.

    Raises:
        PlanError: nothing fits, or the budget is far more than the points can spend.
    """
    every = _every(family, widths, ratio, max_tokens)
    if near is not None:
        near.check_units(every)
    allowed = every if near is None else every[near.allows(every)]
    if not len(allowed):
        raise PlanError(_nothing(family, ratio, near))
    _check_budget(family, budget, allowed, points, near, spell)
    most = float(allowed[:, 3].max())
    share = allowed[:, 3] / min(budget, points * most)
    table = allowed[(share >= MIN_SHARE) & (allowed[:, 3] <= budget)]
    return Candidates(table[:, 0].astype(int), table[:, 1:3], table[:, 3])


def _every(
    family: Family, widths: tuple[int, int], ratio: tuple[float, float], max_tokens: float
) -> np.ndarray:
    """(m, 4) width, N, D and FLOPs of all models and amounts of data, whatever they cost."""
    rows = []
    for width in (family.heads * step for step in WIDTHS):
        if not widths[0] <= width <= widths[1]:
            continue
        n = family.counts(width)[family.convention]
        for tokens in MIN_STEPS * family.batch_tokens * 2.0 ** np.arange(40):
            if ratio[0] <= tokens / n <= ratio[1] and tokens <= max_tokens:
                rows.append((width, n, tokens, family.flops(width, tokens)))
    return np.array(rows).reshape(len(rows), 4)


def _nothing(family: Family, ratio: tuple[float, float], near: Near | None) -> str:
    """Why no model can be a point, whatever the budget."""
    beside = "" if near is None else f", and points must lie near the law's runs: {near.words}"
    way = "." if near is None else f" or --reach.{near.doubt}"
    return (
        f"No ChemGPT of {family.layers} layers can be a point: tokens a parameter must lie between "
        f"{ratio[0]:g} and {ratio[1]:g}, a run has {MIN_STEPS} steps of {family.batch_tokens} tokens or "
        f"more{beside}. Change --layers, --heads or --set batch.tokens=…, or widen --ratio{way}"
    )


def _check_budget(
    family: Family,
    budget: float,
    allowed: np.ndarray,
    points: int,
    near: Near | None,
    spell: Callable[[float], str],
) -> None:
    """Refuse a budget that no point fits, or of which the points can spend next to nothing."""
    cheapest = allowed[int(np.argmin(allowed[:, 3]))]
    low, high = float(cheapest[3]), points * float(allowed[:, 3].max())
    several = f"{points} point{'s' if points > 1 else ''}"
    ends = f"Give {several} between {spell(low)} and {spell(high)}"
    if budget < low:
        raise PlanError(
            f"No ChemGPT of {family.layers} layers fits a budget of {spell(budget)}: the cheapest, of width "
            f"{cheapest[0]:.0f} for {cheapest[2]:.3g} tokens ({MIN_STEPS} steps of {family.batch_tokens} "
            f"tokens are the least), costs {spell(low)}. {ends}: raise the budget, or lower --layers, "
            f"--heads or --set batch.tokens=…, or widen --ratio{'' if near is None else ' or --reach'}."
        )
    if budget > MAX_LEFT * high and near is None:
        raise PlanError(
            f"A budget of {spell(budget)} is {budget / high:.1e} times what {several} can spend. {ends}, or "
            "more --points."
        )
    if budget > MAX_LEFT * high and near is not None:
        raise PlanError(
            f"A budget of {spell(budget)} is {budget / near.flops[1]:.1e} times the law's largest run, and "
            f"{budget / high:.1e} times what {several} near the runs can spend ({near.words}). {ends}, or "
            "more --points, or a larger --reach if the law may be read farther out."
        )
