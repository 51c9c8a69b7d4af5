"""All that a report of a joint law shows, computed once: fits, their checks, what a budget buys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from chemscale.laws.allocation.compute import SIX_ND, PowerCompute, fit_compute
from chemscale.laws.allocation.envelope import Curve, allocate_envelope
from chemscale.laws.allocation.isoflop import Minima, allocate_isoflop, isoflop_minima
from chemscale.laws.allocation.optimum import Allocation, allocate_surface
from chemscale.laws.axis.fit import FitError
from chemscale.laws.checks.form import FormCheck, check_form
from chemscale.laws.checks.holdout import Extrapolation, extrapolation
from chemscale.laws.checks.per_axis import PerAxisLaw, laws_per_axis
from chemscale.laws.checks.profiles import Profile, profile
from chemscale.laws.checks.projection import CrossCheck, cross_check
from chemscale.laws.checks.sensitivity import Row, sensitivity
from chemscale.laws.data.configurations import configurations, same_configuration, trunk_names
from chemscale.laws.data.points import LawPoints, PointsError, distinct
from chemscale.laws.joint.fit import SurfaceFit, fit_surface, warm_starts
from chemscale.laws.joint.huber import DELTA
from chemscale.laws.joint.repeats import Repeats
from chemscale.laws.joint.surfaces import Additive, Kaplan, Surface, Tied

SURFACES: dict[str, Surface] = {s.name: s for s in (Additive(), Repeats(), Tied(), Kaplan())}
"""Joint forms by name."""
CONVENTIONS = ("parameters", "blocks", "non_embedding", "all")
MIN_VALUES = 3
"""Sizes and amounts of data from which a joint law is sought."""
CHECK_DRAWS = 200
HELD_SHARE = 0.2
"""Of the configurations, the largest of which are held out together."""
MAX_PROFILES = 7

Progress = Callable[[str], None]
Shared = tuple[np.ndarray | None, list[str] | None]
"""Configuration of each run, and what it shares its noise with; None where there is none."""


@dataclass
class JointAnalysis:
    """A joint law of model size and data, with every check of it.

    `refused` holds, in words, what could not be fitted or computed, and why.
    """

    points: LawPoints
    unit: str
    data_axis: str
    """``tokens`` or ``frames``: what D is."""
    fits: list[SurfaceFit]
    """The first is the law; the others stand for comparison."""
    refused: list[str]
    relation: PowerCompute = SIX_ND
    counted: bool = False
    """Whether ``relation`` follows from FLOPs of the runs."""
    checks: list[CrossCheck] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    sensitivity: list[Row] = field(default_factory=list)
    held_out: list[Extrapolation] = field(default_factory=list)
    """Of the law: without the largest configuration, and without the largest fifth of them."""
    form: FormCheck | None = None
    """Whether the runs speak against the law's form."""
    compared: list[tuple[SurfaceFit, Extrapolation]] = field(default_factory=list)
    """Every form's errors at the largest fifth."""
    conventions: list[tuple[str, SurfaceFit]] = field(default_factory=list)
    """The law with N under each count that all runs have; the first is the law itself."""
    per_axis: list[PerAxisLaw] = field(default_factory=list)
    """Power laws of one axis, where the runs form a grid."""
    allocations: list[Allocation] = field(default_factory=list)
    minima: Minima | None = None

    @property
    def law(self) -> SurfaceFit | None:
        """The first form that could be fitted."""
        return self.fits[0] if self.fits else None

    @property
    def additive(self) -> SurfaceFit | None:
        """The fit that Approach 3 follows from.

        The law where it is additive, the base law of repeats, or else the additive fit beside another law.
        """
        if self.law is not None and self.law.surface.name == "repeats":
            return base_law(self.law)
        return next((fit for fit in self.fits if fit.surface.name == "additive"), None)

    @property
    def n(self) -> np.ndarray:
        """Parameters (n,) of the runs that are fitted."""
        return self.points.table(["parameters"], self.unit)[0][:, 0]

    @property
    def d(self) -> np.ndarray:
        """Data (n,) of the runs that are fitted."""
        return self.points.table([self.data_axis], self.unit)[0][:, 0]

    @property
    def loss(self) -> np.ndarray:
        """Losses (n,) of the runs that are fitted."""
        return self.points.table([], self.unit)[1]

    @property
    def flops(self) -> np.ndarray:
        """FLOPs (n,) as counted; 6ND where nothing was counted."""
        if self.counted:
            return self.points.table(["flops"], self.unit)[0][:, 0]
        return SIX_ND(self.n, self.d)

    @property
    def corpus(self) -> float | None:
        """Distinct tokens of every run that repeats its data; None where they differ or none repeats."""
        chosen = [p.sizes for p in self.points.fitted(self.unit) if "unique_tokens" in p.sizes]
        unique = [s["unique_tokens"] for s in chosen if s["tokens"] > 1.01 * s["unique_tokens"]]
        return float(np.median(unique)) if distinct(unique) == 1 else None

    @property
    def one_corpus(self) -> bool:
        """Whether N and D describe a run: no run repeats its data, or all repeat the same amount."""
        return self.data_axis != "tokens" or self.corpus is not None or not self.points.repeats()

    @property
    def budgets(self) -> tuple[float, ...]:
        """FLOPs of the largest run: a tenth of it, all of it, and ten times."""
        most = float(self.flops.max())
        return most / 10, most, 10 * most


