"""Whether a plan keeps its promise: after its runs the goal's interval is as narrow as it was said to be.

python benchmarks/plan_promise.py [--sweeps 60] [--bootstrap 200] [--noise 0.005,0.01] [--designs 4x3,5x4]
    [--goals loss,exponent] [--truths additive,bend]

Each sweep is a grid of runs of a law that is known, with normal noise of log loss. It is fitted as ``fit``
does, six runs are planned within ten times the largest run's compute (as ``plan`` does: at most two of one
configuration), simulated, and fitted with the old ones. A row has the medians of the narrowing that was
promised and of what came about, the quartiles of their difference, how often the 95 % intervals of the goal
held the truth before, after, and after six runs that another draw's law had planned ("given": points that do
not depend on the noise of the runs that they are fitted with), and the sweeps that had a law. The truth has
the law's form, or bends where the law does not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chemscale.laws import Additive, FitError, SurfaceFit, fit_surface
from chemscale.laws.allocation.design import Design, Goal, choose_points, exponents, loss_of_budget
from chemscale.laws.allocation.known import KnownLaw
from chemscale.planning.candidates import Near
from chemscale.planning.proposal import REACH, REPEATS

SURFACE = Additive()
TRUTH = (0.9, 20.0, 300.0, 0.35, 0.4)
POINTS = 6
Law = Callable[[np.ndarray], np.ndarray]


def additive(inputs: np.ndarray) -> np.ndarray:
    """Loss (m,) of the law at (m, 2) N and D."""
    return SURFACE.value(np.array(TRUTH), *inputs.T)


def bent(inputs: np.ndarray) -> np.ndarray:
    """The same where the exponent of N falls with size, which the form does not have."""
    n, d = inputs.T
    x = np.log(n / 1e6)
    e, a, b, alpha, beta = TRUTH
    return e + a * np.exp(-alpha * np.log(n) + 0.01 * x**2) + b * d**-beta


TRUTHS: dict[str, Law] = {"additive": additive, "bend": bent}


@dataclass(frozen=True)
class Kept:
    """What a plan promised and what came of it: narrowing, and whether the goal was held."""

    promised: float
    came: float
    before: bool
    after: bool
    given: bool


def grid(design: str) -> np.ndarray:
    """(m, 2) N and D of a design ``SIZESxAMOUNTS`` over two decades each."""
    sizes, amounts = map(int, design.split("x"))
    n, d = np.geomspace(1e5, 1e7, sizes), np.geomspace(1e7, 1e9, amounts)
    return np.array([[x, y] for x in n for y in d])


def offered(old: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m, 2) candidates a factor of two apart that lie near the runs, and (m,) their FLOPs."""
    n, d = 1e4 * 2.0 ** np.arange(16), 1e6 * 2.0 ** np.arange(16)
    every = np.array([[0.0, x, y, 6 * x * y] for x in n for y in d])
    spans = [(float(x.min()), float(x.max())) for x in (*old.T, 6 * old.prod(1))]
    every = every[Near(*spans, REACH, "").allows(every)]
    return every[:, 1:3], every[:, 3]


def fitted(inputs: np.ndarray, loss: np.ndarray, bootstrap: int, seed: int) -> SurfaceFit:
    """The law of runs, from a start that the full grid would find too."""
    start = SURFACE.internal(np.array([TRUTH]))
    return fit_surface(SURFACE, inputs, loss, starts=start, bootstrap=bootstrap, seed=seed)


def width(fit: SurfaceFit, goal: Goal) -> tuple[float, float, float]:
    """Lower and upper end of the law's own interval of the goal's first quantity, and its width."""
    low, high = (float(goal.shown(end)[0]) for end in fit.interval(goal.target))
    return low, high, high - low


def sweep(law: Law, old: np.ndarray, noise: float, goal_name: str, bootstrap: int, seed: int) -> Kept:
    """Fit, plan, train and fit again, once.

    Raises:
        FitError: the runs of this draw do not give a law.
    """
    random = np.random.default_rng(seed)
    loss = law(old) * np.exp(random.normal(0, noise, len(old)))
    most = float(6 * old.prod(1).max())
    goal = exponents(SURFACE) if goal_name == "exponent" else loss_of_budget(SURFACE, 10 * most)
    elsewhere = law(old) * np.exp(random.normal(0, noise, len(old)))

    def plan(fit: SurfaceFit) -> Design:
        known, (inputs, flops) = KnownLaw.of_fit(fit), offered(old)
        return choose_points(known, inputs, flops, goal, budget=10 * most, points=POINTS, repeats=REPEATS)

    def train(inputs: np.ndarray) -> tuple[float, float, float]:
        more = law(inputs) * np.exp(random.normal(0, noise, len(inputs)))
        both = np.vstack([old, inputs]), np.append(loss, more)
        return width(fitted(*both, bootstrap, seed + 1), goal)

    before = fitted(old, loss, bootstrap, seed)
    design = plan(before)
    _, _, now, after = design.intervals()[0]
    first, second = width(before, goal), train(design.inputs)
    third = train(plan(fitted(old, elsewhere, bootstrap, seed)).inputs)
    truth = TRUTH[3] if goal_name == "exponent" else best_loss(law, 10 * most)
    return Kept(
        1 - (after[1] - after[0]) / (now[1] - now[0]), 1 - second[2] / first[2],
        first[0] <= truth <= first[1], second[0] <= truth <= second[1], third[0] <= truth <= third[1],
    )  # fmt: skip


def best_loss(law: Law, flops: float) -> float:
    """The least loss of a budget."""
    n = np.geomspace(1e3, 1e12, 20001)
    return float(law(np.stack([n, flops / (6 * n)], 1)).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=60)
    parser.add_argument("--bootstrap", type=int, default=200)
    parser.add_argument("--noise", default="0.005,0.01")
    parser.add_argument("--goals", default="loss,exponent")
    parser.add_argument("--truths", default=",".join(TRUTHS))
    parser.add_argument("--designs", default="4x3,5x4,7x6")
    options = parser.parse_args()
    print(
        "truth      design noise goal      promised  came  difference (quartiles)  held before  after  given"
    )
    for name in options.truths.split(","):
        law, goals = TRUTHS[name], options.goals.split(",")
        for design in options.designs.split(","):
            for noise in map(float, options.noise.split(",")):
                for goal in (goal for goal in goals if goal == "loss" or name == "additive"):
                    kept = []
                    for seed in range(options.sweeps):
                        try:
                            kept.append(sweep(law, grid(design), noise, goal, options.bootstrap, 1000 * seed))
                        except FitError:
                            continue
                    print(f"{name:<10} {design:<6} {noise:<5} {goal:<9} {row(kept)}", flush=True)


def row(kept: list[Kept]) -> str:
    """Medians and quartiles of a cell."""
    gap = np.percentile([k.came - k.promised for k in kept], [25, 50, 75])
    promised, came = np.median([[k.promised, k.came] for k in kept], axis=0)
    before, after, given = np.mean([[k.before, k.after, k.given] for k in kept], axis=0)
    quartiles = " ".join(f"{part:+.0%}" for part in gap)
    held = f"{before:11.0%} {after:6.0%} {given:6.0%}"
    return f"{promised:8.0%} {came:5.0%}  {quartiles:<22} {held}  ({len(kept)})"


if __name__ == "__main__":
    main()
