"""Values of metrics with intervals: where the same metric of another sample of the same size would lie.

A metric is judged at the number of molecules that it was computed from: uniqueness, scaffold similarity,
nearest-neighbour similarity and the Fréchet distance all depend on it. An interval is therefore for the
expectation over samples of that size, with the reference held fixed, and follows from the spread alone. Its
simulated coverage stands in docs/coverage.md (``benchmarks/coverage_metrics.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

Z = 1.959964
"""Standard deviations of a 95 % interval."""


@dataclass(frozen=True)
class Value:
    """A metric of a sample.

    Args:
        value: NaN where it does not exist.
        low: end of the 95 % interval; NaN where there is none.
        high: likewise.
        of: number of molecules that it was computed from.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    of: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: what does not exist is None."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {key: number if math.isfinite(number) else None for key, number in numbers.items()} | {
            "of": self.of
        }


MISSING = Value(math.nan)
"""A metric that this sample does not have."""


def share(count: int, of: int) -> Value:
    """A share with Wilson's interval (J. Am. Stat. Assoc. 22, 209, 1927), which holds at 0 and 1 too.

    Args:
        count: how many have it.
        of: how many there are.
    """
    if not of:
        return MISSING
    p, square = count / of, Z * Z
    centre = (p + square / (2 * of)) / (1 + square / of)
    half = Z * math.sqrt(p * (1 - p) / of + square / (4 * of * of)) / (1 + square / of)
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == of else centre + half
    return Value(p, low, high, of)


def distinct_share(occurrences: np.ndarray) -> Value:
    """Share of distinct molecules, whose spread no bootstrap shows: resampling makes duplicates itself.

    The wider of two: the jackknife, in which leaving a molecule out costs one distinct molecule where it
    is single (its variance is never too small in expectation: Efron and Stein, Ann. Stat. 9, 586, 1981); and
    Poisson's for a number of chance duplicates, which holds where they are few.

    Args:
        occurrences: (u,) how often each distinct molecule was drawn.
    """
    of = int(occurrences.sum())
    if not of:
        return MISSING
    distinct, single = len(occurrences), int((occurrences == 1).sum())
    twice = of - distinct
    half = Z * math.sqrt(single * (1 - single / of))
    low = min(distinct - half, of - chi2.ppf(0.975, 2 * twice + 2) / 2)
    high = max(distinct + half, of - (chi2.ppf(0.025, 2 * twice) / 2 if twice else 0.0))
    return Value(distinct / of, max(low, 1) / of, min(high, of) / of, of)


def around(value: float, error: float, of: int, *, low: float = -math.inf, high: float = math.inf) -> Value:
    """A value with an interval of so many standard errors, within the bounds of the metric.

    Where the error is 0 there is no interval: nothing was seen to vary, which promises nothing (no scaffold
    is shared, all molecules are one).

    Args:
        value: of the metric.
        error: its standard error.
        of: number of molecules.
        low: least that the metric can be.
        high: most.
    """
    if not (math.isfinite(value) and math.isfinite(error)) or error <= 0:
        return Value(value, of=of)
    return Value(value, max(low, value - Z * error), min(high, value + Z * error), of)


def bootstrap_error(statistic: Callable[[np.ndarray], float], of: int, draws: int, seed: int) -> float:
    """Standard error of a statistic of a sample from resamples; NaN for fewer than two molecules.

    Args:
        statistic: of the number of times (n,) that each molecule is in a resample.
        of: number of molecules.
        draws: resamples.
        seed: of random numbers.
    """
    if of < 2 or draws < 2:
        return math.nan
    random = np.random.default_rng(seed)
    found = [statistic(random.multinomial(of, np.full(of, 1 / of))) for _ in range(draws)]
    finite = [value for value in found if math.isfinite(value)]
    return float(np.std(finite, ddof=1)) if len(finite) >= 2 else math.nan
