"""How often the intervals of a joint law hold the truth, in simulated sweeps whose law is known.

python benchmarks/coverage_joint.py [CELL ...] [--sweeps 300] [--bootstrap 200] [--check-starts] [--list]

A cell is a truth, a grid of sizes and amounts of data, a noise and a number of seeds. Each sweep draws the
noise of log loss anew, fits the form that is named, and asks each interval whether it holds the truth: of the
parameters, of the loss at 1, 2 and 10 times the compute of the largest run (N and D each √k times; "form" is
the interval of the form alone, "L" the band that is shown), and where the form is additive of N* and of the
loss L* where that compute is spent best (Approach 3; "shown" counts the sweeps without an alarm only, the
others have no interval). `iso` cells do the same for Approach 2 (exponent, N*, loss), `trunk` cells draw one
deviation for each trunk beside each run's own. A row ends with the median half width of the band of the loss
at ten times and how many times that of the form alone it is, along N and D and where compute is spent best,
and with the Monte-Carlo error of a coverage of 95 %.

Descents start at the truth, which changes nothing that a full grid would not find; `--check-starts` fits some
sweeps from the form's own grid too and prints the largest difference of an end of an interval.
"""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
from scipy import optimize

from chemscale.laws import Additive, FitError, SurfaceFit, allocate_surface, fit_surface
from chemscale.laws.allocation.isoflop import allocate_isoflop
from chemscale.laws.checks.form import check_form
from chemscale.laws.checks.holdout import extrapolation
from chemscale.laws.joint.repeats import Repeats
from chemscale.laws.joint.surfaces import Surface, Tied

TIMES = (1, 2, 10)
CHEMISTRY = (0.9, 20.0, 300.0, 0.35, 0.4)
"""E, A, B, α, β for N from 10⁵ to 10⁸ and D from 10⁶ to 10⁹."""
LEAN = (0.4, 20.0, 300.0, 0.3, 0.4)
"""The same with a term of N that weighs more."""
CHINCHILLA = (1.82, 482.0, 2085.0, 0.348, 0.366)
"""Besiroglu et al. 2024."""
Law = Callable[..., np.ndarray]
Held = dict[str, tuple[bool, float]]
"""Quantity → whether its interval held the truth, and half its width over the truth."""


@dataclass(frozen=True)
class Cell:
    """A truth and the sweeps that are drawn from it."""

    name: str
    law: Law
    """Loss of the columns of `surface`."""
    surface: Surface
    """The form that is named."""
    theta: tuple[float, ...] | None
    """Its true parameters; None where no parameters are."""
    start: tuple[float, ...]
    """Of the descents."""
    sizes: tuple[int, int] = (5, 4)
    n: tuple[float, float] = (1e5, 1e8)
    d: tuple[float, float] = (1e6, 1e9)
    unique: float = np.inf
    """Distinct tokens of the corpus."""
    noise: float = 0.005
    seeds: int = 1
    trunk: float = 0.0
    """Standard deviation of log loss that runs of one N and seed share."""
    told: bool = True
    """Whether the fit is told which runs share a trunk."""
    extra: dict[str, float] = field(default_factory=dict)

    @cached_property
    def optima(self) -> list[tuple[float, float]]:
        """(N, loss) where 1, 2 and 10 times the compute of the largest run is spent best."""
        return [best(self.law, k * 6 * self.n[1] * self.d[1]) for k in TIMES]

    def design(self) -> tuple[np.ndarray, np.ndarray]:
        """(n, k) inputs and (n,) number of the trunk of each run."""
        n, d = np.geomspace(*self.n, self.sizes[0]), np.geomspace(*self.d, self.sizes[1])
        rows = [(a, b, s) for s in range(self.seeds) for a in n for b in d]
        names = {key: i for i, key in enumerate(dict.fromkeys((a, s) for a, _, s in rows))}
        inputs = np.array([(a, b, min(b, self.unique)) for a, b, _ in rows])
        return inputs[:, : len(self.surface.columns)], np.array([names[a, s] for a, _, s in rows])

    def ahead(self) -> np.ndarray:
        """(3, k) inputs at 1, 2 and 10 times the compute of the largest run."""
        n, d = (end[1] * np.sqrt(TIMES) for end in (self.n, self.d))
        return np.stack([n, d, np.minimum(d, self.unique)], 1)[:, : len(self.surface.columns)]


