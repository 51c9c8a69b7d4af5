"""Forms of a scaling law along one axis: values, gradients, and what each assumes.

A form is computed in coordinates φ in which a descent behaves well (logarithms of what must be positive, the
rest as it is), for S parameter vectors at once: S starts, or S draws of a bootstrap.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np


class FitError(ValueError):
    """Points that cannot be fitted; the message has the reason."""


class Form:
    """A law L(x; θ). x is a size (parameters, tokens, FLOPs), L a loss in the unit of the points."""

    name: ClassVar[str]
    formula: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]
    logged: ClassVar[tuple[str, ...]]
    """Parameters above 0, of which φ holds the logarithm."""
    source: ClassVar[str]
    assumes: ClassVar[str]
    refusal: ClassVar[str]
    """Why too few sizes are refused, in words."""

    def log_loss(self, phi: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log loss and its derivatives.

        Args:
            phi: (S, p) coordinates.
            z: (n,) log sizes.

        Returns:
            (S, n) log loss, and (S, p, n) its derivatives by φ.
        """
        raise NotImplementedError

    def shift(self, phi: np.ndarray, by: float) -> np.ndarray:
        """Coordinates (S, p) of the same law when every log size is larger by `by`."""
        raise NotImplementedError

    def internal(self, theta: np.ndarray) -> np.ndarray:
        """Coordinates φ (…, p) of parameters θ (…, p)."""
        theta = np.asarray(theta, dtype=float)
        mask = self._logged
        return np.where(mask, np.log(np.where(mask, theta, 1.0)), theta)

    def reported(self, phi: np.ndarray) -> np.ndarray:
        """Parameters θ (…, p) of coordinates φ (…, p); infinite where a number overflows."""
        mask = self._logged
        with np.errstate(over="ignore"):
            return np.where(mask, np.exp(np.where(mask, phi, 0.0)), phi)

    def value(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Losses (n,) at sizes (n,), by parameters θ (p,)."""
        z = np.log(np.asarray(x, dtype=float))
        return np.exp(self.log_loss(self.internal(theta)[None], np.ravel(z))[0][0]).reshape(np.shape(z))

    def log_gradient(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Derivatives (n, p) of log L by each parameter, at sizes (n,)."""
        by_phi = self.log_loss(self.internal(theta)[None], np.log(x))[1][0]
        return (by_phi / np.where(self._logged, theta, 1.0)[:, None]).T

    @property
    def _logged(self) -> np.ndarray:
        return np.array([name in self.logged for name in self.parameters])


class PowerLaw(Form):
    """A power law, L = α x^−β."""

    name = "power"
    formula = "L(x) = α·x^(−β)"
    parameters = ("alpha", "beta")
    logged = ("alpha",)
    source = "Hestness et al. 2017; Kaplan et al. 2020; Frey et al. 2023"
    assumes = (
        "The loss falls towards zero, the axis fitted is the only one that limits it, and every point "
        "lies in the same regime."
    )
    refusal = "a law needs sizes to compare"

    def log_loss(self, phi: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log = phi[:, :1] - phi[:, 1:] * z
        return log, np.stack([np.ones_like(log), np.broadcast_to(-z, log.shape)], 1)

    def shift(self, phi: np.ndarray, by: float) -> np.ndarray:
        return np.stack([phi[:, 0] + phi[:, 1] * by, phi[:, 1]], 1)


class OffsetPowerLaw(Form):
    """A power law above a floor, L = L∞ + α x^−β."""

    name = "offset"
    formula = "L(x) = L∞ + α·x^(−β)"
    parameters = ("alpha", "beta", "floor")
    logged = ("alpha",)
    source = "Henighan et al. 2020; Hoffmann et al. 2022"
    assumes = (
        "The loss falls towards a floor L∞ (the entropy of the data and what the other axes leave), and "
        "every point lies in the same regime."
    )
    refusal = "its three parameters would follow the noise"

    def log_loss(self, phi: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        power = np.exp(phi[:, 0, None] - phi[:, 1, None] * z)
        loss = phi[:, 2, None] + power
        share = power / loss
        return np.log(loss), np.stack([share, -share * z, 1 / loss], 1)

    def shift(self, phi: np.ndarray, by: float) -> np.ndarray:
        return np.stack([phi[:, 0] + phi[:, 1] * by, phi[:, 1], phi[:, 2]], 1)


class Broken(Form):
    """A broken power law, L = a + b x^−c₀ ∏ᵢ (1 + (x/dᵢ)^(1/fᵢ))^(−cᵢ fᵢ).

    The exponent is c₀ before the first break and grows by cᵢ at the size dᵢ, within about ±fᵢ of log x.
    """

    breaks: ClassVar[int]
    source = "Caballero et al. 2022 (arXiv 2210.14891), Eq. 1"

    def log_loss(self, phi: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, c0 = (phi[:, i, None] for i in range(3))
        log = b - c0 * z
        by_break = []
        for number in range(self.breaks):
            c, d, f = (phi[:, 3 + 3 * number + i, None] for i in range(3))
            width = np.exp(f)
            u = (z - d) / width
            bend, rise = np.logaddexp(0, u), 0.5 * (1 + np.tanh(u / 2))
            log = log - c * width * bend
            by_break += [-width * bend, c * rise, -c * width * (bend - u * rise)]
        power = np.exp(log)
        loss = a + power
        share = power / loss
        by = [np.ones_like(log), np.broadcast_to(-z, log.shape), *by_break]
        return np.log(loss), np.stack([1 / loss, *(share * d for d in by)], 1)

    def shift(self, phi: np.ndarray, by: float) -> np.ndarray:
        moved = np.array(phi, dtype=float)
        moved[:, 1] += phi[:, 2] * by
        moved[:, 4::3] += by
        return moved

    def ordered(self, phi: np.ndarray) -> np.ndarray:
        """The same laws (S, p) with their breaks by size."""
        triples = phi[:, 3:].reshape(len(phi), self.breaks, 3)
        order = np.argsort(triples[:, :, 1], axis=1)[:, :, None]
        sorted_ = np.take_along_axis(triples, order, axis=1).reshape(len(phi), -1)
        return np.concatenate([phi[:, :3], sorted_], axis=1)


class BrokenOnce(Broken):
    """A broken power law with one break."""

    breaks = 1
    name = "broken1"
    formula = "L(x) = a + b·x^(−c0)·(1 + (x/d1)^(1/f1))^(−c1·f1)"
    parameters = ("a", "b", "c0", "c1", "d1", "f1")
    logged = ("b", "d1", "f1")
    assumes = (
        "Two regimes of the same loss, each a power law above one floor a, with a smooth change of exponent "
        "at a size d1 that lies among the sizes measured; no further break beyond the largest of them."
    )
    refusal = "its six parameters would follow the noise"


class BrokenTwice(Broken):
    """A broken power law with two breaks."""

    breaks = 2
    name = "broken2"
    formula = "L(x) = a + b·x^(−c0)·∏_{i=1,2} (1 + (x/d_i)^(1/f_i))^(−c_i·f_i)"
    parameters = ("a", "b", "c0", "c1", "d1", "f1", "c2", "d2", "f2")
    logged = ("b", "d1", "f1", "d2", "f2")
    assumes = (
        "Three regimes of the same loss, each a power law above one floor a, with smooth changes of exponent "
        "at sizes d1 < d2 that lie among the sizes measured; no further break beyond the largest of them."
    )
    refusal = "its nine parameters would follow the noise"


FORMS: dict[str, Form] = {
    form.name: form for form in (PowerLaw(), OffsetPowerLaw(), BrokenOnce(), BrokenTwice())
}
"""From the plainest to the most flexible: each is a special case of the next."""
