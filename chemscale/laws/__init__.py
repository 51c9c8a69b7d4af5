"""Scaling laws of anyone's runs: forms, fits, intervals, allocation, figures and a report. No torch.

>>> from chemscale.laws import fit_power_law
>>> fit = fit_power_law([1e5, 1e6, 1e7, 1e8], [2.0, 1.6, 1.3, 1.04])
>>> fit.values["beta"], fit.intervals["beta"]

One axis: ``fit_axis`` names the law, ``fit_form`` fits one; size and data: ``fit_surface``; what to train
next: ``allocate_*``, ``choose_points``; settings: ``tse``, ``next_steps``. No point estimate stands without
its interval; too few points are refused in words.
"""

from chemscale.laws.allocation.design import choose_points
from chemscale.laws.allocation.envelope import allocate_envelope
from chemscale.laws.allocation.isoflop import allocate_isoflop
from chemscale.laws.allocation.optimum import Allocation, allocate_surface
from chemscale.laws.axis.broken import extrapolate_curve
from chemscale.laws.axis.fit import Fit, fit_form, fit_forms, fit_power_law, supported
from chemscale.laws.axis.forms import FORMS, FitError, Form, OffsetPowerLaw, PowerLaw
from chemscale.laws.axis.law import AxisLaw, fit_axis
from chemscale.laws.axis.regimes import limited_by_other, straight_regime
from chemscale.laws.checks.holdout import extrapolation
from chemscale.laws.checks.likelihood import greatest_likelihood, log_likelihood
from chemscale.laws.checks.profiles import profile
from chemscale.laws.checks.projection import cross_check, project
from chemscale.laws.checks.sensitivity import sensitivity
from chemscale.laws.data.curves import TrainingCurve
from chemscale.laws.data.points import LawPoint, LawPoints, PointsError
from chemscale.laws.data.reading import read_csv
from chemscale.laws.early_stopping.estimators import ESTIMATORS, epoch_means, tse, tse_e, tse_ema
from chemscale.laws.early_stopping.reference import population
from chemscale.laws.early_stopping.rule import Rule, next_steps
from chemscale.laws.joint.fit import SurfaceFit, fit_surface
from chemscale.laws.joint.repeats import Repeats
from chemscale.laws.joint.surfaces import Additive, Kaplan, Surface, Tied

__all__ = [
    "ESTIMATORS",
    "FORMS",
    "Additive",
    "Allocation",
    "AxisLaw",
    "Fit",
    "FitError",
    "Form",
    "Kaplan",
    "LawPoint",
    "LawPoints",
    "OffsetPowerLaw",
    "PointsError",
    "PowerLaw",
    "Repeats",
    "Rule",
    "Surface",
    "SurfaceFit",
    "Tied",
    "TrainingCurve",
    "allocate_envelope",
    "allocate_isoflop",
    "allocate_surface",
    "choose_points",
    "cross_check",
    "epoch_means",
    "extrapolate_curve",
    "extrapolation",
    "fit_axis",
    "fit_form",
    "fit_forms",
    "fit_power_law",
    "fit_surface",
    "greatest_likelihood",
    "limited_by_other",
    "log_likelihood",
    "next_steps",
    "population",
    "profile",
    "project",
    "read_csv",
    "sensitivity",
    "straight_regime",
    "supported",
    "tse",
    "tse_e",
    "tse_ema",
]