def bend(
    theta: tuple[float, ...], n: np.ndarray, d: np.ndarray, at: tuple[float, float], turn: tuple[float, float]
) -> np.ndarray:
    """The additive law whose exponents of N and of D grow (or fall) by `turn` above `at`, as no form here
    does."""
    e, a, b, alpha, beta = theta
    of_n, of_d = ((1 + (x / place) ** 2) ** (-by / 2) for x, place, by in zip((n, d), at, turn, strict=True))
    return e + a * n**-alpha * of_n + b * d**-beta * of_d


def additive(name: str, theta: tuple[float, ...] = CHEMISTRY, **options: object) -> Cell:
    surface = Additive()
    return Cell(name, partial(surface.value, np.array(theta)), surface, theta, theta, **options)  # type: ignore[arg-type]


def bent(
    name: str,
    turn: float,
    at: float = 1e7,
    theta: tuple[float, ...] = CHEMISTRY,
    of_d: float = 0.0,
    **options: object,
) -> Cell:
    def law(n: np.ndarray, d: np.ndarray) -> np.ndarray:
        return bend(theta, n, d, (at, 1e8), (turn, of_d))

    return Cell(name, law, Additive(), None, theta, **options)  # type: ignore[arg-type]


def repeated(name: str, stars: tuple[float, float] = (15.0, 5.0), **options: object) -> Cell:
    surface, theta = Repeats(), (*CHEMISTRY, *stars)
    law = partial(surface.value, np.array(theta))
    return Cell(name, law, surface, theta, theta, **{"unique": 2e7, "noise": 0.005, **options})  # type: ignore[arg-type]


def tied(name: str, **options: object) -> Cell:
    surface, theta = Tied(), (0.9, 20.0, 100.0, 0.35)
    return Cell(name, partial(surface.value, np.array(theta)), surface, theta, theta, **options)  # type: ignore[arg-type]


WIDE: dict[str, object] = {"n": (1e7, 1e10), "d": (2e8, 2e11)}
CELLS = [
    additive("additive 4x3 0.3%", sizes=(4, 3), noise=0.003),
    additive("additive 4x3 2%", sizes=(4, 3), noise=0.02),
    additive("additive 5x4 0.5%"),
    additive("additive 5x4 2%", noise=0.02),
    additive("additive 7x6 0.3%", sizes=(7, 6), noise=0.003),
    additive("additive 7x6 2%", sizes=(7, 6), noise=0.02),
    additive("additive 4x3 1% 3 seeds", sizes=(4, 3), noise=0.01, seeds=3),
    additive("additive 5x4 1% 3 seeds", noise=0.01, seeds=3),
    additive("additive 7x6 1% 3 seeds", sizes=(7, 6), noise=0.01, seeds=3),
    additive("chinchilla 5x4 1%", CHINCHILLA, noise=0.01, **WIDE),
    additive("low floor 5x4 0.5%", (0.1, 20.0, 300.0, 0.35, 0.4)),
    additive("no floor 5x4 0.5%", (1e-9, 20.0, 300.0, 0.35, 0.4)),
    additive("low floor 4x3 2%", (0.1, 20.0, 300.0, 0.35, 0.4), sizes=(4, 3), noise=0.02),
    additive("tied, additive named 5x4 1%", (0.9, 20.0, 100.0, 0.35, 0.35), noise=0.01),
    tied("tied 4x3 1%", sizes=(4, 3), noise=0.01),
    tied("tied 5x4 0.5%"),
    tied("tied 5x4 1% 3 seeds", noise=0.01, seeds=3),
    repeated("repeats 5x4 0.5%"),
    repeated("repeats 7x6 0.5%", sizes=(7, 6)),
    repeated("repeats 7x6 2%", sizes=(7, 6), noise=0.02),
    repeated("repeats 5x4 1% 3 seeds", noise=0.01, seeds=3),
    bent("bend +0.15 5x4 0.3%", 0.15, noise=0.003),
    bent("bend +0.15 7x6 0.3%", 0.15, sizes=(7, 6), noise=0.003),
    bent("bend -0.15 7x6 0.3%", -0.15, sizes=(7, 6), noise=0.003),
    bent("bend -0.15 7x6 1% 3 seeds", -0.15, sizes=(7, 6), noise=0.01, seeds=3),
    bent("bend +0.4 7x6 0.3%", 0.4, sizes=(7, 6), noise=0.003, theta=LEAN),
    bent("bend -0.3 7x6 0.3%", -0.3, sizes=(7, 6), noise=0.003, theta=LEAN),
    bent("bend ahead -0.15 5x4 0.5%", -0.15, at=1e8),
    *(
        bent(f"bend {turn:+g} of {along} {a}x{b} {100 * noise:g}%{' 3 seeds' * (seeds > 1)}",
             turn if "N" in along else 0.0, of_d=turn if "D" in along else 0.0, sizes=(a, b), noise=noise,
             seeds=seeds, theta=CHEMISTRY if abs(turn) < 0.2 else LEAN)
        for along, turn, a, b, noise, seeds in (
            ("N", 0.15, 4, 3, 0.003, 1), ("N", -0.15, 4, 3, 0.003, 1), ("N", 0.15, 5, 4, 0.02, 1),
            ("N", 0.4, 4, 3, 0.003, 1), ("N", -0.3, 4, 3, 0.02, 1), ("N", 0.4, 5, 4, 0.01, 3),
            ("D", 0.15, 5, 4, 0.003, 1), ("D", 0.15, 7, 6, 0.003, 1), ("D", -0.15, 7, 6, 0.01, 3),
            ("D", 0.4, 5, 4, 0.005, 1), ("N and D", 0.15, 4, 3, 0.01, 3), ("N and D", 0.15, 5, 4, 0.003, 1),
            ("N and D", -0.15, 5, 4, 0.003, 1), ("N and D", 0.15, 7, 6, 0.02, 1),
        )
    ),
    *(
        additive(f"trunk {a}x{b} {s} seed{'s' * (s > 1)} {share:g}% own 0.3%{'' if told else ' untold'}",
                 sizes=(a, b), noise=0.003, seeds=s, trunk=share / 100, told=told)
        for a, b, s, share in ((5, 4, 1, 0.3), (5, 4, 1, 0.0), (6, 5, 1, 0.6), (5, 4, 3, 0.3), (7, 6, 1, 0.3))
        for told in (False, True)
    ),
]  # fmt: skip


