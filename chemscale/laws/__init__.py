"""Scaling laws of anyone's runs: forms, fits, intervals, allocation, figures and a report. No torch.

>>> from chemscale.laws import fit_power_law
>>> fit = fit_power_law([1e5, 1e6, 1e7, 1e8], [2.0, 1.6, 1.3, 1.04])
>>> fit.values["beta"], fit.intervals["beta"]

One axis: ``fit_form``; size and data: ``fit_surface``; what to train next: ``allocate_*``, ``choose_points``;
settings: ``tse``, ``to_finish``. A point estimate never stands without its interval; too few
points are refused in words.
"""

from chemscale.laws.allocation import Allocation, allocate_surface
from chemscale.laws.broken import extrapolate_curve
from chemscale.laws.curves import TrainingCurve
from chemscale.laws.design import choose_points
from chemscale.laws.envelope import allocate_envelope
from chemscale.laws.fitting import Fit, fit_form, fit_forms, fit_power_law, supported
from chemscale.laws.forms import FORMS, FitError, Form, OffsetPowerLaw, PowerLaw
from chemscale.laws.holdout import extrapolation
from chemscale.laws.isoflop import allocate_isoflop
from chemscale.laws.joint import SurfaceFit, fit_surface
from chemscale.laws.points import LawPoint, LawPoints, PointsError, read_csv
from chemscale.laws.profiles import profile
from chemscale.laws.projection import cross_check, project
from chemscale.laws.regimes import limited_by_other, straight_regime
from chemscale.laws.repeats import Repeats
from chemscale.laws.sensitivity import sensitivity
from chemscale.laws.stopping import Rule, to_finish
from chemscale.laws.surfaces import Additive, Kaplan, Surface, Tied
from chemscale.laws.tpe import ESTIMATORS, tse, tse_e, tse_ema

__all__ = [
    "ESTIMATORS",
    "FORMS",
    "Additive",
    "Allocation",
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
    "extrapolate_curve",
    "extrapolation",
    "fit_form",
    "fit_forms",
    "fit_power_law",
    "fit_surface",
    "limited_by_other",
    "profile",
    "project",
    "read_csv",
    "sensitivity",
    "straight_regime",
    "supported",
    "to_finish",
    "tse",
    "tse_e",
    "tse_ema",
]
