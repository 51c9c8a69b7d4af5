"""Numbers of a law as people read them: each with its interval."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup, escape

from chemscale.laws.axis.fit import LEVEL, Fit

if TYPE_CHECKING:
    from chemscale.laws.axis.law import AxisLaw
    from chemscale.laws.checks.per_axis import PerAxisLaw
    from chemscale.laws.joint.fit import SurfaceFit

SYMBOLS = {
    "alpha": "α", "beta": "β", "eta": "η", "floor": "L∞", "R_D_star": "R_D*", "R_N_star": "R_N*",
    "alpha_N": "α_N", "alpha_D": "α_D",
}  # fmt: skip


def short(value: float) -> str:
    """A size in few letters: ``125k``, ``1.3M``, ``70B``."""
    if not math.isfinite(value):
        return "∞"
    for scale, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.3g}"


def span_text(value: float, ends: Sequence[float | None], digits: str = ".4g") -> str:
    """A value with its interval: ``0.123 [0.101, 0.145]``; a side that the data do not bound is ∞.

    Args:
        value: infinite where it is not known.
        ends: of the interval; None for a side without.
        digits: format of each number.
    """
    low, high = ends
    # A floor at its bound comes out as 1e-30.
    left = "−∞" if low is None or low == -math.inf else f"{0.0 if abs(low) < 1e-12 else low:{digits}}"
    right = "∞" if high is None or high == math.inf else f"{high:{digits}}"
    return f"{'∞' if math.isinf(value) else f'{value:{digits}}'} [{left}, {right}]"


def sizes_text(value: float, ends: Sequence[float | None]) -> str:
    """A size with its interval: ``3.2B [2.7B, 3.8B]``."""
    low, high = (math.inf if end is None else end for end in ends)
    return f"{short(value)} [{short(low)}, {short(high)}]"


def formula_html(text: str) -> Markup:
    """A formula or a symbol with raised exponents and lowered indices."""
    out = str(escape(text))
    for pattern, tag in (
        (r"\^\(([^()]+)\)", "sup"), (r"\^(\w+)", "sup"), (r"_\{([^}]+)\}", "sub"), (r"_(\w)", "sub"),
    ):  # fmt: skip
        out = re.sub(pattern, rf"<{tag}>\1</{tag}>", out)
    return Markup(out)


def interval_text(fit: Fit | SurfaceFit, name: str) -> str:
    """A parameter of a fit, of one axis or joint, with its interval."""
    return span_text(fit.values[name], fit.intervals[name])


def parameters_text(values: Mapping[str, float], intervals: Mapping[str, Sequence[float | None]]) -> str:
    """Every parameter with its interval."""
    return ", ".join(
        f"{SYMBOLS.get(name, name)} = {span_text(values[name], intervals[name])}" for name in values
    )


def ahead_text(law: AxisLaw) -> str:
    """The loss at the largest size and beyond it, with intervals of the law."""
    parts = []
    for each in law.ahead():
        where = "at the largest size" if each.times == 1 else f"at {each.times:g} times"
        ends = f"[{each.low:.4g}, {each.high:.4g}]"
        parts.append(f"{where} {ends if each.loss is None else f'{each.loss:.4g} {ends}'}")
    return "Loss " + ", ".join(parts) if parts else ""


def exponent_text(law: PerAxisLaw) -> str:
    """β along one axis, with its interval where the form allows for the floor that the other axis sets."""
    if law.holds:
        return interval_text(law.fit, "beta")
    sizes = len(np.unique(law.fit.x))
    return f"{law.fit.values['beta']:.4g} (of a straight line; {sizes} sizes bear no interval)"


def values_text(fit: Fit, holds: bool = True) -> str:
    """Every parameter with its interval, and what it rests on.

    Args:
        fit: of one axis.
        holds: whether the points do not reject the form; else its intervals mean nothing and are not shown.
    """
    if not holds:
        values = ", ".join(f"{SYMBOLS.get(name, name)} = {value:.4g}" for name, value in fit.values.items())
        return f"{values}  [no intervals, {len(fit.x)} points]"
    return f"{parameters_text(fit.values, fit.intervals)}  [{LEVEL:.0%} intervals, {len(fit.x)} points]"