def simulate(cell: Cell, sweeps: int, bootstrap: int, check: int = 0) -> tuple[list[Held], int, float]:
    """What held in each sweep, how many sweeps had no law, and the largest difference that starts made."""
    inputs, trunks = cell.design()
    exact = cell.law(*inputs.T)
    groups = np.unique(inputs, axis=0, return_inverse=True)[1].ravel() if cell.seeds > 1 else None
    told = {"trunks": trunks} if cell.trunk or "trunk" in cell.name else {}
    told = told if cell.told else {}
    starts = cell.surface.internal(np.array(cell.start)[None])
    around = np.random.default_rng(0).standard_normal((4, starts.shape[1]))
    starts = np.concatenate([starts, starts + 0.05 * around * np.abs(starts)])
    found, failed, apart = [], 0, 0.0
    for sweep in range(sweeps):
        random = np.random.default_rng([sweep, 1])
        noise = cell.noise * random.standard_normal(len(exact))
        noise += cell.trunk * random.standard_normal(trunks.max() + 1)[trunks]
        fit = partial(
            fit_surface, cell.surface, inputs, exact * np.exp(noise), groups=groups,
            bootstrap=bootstrap, seed=sweep, **told,
        )  # fmt: skip
        try:
            law = fit(starts=starts)
        except FitError:
            failed += 1
            continue
        found.append(held(cell, law) | said(cell, law, groups, told.get("trunks"), starts))
        if sweep < check:
            again = fit()
            pairs = zip(law.band(*cell.ahead().T), again.band(*cell.ahead().T), strict=True)
            apart = max(apart, *(float(np.abs(a / b - 1).max()) for a, b in pairs))
    return found, failed, apart


def held(cell: Cell, law: SurfaceFit) -> Held:
    """Whether each interval of a law holds the truth."""
    out: Held = {}
    if cell.theta is not None:
        for name, true in zip(cell.surface.parameters, cell.theta, strict=True):
            if name not in ("A", "B"):
                low, high = law.intervals[name]
                out[name] = low <= true <= high, (high - low) / 2 / true
    true = cell.law(*cell.ahead().T)
    for name, one in (("form", replace(law, drift=None)), ("L", law)):
        for k, t, low, high in zip(TIMES, true, *one.band(*cell.ahead().T), strict=True):
            out[f"{name} x{k}"] = bool(low <= t <= high), (high - low) / 2 / t
    return out


