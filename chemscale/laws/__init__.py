"""Scaling laws of anyone's runs: forms, fits, intervals, figures and a report. NumPy and SciPy, no torch.

>>> from chemscale.laws import fit_power_law
>>> fit = fit_power_law([1e5, 1e6, 1e7, 1e8], [2.0, 1.6, 1.3, 1.04])
>>> fit.values["beta"], fit.intervals["beta"]

A point estimate never stands without its interval; too few points are refused in words.
"""

from chemscale.laws.fitting import Fit, FitError, fit_power_law
from chemscale.laws.forms import FORMS, Form, OffsetPowerLaw, PowerLaw
from chemscale.laws.joint import SurfaceFit, fit_surface
from chemscale.laws.points import LawPoint, LawPoints, PointsError, read_csv
from chemscale.laws.surfaces import Additive, Kaplan, Surface

__all__ = [
    "FORMS",
    "Additive",
    "Fit",
    "FitError",
    "Form",
    "Kaplan",
    "LawPoint",
    "LawPoints",
    "OffsetPowerLaw",
    "PointsError",
    "PowerLaw",
    "Surface",
    "SurfaceFit",
    "fit_power_law",
    "fit_surface",
    "read_csv",
]
