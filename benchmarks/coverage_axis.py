"""How often the intervals of a law of one axis hold the truth: simulated sweeps whose law is known.

python benchmarks/coverage_axis.py [--sweeps 400] [--sizes 5,6,8,12] [--noise 0.003,0.01] [--truths "…,…"]

Each sweep has one run a size over two decades of size, with normal noise of log loss. Of the law that
``fit_axis`` names: the share of sweeps in which its 95 % intervals hold the true exponent and floor (where
the truth has the named form), and the loss at the largest size, at twice and at ten times; and the median of
half its width there. Sweeps in which no law is named are counted apart: there the table shows the band that
is given instead. The standard error of a share is 1.1 points at 95 % and 400 sweeps. In names of truths write
; for a comma.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from chemscale.laws.axis.law import AHEAD, AxisLaw, fit_axis

Law = Callable[[np.ndarray], np.ndarray]


def _broken(before: float, after: float, at: float, floor: float = 0.0) -> Law:
    def law(x: np.ndarray) -> np.ndarray:
        bend = (1 + (x / (1e5 * 100**at)) ** (1 / 0.3)) ** (-(after - before) * 0.3)
        return floor + 20.0 * (x / 1e5) ** -before * bend

    return law


@dataclass(frozen=True)
class Truth:
    """A law, and its parameters where it has a form."""

    law: Law
    values: dict[str, float] = field(default_factory=dict)


TRUTHS = {
    "no floor, 0.25": Truth(lambda x: 20 * x**-0.25, {"beta": 0.25, "floor": 0.0}),
    "floor 1, 0.25": Truth(lambda x: 1 + 20 * x**-0.25, {"beta": 0.25, "floor": 1.0}),
    "floor 0.5, 0.10": Truth(lambda x: 0.5 + 3 * x**-0.1, {"beta": 0.1, "floor": 0.5}),
    "bend 0.30 to 0.10": Truth(_broken(0.3, 0.1, 0.5)),
    "bend 0.25 to 0.15": Truth(_broken(0.25, 0.15, 0.5)),
    "bend 0.40 to 0.15, floor": Truth(_broken(0.4, 0.15, 0.4, floor=2.0)),
    "bend 0.10 to 0.30": Truth(_broken(0.1, 0.3, 0.5)),
    "bend 0.20 to 0.30": Truth(_broken(0.2, 0.3, 0.5)),
}


def name_law(x: np.ndarray, y: np.ndarray, bootstrap: int) -> AxisLaw:
    """The law as ``fit_axis`` names it; broken forms are fitted only where one would be named."""
    law = fit_axis(x, y, forms=("power", "offset"))
    return law if law.chosen is not None else fit_axis(x, y, bootstrap=bootstrap)


@dataclass
class Tally:
    """Whether intervals held the truth, and how wide they were."""

    held: list[np.ndarray] = field(default_factory=list)
    widths: list[np.ndarray] = field(default_factory=list)

    def add(self, low: np.ndarray, high: np.ndarray, truth: np.ndarray) -> None:
        self.held.append((low <= truth) & (truth <= high))
        with np.errstate(all="ignore"):
            self.widths.append(np.log(high / low) / 2)

    def text(self) -> str:
        shares = "  ".join(f"{100 * share:5.1f}" for share in np.mean(self.held, axis=0))
        return f"{shares}   ±{'  ±'.join(f'{w:.1%}' for w in np.median(self.widths, axis=0))}"


def simulate(truth: Truth, sizes: int, noise: float, sweeps: int, bootstrap: int) -> list[str]:
    """Lines of one cell: a line for each form that was named, and for no form."""
    x = 1e5 * np.geomspace(1, 100, sizes)
    at = x[-1] * np.array(AHEAD)
    random = np.random.default_rng(sizes)
    tallies: dict[str, Tally] = {}
    values: dict[str, list[bool]] = {name: [] for name in truth.values}
    for _ in range(sweeps):
        law = name_law(x, truth.law(x) * np.exp(noise * random.standard_normal(sizes)), bootstrap)
        named = "none" if law.chosen is None else law.chosen.form.name
        tallies.setdefault(named, Tally()).add(*law.band(at), truth.law(at))
        if named == "offset":
            for name, value in truth.values.items():
                low, high = law.chosen.intervals[name]  # type: ignore[union-attr]
                values[name].append((low is None or low <= value) and (high is None or value <= high))
    lines = [
        f"{named:8s} {100 * len(each.held) / sweeps:4.0f}   {each.text()}"
        for named, each in sorted(tallies.items())
    ]
    held = "  ".join(f"{name} {100 * np.mean(each):.1f}" for name, each in values.items() if each)
    whole = Tally(
        [h for t in tallies.values() for h in t.held], [w for t in tallies.values() for w in t.widths]
    )
    return [*lines, f"{'all':8s}  100   {whole.text()}   {held}"]


def main() -> None:
    """Print a table of all cells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=400)
    parser.add_argument("--bootstrap", type=int, default=300)
    parser.add_argument("--sizes", default="5,6,8,12")
    parser.add_argument("--noise", default="0.003,0.01")
    parser.add_argument("--truths", default=",".join(name.replace(",", ";") for name in TRUTHS))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{asked.sweeps} sweeps a cell; held in % at {', '.join(f'{a:g}x' for a in AHEAD)}; half widths")
    for name in (text.replace(";", ",") for text in asked.truths.split(",")):
        for sizes in map(int, asked.sizes.split(",")):
            for noise in map(float, asked.noise.split(",")):
                print(f"\n{name}, {sizes} sizes, noise {noise:.1%}")
                lines = simulate(TRUTHS[name], sizes, noise, asked.sweeps, asked.bootstrap)
                print("\n".join(f"  {line}" for line in lines), flush=True)


if __name__ == "__main__":
    main()