def said(
    cell: Cell, law: SurfaceFit, groups: np.ndarray | None, trunks: np.ndarray | None, starts: np.ndarray
) -> Held:
    """Whether the form is said to hold, and whether what is said instead of a band holds the truth."""
    configurations = np.arange(len(law.loss)) if groups is None else groups
    fifth = max(2, round(0.2 * len(np.unique(configurations))))
    outs = [
        extrapolation(
            cell.surface, law.inputs, law.loss, hold=hold, groups=groups, trunks=trunks, starts=starts,
            bootstrap=1,
        )[0]
        for hold in (1, fifth)
    ]  # fmt: skip
    check = check_form(law, [each for each in outs if each is not None])
    ahead = cell.ahead()
    true, found, ends = cell.law(*ahead.T), law.predict(*ahead.T), law.band(*ahead.T)
    out: Held = {"no alarm": (check.holds, 0.0)}
    for place, k in enumerate(TIMES):
        off = None if check.holds else check.off(k)
        if off is None:
            half = (ends[1] - ends[0])[place] / 2 / true[place]
            out[f"said x{k}"] = bool(ends[0][place] <= true[place] <= ends[1][place]), half
        else:
            out[f"said x{k}"] = bool(abs(found[place] / true[place] - 1) <= off), off
    if cell.surface.name == "additive" and cell.start[0] > 1e-6:
        out |= _optimum(cell, law, check.holds)
    return out


def _optimum(cell: Cell, law: SurfaceFit, shown: bool) -> Held:
    out: Held = {}
    for name, one in (("form", replace(law, drift=None)), ("", law)):
        try:
            with np.errstate(all="ignore"):
                found = allocate_surface(one)
                at = [found.at(k * 6 * cell.n[1] * cell.d[1]) for k in TIMES]
        except FitError:
            return {}
        if cell.theta is not None and not name:
            alpha, beta = cell.theta[3:5]
            a, ends = beta / (alpha + beta), found.intervals["exponent_n"]
            out["a"] = ends[0] <= a <= ends[1], (ends[1] - ends[0]) / 2
        for k, each, (n, loss) in zip(TIMES, at, cell.optima, strict=True):
            for what, true, ends in (("N*", n, each.n_interval), ("L*", loss, each.loss_interval)):
                held = bool(ends[0] <= true <= ends[1]), (ends[1] - ends[0]) / 2 / true
                out[f"{name} {what} x{k}".strip()] = held
                if shown and not name:
                    out[f"shown {what} x{k}"] = held
    return out


def best(law: Law, budget: float) -> tuple[float, float]:
    """(N, loss) at which a law spends 6·N·D best."""

    def along(log_n: float) -> float:
        n = np.exp(log_n)
        return float(law(np.array([n]), np.array([budget / 6 / n]))[0])

    grid = np.linspace(np.log(1e3), np.log(1e14), 300)
    near = grid[int(np.argmin([along(x) for x in grid]))]
    end = optimize.minimize_scalar(along, bounds=(near - 0.2, near + 0.2), method="bounded",
                                   options={"xatol": 1e-9})  # fmt: skip
    return float(np.exp(end.x)), float(end.fun)


