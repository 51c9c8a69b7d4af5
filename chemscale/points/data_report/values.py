"""Numbers that are seen once and never kept whole: exact moments, and a random sample for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import kolmogorov

from chemscale.molecules.metrics.page.histograms import edges_of, shares_of

KEPT = 100_000
"""Values of each list that histograms and quantiles are drawn from; all of them where there are no more."""
QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
SEED = 20
"""Of every random sample of a report."""
NOISE = 1e-10
"""Of the largest value: a mean below that is none."""
DIGITS = 10
"""Of numbers in the file for machines, so that the last bits of a sum are not in it."""


class Values:
    """Numbers of one quantity, added block by block in bounded memory.

    Args:
        kept: how many of them are kept; which ones depends on nothing but their order.
    """

    def __init__(self, kept: int = KEPT):
        self.count = self.missing = 0
        self.low, self.high = np.inf, -np.inf
        self._mean = self._squares = 0.0
        self._most = kept
        self._random = np.random.default_rng(SEED)
        self._values, self._keys = np.empty(0), np.empty(0)
        self._weights: np.ndarray | None = None
        self._table: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def counted(cls, counts: np.ndarray) -> Values:
        """Whole numbers that were counted: nothing is sampled.

        Args:
            counts: (m,) how often each of 0 … m - 1 occurs.
        """
        made = cls()
        values = np.flatnonzero(counts)
        weights = counts[values].astype(np.float64)
        made.count = int(counts.sum())
        if made.count:
            made.low, made.high = float(values[0]), float(values[-1])
            made._mean = float(values @ weights / made.count)
            made._squares = float(np.square(values - made._mean) @ weights)
        made._values, made._weights = values.astype(np.float64), weights
        return made

    def add(self, numbers: np.ndarray) -> None:
        """Add numbers; those that are not finite are counted as missing.

        Args:
            numbers: of any shape.
        """
        flat = np.asarray(numbers, dtype=np.float64).ravel()
        finite = flat[np.isfinite(flat)]
        self.missing += len(flat) - len(finite)
        if not len(finite):
            return
        # Chan, Golub and LeVeque, Am. Stat. 37, 242 (1983): no digits are lost to a large mean.
        mean, total = float(finite.mean()), self.count + len(finite)
        step = mean - self._mean
        self._squares += float(np.square(finite - mean).sum()) + step**2 * self.count * len(finite) / total
        self._mean += step * len(finite) / total
        self.count = total
        self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
        self._keep(finite)

    def _keep(self, numbers: np.ndarray) -> None:
        """Keep the numbers with the smallest random keys: a uniform sample of all that came."""
        self._table = None
        keys = self._random.random(len(numbers))
        if len(self._keys) >= self._most:
            chosen = keys < self._keys.max()
            numbers, keys = numbers[chosen], keys[chosen]
        self._values, self._keys = np.append(self._values, numbers), np.append(self._keys, keys)
        if len(self._keys) > self._most:
            chosen = np.argpartition(self._keys, self._most - 1)[: self._most]
            self._values, self._keys = self._values[chosen], self._keys[chosen]

    @property
    def sampled(self) -> int | None:
        """How many are kept; None where all are."""
        kept = self.count if self._weights is not None else len(self._values)
        return kept if kept < self.count else None

    @property
    def mean(self) -> float:
        """Mean of all; NaN of none. What is left of a sum that cancels is 0."""
        if not self.count:
            return np.nan
        noise = NOISE * max(abs(self.low), abs(self.high))
        return self._mean if abs(self._mean) > noise else 0.0

    @property
    def deviation(self) -> float:
        """Standard deviation of all; NaN of none."""
        return float(np.sqrt(self._squares / self.count)) if self.count else np.nan

    @property
    def rms(self) -> float:
        """Root mean square of all; NaN of none."""
        return float(np.sqrt(self._squares / self.count + self._mean**2)) if self.count else np.nan

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Values in ascending order and how often each of them stands there, (m,) both."""
        if self._table is None:  # a dozen quantiles are asked for
            order = np.argsort(self._values, kind="stable")
            weights = np.ones(len(order)) if self._weights is None else self._weights[order]
            self._table = self._values[order], weights
        return self._table

    def quantile(self, share: float) -> float:
        """The least value that so many do not exceed; NaN of none.

        Args:
            share: 0 to 1.
        """
        values, weights = self.table()
        if not len(values):
            return float("nan")
        total = np.cumsum(weights)
        place = int(np.searchsorted(total, share * total[-1] - 1e-9))
        return float(values[min(place, len(values) - 1)])

    def shares(self, edges: np.ndarray) -> np.ndarray:
        """Share of the values in each bar, (b,); those beyond the ends lie in the outermost bars.

        Args:
            edges: (b + 1,) ascending.
        """
        values, weights = self.table()
        return shares_of(values, edges, weights)

    def summary(self) -> dict[str, Any]:
        """What the page and the file for machines say of them; NaN where there is nothing to say."""
        return {
            "count": self.count,
            "missing": self.missing,
            "sampled": self.sampled,
            "mean": rounded(self.mean),
            "deviation": rounded(self.deviation),
            "rms": rounded(self.rms),
            "least": rounded(self.low if self.count else np.nan),
            "largest": rounded(self.high if self.count else np.nan),
            "quantiles": {f"{q:g}": rounded(self.quantile(q)) for q in QUANTILES},
        }


