"""Held-out extrapolation: a joint law fitted without the largest runs, and how far it misses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chemscale.laws.axis.fit import LEVEL, FitError
from chemscale.laws.joint.fit import SurfaceFit, fit_surface
from chemscale.laws.joint.huber import DELTA
from chemscale.laws.joint.surfaces import Surface


@dataclass(frozen=True)
class HeldOut:
    """One run that the law did not see."""

    place: int
    """Of the run among those given."""
    inputs: tuple[float, ...]
    compute: float
    loss: float
    predicted: float
    interval: tuple[float, float]
    """At LEVEL, in which such a run is expected: the law's uncertainty and a run's noise."""

    @property
    def error(self) -> float:
        """Predicted over observed, less 1."""
        return self.predicted / self.loss - 1

    @property
    def inside(self) -> bool:
        """Whether the observed loss lies in the interval."""
        return self.interval[0] <= self.loss <= self.interval[1]


@dataclass(frozen=True)
class Extrapolation:
    """A fit to the smaller runs and its errors at the largest."""

    fit: SurfaceFit
    runs: tuple[HeldOut, ...]
    factor: float
    """Compute of the largest run held out over that of the largest run fitted."""

    @property
    def mean_error(self) -> float:
        """Mean of absolute error."""
        return float(np.mean([abs(run.error) for run in self.runs]))

    @property
    def words(self) -> str:
        """The errors in a sentence."""
        inside = sum(run.inside for run in self.runs)
        return (
            f"Fitted to the {len(self.fit.loss)} smaller runs, the law misses the {len(self.runs)} largest "
            f"({self.factor:.3g} times the compute) by {self.mean_error:.2%} on average; {inside} of "
            f"{len(self.runs)} lie in the {LEVEL:.0%} interval of a new run."
        )

    def to_dict(self) -> dict[str, Any]:
        """For ``law.json``."""
        return {
            "fitted": len(self.fit.loss), "parameters": self.fit.values, "factor": self.factor,
            "mean_error": self.mean_error, "level": LEVEL,
            "runs": [
                {
                    "place": run.place, "inputs": list(run.inputs), "compute": run.compute, "loss": run.loss,
                    "predicted": run.predicted, "interval": list(run.interval), "error": run.error,
                    "inside": run.inside,
                }
                for run in self.runs
            ],
        }  # fmt: skip


def extrapolation(
    surface: Surface,
    inputs: np.ndarray,
    loss: np.ndarray,
    *,
    compute: np.ndarray | None = None,
    hold: int = 1,
    units: np.ndarray | None = None,
    delta: float = DELTA,
    fixed: Mapping[str, float] | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    trunks: Sequence[Any] | np.ndarray | None = None,
    starts: np.ndarray | None = None,
    warm: np.ndarray | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> tuple[Extrapolation | None, str]:
    """Refit without the largest configurations and predict them.

    Args:
        surface: the form.
        inputs: (n, k) in the order of ``surface.columns``.
        loss: (n,).
        compute: (n,) of each run, as counted; None for parameters times tokens, whose order is the same where
            compute is 6ND.
        hold: how many configurations are held out, largest first.
        units: (n,) number of the configuration of each run; None for runs of equal inputs, whatever their
            seed.
        delta: of Huber's loss.
        fixed: parameters that are held, by name.
        groups: (n,) the configuration of each run.
        trunks: (n,) what each run shares its noise with.
        starts: (S, p) for the refit; None for the form's grid.
        warm: (m, p) optima of all runs, from which it may begin (see ``fit_surface``).
        bootstrap: draws.
        seed: of the draws.

    Returns:
        The result and ``""``, or None and why there is none.
    """
    inputs, loss = np.asarray(inputs, dtype=float), np.asarray(loss, dtype=float)
    size = inputs[:, 0] * inputs[:, 1] if compute is None else np.asarray(compute, dtype=float)
    names = np.unique(inputs, axis=0, return_inverse=True)[1].ravel() if units is None else units
    count = len(np.unique(names))
    if not 0 < hold < count:
        return None, f"hold={hold}: choose from 1 to {count - 1} of {count} configurations."
    out = _of_largest(names, size, hold)
    try:
        fit = fit_surface(
            surface, inputs[~out], loss[~out], delta=delta, fixed=fixed, starts=starts, warm=warm,
            groups=None if groups is None else np.asarray(groups)[~out],
            trunks=None if trunks is None else np.asarray(trunks)[~out], bootstrap=bootstrap, seed=seed,
        )  # fmt: skip
    except FitError as error:
        return None, f"Too little remains without the {out.sum()} largest runs. {error}"
    runs = _predicted(fit, inputs, loss, size, out)
    return Extrapolation(fit, runs, float(size[out].max() / size[~out].max())), ""


def _of_largest(names: np.ndarray, size: np.ndarray, hold: int) -> np.ndarray:
    """(n,) which runs are of the `hold` largest configurations, each as large as its largest run."""
    order = sorted(set(names.tolist()), key=lambda name: -size[names == name].max())
    return np.isin(names, order[:hold])


def _predicted(
    fit: SurfaceFit, inputs: np.ndarray, loss: np.ndarray, size: np.ndarray, out: np.ndarray
) -> tuple[HeldOut, ...]:
    """The runs that `fit` did not see (`out` (n,)), largest first."""
    places = np.flatnonzero(out)[np.argsort(-size[out], kind="stable")]
    columns = inputs[places].T
    predicted, (low, high) = fit.predict(*columns), fit.run_band(*columns)
    return tuple(
        HeldOut(
            int(place), tuple(map(float, inputs[place])), float(size[place]), float(loss[place]),
            float(predicted[i]), (float(low[i]), float(high[i])),
        )
        for i, place in enumerate(places)
    )  # fmt: skip