@dataclass(frozen=True)
class Isoflop:
    """Runs at a few budgets, their sizes on a fixed grid about the middle of all optima."""

    name: str
    budgets: int = 4
    sizes: int = 6
    width: float = 8.0
    noise: float = 0.002
    seeds: int = 1
    theta: tuple[float, ...] = CHEMISTRY
    lowest: float = 1e13
    ratio: float = 10**0.75

    def simulate(self, sweeps: int) -> tuple[list[Held], int]:
        """What held in each sweep, and how many had no allocation."""
        law = partial(Additive().value, np.array(self.theta))
        budgets = self.lowest * self.ratio ** np.arange(self.budgets)
        optima = [best(law, c)[0] for c in budgets]
        n = np.concatenate(
            [np.repeat(np.geomspace(o / self.width, o * self.width, self.sizes), self.seeds) for o in optima]
        )
        c = np.repeat(budgets, self.sizes * self.seeds)
        d, found, failed = c / 6 / n, [], 0
        ends = [(k, k * budgets[-1], *best(law, k * budgets[-1])) for k in (1, 10)]
        a = self.theta[4] / (self.theta[3] + self.theta[4])
        for sweep in range(sweeps):
            random = np.random.default_rng([sweep, 2])
            loss = law(n, d) * np.exp(self.noise * random.standard_normal(len(n)))
            try:
                with np.errstate(all="ignore"):
                    allocation = allocate_isoflop(n, d, c, loss, seed=sweep)
                    at = [allocation.at(end[1]) for end in ends]
            except FitError:
                failed += 1
                continue
            low, high = allocation.intervals["exponent_n"]
            out = {"a": (low <= a <= high, (high - low) / 2)}
            for (k, _, best_n, best_loss), one in zip(ends, at, strict=True):
                (low, high), loss_ends = one.n_interval, one.loss_interval
                out[f"N* x{k}"] = low <= best_n <= high, (high - low) / 2 / best_n
                if loss_ends is not None and np.isfinite(loss_ends).all():
                    out[f"L* x{k}"] = (
                        loss_ends[0] <= best_loss <= loss_ends[1],
                        np.ptp(loss_ends) / 2 / best_loss,
                    )
            found.append(out)
        return found, failed


ISO = [
    Isoflop(f"iso {k} budgets {s} sizes x{w:g} {100 * noise:g}%", k, s, w, noise)
    for k, s, w, noise in (
        (3, 5, 4, 0.002), (3, 5, 4, 0.01), (4, 6, 8, 0.002), (4, 6, 8, 0.01), (4, 7, 4, 0.002),
        (5, 6, 8, 0.002), (7, 7, 4, 0.005), (7, 7, 16, 0.002),
    )
] + [Isoflop("iso 4 budgets 6 sizes x8 0.2% chinchilla", theta=CHINCHILLA, lowest=1e19)]  # fmt: skip


def row(name: str, found: list[Held], failed: int, note: str = "") -> str:
    """A line of the table."""
    if not found:
        return f"{name:42s} no law in {failed} sweeps"
    shares: dict[str, dict[str, str]] = {}
    for key in dict.fromkeys(key for one in found for key in one):
        what, _, times = key.partition(" x")
        held = np.mean([one[key][0] for one in found if key in one])
        shares.setdefault(what, {})[times] = f"{100 * held:.0f}"
    parts = [
        f"{what}{' x' * any(each)}{'/'.join(each)} {' / '.join(each.values())}"
        for what, each in shares.items()
    ]
    error = 100 * np.sqrt(0.95 * 0.05 / len(found))
    text = f"{name:42s} {'  '.join(parts)}{_widths(found)}; {len(found)} sweeps"
    return f"{text} (±{error:.1f}){f', {failed} without' if failed else ''}{note}"


def _widths(found: list[Held]) -> str:
    """Median half widths at ten times, and how many times that of the form alone they are."""
    out = ""
    for of_form, shown, where in (("form x10", "L x10", "at ten times"), ("form L* x10", "L* x10", "of L*")):
        pairs = np.array([(one.get(of_form, one[shown])[1], one[shown][1]) for one in found if shown in one])
        if len(pairs):
            half, times = np.median(pairs[:, 1]), np.median(pairs[:, 1] / pairs[:, 0])
            out += f" | ±{half:.2%} {where}" + ("" if of_form not in found[0] else f" (x{times:.2f})")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", default=["*"], help="names, with * for any")
    parser.add_argument("--sweeps", type=int, default=300)
    parser.add_argument("--bootstrap", type=int, default=200)
    parser.add_argument("--check-starts", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()

    def asked(name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in options.cells)

    for cell in filter(lambda cell: asked(cell.name), CELLS):
        if options.list:
            print(cell.name)
            continue
        check = 5 if options.check_starts else 0
        found, failed, apart = simulate(cell, options.sweeps, options.bootstrap, check)
        print(
            row(cell.name, found, failed, f", starts move ends by {apart:.1e}" if check else ""), flush=True
        )
    for iso in filter(lambda iso: asked(iso.name), ISO):
        print(iso.name if options.list else row(iso.name, *iso.simulate(options.sweeps)), flush=True)


if __name__ == "__main__":
    main()