def has_joint(points: LawPoints, unit: str, data_axis: str) -> bool:
    """Whether the points that are fitted take enough values of both N and D for a joint law to be sought."""
    chosen = points.fitted(unit)
    return all(
        distinct(p.sizes[axis] for p in chosen if axis in p.sizes) >= MIN_VALUES
        for axis in ("parameters", data_axis)
    )


def joint_forms(points: LawPoints, unit: str, data_axis: str) -> list[str]:
    """Joint forms that suit the points: the law first, then one for comparison."""
    again = data_axis == "tokens" and points.repeats()
    chosen = points.fitted(unit)
    if not again or any("unique_tokens" not in p.sizes for p in chosen):
        return ["additive", "kaplan"]
    # Where all runs repeat equally often, nothing shows what a repeat is worth.
    epochs = [p.sizes["tokens"] / p.sizes["unique_tokens"] for p in chosen]
    alike = max(epochs) <= 1.02 * min(epochs)
    return ["additive", "kaplan"] if alike else ["repeats", "additive", "kaplan"]


def analyse(
    points: LawPoints,
    unit: str,
    data_axis: str = "tokens",
    *,
    forms: Sequence[str] = ("additive", "kaplan"),
    delta: float = DELTA,
    curves: Sequence[Curve] = (),
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> JointAnalysis:
    """Fit joint forms to points and check the first that could be fitted.

    Args:
        points: used or not.
        unit: of the loss.
        data_axis: ``tokens`` or ``frames``.
        forms: names in ``SURFACES``.
        delta: of Huber's loss.
        curves: of single runs, for Approach 1.
        bootstrap: draws.
        seed: of the draws.
        progress: called with what is being done.

    Raises:
        PointsError: a point lacks what a form takes.
    """
    found = JointAnalysis(points, unit, data_axis, [], [])
    groups = configurations(points.fitted(unit), data_axis)
    trunks = trunk_names(points.fitted(unit))
    for name in forms:
        progress(f"{name}: all starts and {bootstrap} draws")
        _add_fit(found, name, (groups, trunks), delta, bootstrap, seed)
    if found.law is None:
        return found
    _relate(found)
    progress("held-out runs")
    _hold_out(found, (groups, trunks), bootstrap, seed)
    found.form = check_form(found.law, found.held_out)
    progress("δ and outliers")
    found.sensitivity = sensitivity(found.law, seed=seed, bootstrap=CHECK_DRAWS)
    for fit in found.fits:
        progress(f"variable projection of {fit.surface.name}")
        if (check := cross_check(fit)) is not None:
            found.checks.append(check)
    for name in found.law.free[:MAX_PROFILES]:
        progress(f"profile of {name}")
        found.profiles.append(profile(found.law, name))
    progress("other counts of parameters")
    _count_otherwise(found, (groups, trunks), seed)
    pairs = (("parameters", data_axis), (data_axis, "parameters"))
    for axis, other in pairs if found.one_corpus else ():
        found.per_axis += laws_per_axis(points, axis, other, unit)
    progress("compute-optimal allocation")
    _allocate(found, curves, bootstrap, seed)
    return found


def _add_fit(
    found: JointAnalysis, name: str, shared: Shared, delta: float, bootstrap: int, seed: int
) -> None:
    """Fit one form and add it to the analysis, or the reason why it cannot be fitted."""
    surface = SURFACES[name]
    try:
        inputs, loss = found.points.table(inputs_of(surface, found.data_axis), found.unit)
        fit = fit_surface(
            surface, inputs, loss, delta=delta, groups=shared[0], trunks=shared[1], bootstrap=bootstrap,
            seed=seed,
        )  # fmt: skip
    except FitError as error:
        if str(error) not in found.refused:
            found.refused.append(str(error))
    except PointsError as error:
        found.refused.append(f"{surface.formula} is not fitted: {error}")
    else:
        found.fits.append(fit)


def base_law(fit: SurfaceFit) -> SurfaceFit:
    """The law of data that are seen once, as a fit with repeats knows it."""
    base, draws = Additive(), fit.draws
    kept = len(base.coordinates)
    return replace(
        fit,
        surface=base,
        phi=fit.phi[:kept],
        covariance=fit.covariance[:kept, :kept],
        draws=replace(
            draws,
            phi=draws.phi[:, :kept],
            covariance=None if draws.covariance is None else draws.covariance[:, :kept, :kept],
        ),
        inputs=fit.inputs[:, :2],
        fixed={name: value for name, value in fit.fixed.items() if name in base.parameters},
        drift=None if fit.drift is None else fit.drift.of_first(kept, len(base.columns)),
        notes=[*fit.notes, "For data that are seen once: the base law of the form with repeats."],
    )


def inputs_of(surface: Surface, data_axis: str) -> list[str]:
    """Axes of points for the columns of a surface."""
    return [data_axis if column == "tokens" else column for column in surface.columns]


def _relate(found: JointAnalysis) -> None:
    """C of N and D from counted FLOPs, where runs have them."""
    chosen = found.points.fitted(found.unit)
    if found.data_axis != "tokens" or any("flops" not in p.sizes for p in chosen):
        return
    flops = found.points.table(["flops"], found.unit)[0][:, 0]
    try:
        relation = fit_compute(found.n, found.d, flops)
    except FitError as error:
        found.refused.append(str(error))
        return
    same = np.allclose(flops, SIX_ND(found.n, found.d), rtol=1e-6)
    found.relation, found.counted = (SIX_ND, False) if same else (relation, True)


def _hold_out(found: JointAnalysis, shared: Shared, bootstrap: int, seed: int) -> None:
    groups, trunks = shared
    law = found.law
    assert law is not None
    chosen = found.points.fitted(found.unit)
    places = same_configuration(chosen, found.data_axis) if groups is None else groups
    fifth = max(2, round(HELD_SHARE * len(np.unique(places))))
    for fit in found.fits:
        for hold in (1, fifth) if fit is law else (fifth,):
            result, why = extrapolation(
                fit.surface, fit.inputs, fit.loss, compute=found.flops, hold=hold, units=places,
                delta=fit.delta, warm=warm_starts(fit), groups=groups, trunks=trunks,
                bootstrap=min(bootstrap, 500),
                seed=seed,
            )  # fmt: skip
            if result is None:
                found.refused.append(f"Held out, {fit.surface.name}: {why}")
                continue
            if fit is law:
                found.held_out.append(result)
            if hold == fifth:
                found.compared.append((fit, result))


def _count_otherwise(found: JointAnalysis, shared: Shared, seed: int) -> None:
    law = found.law
    assert law is not None
    found.conventions.append(("parameters", law))
    chosen = found.points.fitted(found.unit)
    for name in CONVENTIONS[1:]:
        if any(name not in p.sizes for p in chosen):
            continue
        axes = [name, *inputs_of(law.surface, found.data_axis)[1:]]
        inputs, loss = found.points.table(axes, found.unit)
        try:
            fit = fit_surface(
                law.surface, inputs, loss, delta=law.delta, warm=warm_starts(law), groups=shared[0],
                trunks=shared[1], bootstrap=CHECK_DRAWS, seed=seed,
            )  # fmt: skip
        except FitError as error:
            found.refused.append(f"N as {name.replace('_', '-')}: {error}")
        else:
            found.conventions.append((name, fit))


def _allocate(found: JointAnalysis, curves: Sequence[Curve], bootstrap: int, seed: int) -> None:
    if found.data_axis != "tokens":
        found.refused.append(
            "No compute-optimal allocation: D counts distinct frames, which training repeats: compute "
            "does not follow from N and D."
        )
        return
    how = "counted" if found.counted else "C = 6ND"
    attempts: list[Callable[[], Allocation]] = [
        lambda: allocate_envelope(curves, compute=how, bootstrap=bootstrap, seed=seed),
        lambda: _isoflop(found, how, seed),
    ]
    additive = found.additive
    if additive is None:
        found.refused.append(
            "Approach 3 (parametric surface) follows from the additive form: add it by --form "
            f"{','.join(fit.surface.name for fit in found.fits)},additive."
        )
    else:
        attempts.append(lambda: allocate_surface(additive, found.relation))
        if found.counted:
            attempts.append(lambda: allocate_surface(additive, SIX_ND, at=float(found.flops.max())))
    for number, attempt in enumerate(attempts):
        if number == 0 and not curves:
            found.refused.append(
                "Approach 1 (envelope) needs learning curves, which these points do not have."
            )
            continue
        try:
            # An exponent that the runs do not bound has ends that no float holds.
            with np.errstate(over="ignore", invalid="ignore"):
                found.allocations.append(attempt())
        except FitError as error:
            name = ("1 (envelope)", "2 (IsoFLOP)")[number] if number < 2 else "3 (surface)"
            text = str(error)
            found.refused.append(text if text.startswith("Approach") else f"Approach {name}: {text}")


def _isoflop(found: JointAnalysis, how: str, seed: int) -> Allocation:
    if not found.one_corpus:
        raise FitError("runs of one budget differ in how often they repeat their data.")
    runs = found.n, found.d, found.flops, found.loss
    found.minima = isoflop_minima(*runs, draws=CHECK_DRAWS, seed=seed)
    return allocate_isoflop(*runs, compute=how, seed=seed)
