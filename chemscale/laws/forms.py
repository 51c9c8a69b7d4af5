"""Forms of a scaling law along one axis: values, gradients, and what each assumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Form:
    """A law L(x; θ). x is a size (parameters, tokens, FLOPs), L a loss in the unit of the points."""

    name: ClassVar[str]
    formula: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]
    source: ClassVar[str]
    assumes: ClassVar[str]

    def value(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """(n,) sizes → (n,) losses."""
        raise NotImplementedError

    def log_gradient(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """(n, p) derivative of log L by each parameter."""
        raise NotImplementedError


class PowerLaw(Form):
    """L = α x^−β"""

    name = "power"
    formula = "L(x) = α·x^(−β)"
    parameters = ("alpha", "beta")
    source = "Hestness et al. 2017; Kaplan et al. 2020; Frey et al. 2023"
    assumes = (
        "The loss falls towards zero, the axis fitted is the only one that limits it, and every point "
        "lies in the same regime."
    )

    def value(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        alpha, beta = theta
        return alpha * x**-beta

    def log_gradient(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        return np.stack([np.full_like(x, 1 / theta[0]), -np.log(x)], axis=1)


class OffsetPowerLaw(Form):
    """L = L∞ + α x^−β"""

    name = "offset"
    formula = "L(x) = L∞ + α·x^(−β)"
    parameters = ("alpha", "beta", "floor")
    source = "Henighan et al. 2020; Hoffmann et al. 2022"
    assumes = (
        "The loss falls towards a floor L∞ (the entropy of the data and what the other axes leave), and "
        "every point lies in the same regime."
    )

    def value(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        alpha, beta, floor = theta
        return floor + alpha * x**-beta

    def log_gradient(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        alpha, beta, _ = theta
        power = x**-beta
        by = np.stack([power, -alpha * power * np.log(x), np.ones_like(x)], axis=1)
        return by / self.value(x, theta)[:, None]


FORMS: dict[str, Form] = {form.name: form for form in (PowerLaw(), OffsetPowerLaw())}
