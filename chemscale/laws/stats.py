"""Distributions that intervals and tests of laws need, by their names in ``scipy.stats``.

``scipy.stats`` takes longer to import than a law of one axis to fit; the functions below are those that it
calls itself, so that numbers are the same to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

Numbers = Any
"""A number, or an array of any shape; arguments are broadcast."""


def _where(defined: Any, values: Any) -> Any:
    """Values where they are defined, else NaN; a number for numbers."""
    return np.where(defined, values, np.nan)[()]


class t:
    """Student's t."""

    @staticmethod
    def ppf(q: Numbers, df: Numbers) -> Any:
        """Quantile."""
        lower = np.where(np.equal(q, 0), -np.inf, special.stdtrit(df, q))
        return _where(np.greater(df, 0), lower)

    @staticmethod
    def cdf(x: Numbers, df: Numbers) -> Any:
        """Chance of at most x."""
        return special.stdtr(df, x)

    @staticmethod
    def sf(x: Numbers, df: Numbers) -> Any:
        """Chance of more than x."""
        return special.stdtr(df, np.negative(x))


class f:
    """Fisher's F."""

    @staticmethod
    def ppf(q: Numbers, dfn: Numbers, dfd: Numbers) -> Any:
        """Quantile."""
        return special.fdtri(dfn, dfd, q)

    @staticmethod
    def sf(x: Numbers, dfn: Numbers, dfd: Numbers) -> Any:
        """Chance of more than x; NaN where there is no degree of freedom."""
        chance = np.where(np.isposinf(x), 0.0, special.fdtrc(dfn, dfd, np.maximum(x, 0)))
        return _where(np.greater(dfn, 0) & np.greater(dfd, 0), chance)


class chi2:
    """χ²."""

    @staticmethod
    def ppf(q: Numbers, df: Numbers) -> Any:
        """Quantile."""
        return _where(np.greater(df, 0), 2 * special.gammaincinv(np.divide(df, 2), q))


class norm:
    """The standard normal distribution."""

    @staticmethod
    def ppf(q: Numbers) -> Any:
        """Quantile."""
        return special.ndtri(q)

    @staticmethod
    def cdf(x: Numbers) -> Any:
        """Chance of at most x."""
        return special.ndtr(x)

    @staticmethod
    def sf(x: Numbers) -> Any:
        """Chance of more than x."""
        return special.ndtr(np.negative(x))