def rounded(value: float) -> float:
    """A number to ``DIGITS`` significant digits.

    Args:
        value: any, NaN too.
    """
    return float(f"{value:.{DIGITS}g}")


def distance(one: Values, other: Values) -> tuple[float, float]:
    """Largest difference of two distribution functions, and how probable it is among equals.

    Kolmogorov's and Smirnov's test with the limit of many values, which is on the safe side for whole
    numbers. It takes values for independent.

    Args:
        one: of some values.
        other: likewise.

    Returns:
        D and p; NaN where either has no value.
    """
    (a, of_a), (b, of_b) = one.table(), other.table()
    if not len(a) or not len(b):
        return float("nan"), float("nan")
    places = np.concatenate([a, b])
    shares = [
        np.append(0, np.cumsum(w))[np.searchsorted(v, places, side="right")] / w.sum()
        for v, w in ((a, of_a), (b, of_b))
    ]
    found = float(np.abs(shares[0] - shares[1]).max())
    size = of_a.sum() * of_b.sum() / (of_a.sum() + of_b.sum())
    return found, float(kolmogorov(np.sqrt(size) * found))


def distribution(
    name: str, meaning: str, parts: Mapping[str, Values], *, whole: bool = False, independent: bool = False
) -> dict[str, Any] | None:
    """One quantity in every part: moments, quantiles and the bars of one histogram.

    Args:
        name: of the quantity.
        meaning: in words, with its unit.
        parts: values by name of the part; the first is compared with the others.
        whole: whether they count something.
        independent: whether values are independent, so that a p value means something.

    Returns:
        None where no part has a value.
    """
    filled = {part: values for part, values in parts.items() if values.count}
    if not filled:
        return None
    tables = [_spread(values) for values in filled.values()]
    edges = edges_of(np.concatenate(tables), whole=whole)
    (first, base), *others = filled.items()
    return {
        "name": name,
        "meaning": meaning,
        "whole": whole,
        "edges": [rounded(edge) for edge in edges],
        "parts": {
            part: {**values.summary(), "shares": [rounded(s) for s in values.shares(edges)]}
            for part, values in filled.items()
        },
        "without": [part for part in parts if part not in filled],
        "missing": {part: values.missing for part, values in parts.items() if values.missing},
        "differences": [_difference(base, first, part, values, independent) for part, values in others],
    }


def _difference(
    base: Values, first: str, part: str, values: Values, independent: bool
) -> dict[str, str | float]:
    found, chance = distance(base, values)
    both: dict[str, str | float] = {"from": first, "part": part, "distance": rounded(found)}
    return both | ({"p": rounded(chance)} if independent else {})


def _spread(values: Values) -> np.ndarray:
    """Some thousands of values with the quantiles of all: a small part weighs as much as a large one."""
    listed, weights = values.table()
    total = np.cumsum(weights)
    places = np.searchsorted(total, (np.arange(4096) + 0.5) / 4096 * total[-1])
    return listed[np.minimum(places, len(listed) - 1)]


def sample(population: int, most: int, number: int = 0) -> np.ndarray:
    """Distinct places, drawn at random with a fixed seed; all of them where there are no more than asked.

    Args:
        population: places that there are.
        most: how many are drawn at most.
        number: of the draw: another one gives others.

    Returns:
        (min(population, most),) int64 in random order.
    """
    random = np.random.default_rng([SEED, number])
    return random.choice(population, min(population, most), replace=False)


def listed(found: Sequence[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Distributions that there are.

    Args:
        found: None for one without a value.
    """
    return [each for each in found if each is not None]
