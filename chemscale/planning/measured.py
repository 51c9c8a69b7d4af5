"""What a law's runs span, how far beyond them it was tested, and how far beyond them a plan goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

AXES = ("N", "D", "C")
WITHIN = 1.02
"""Times an end of the runs' range up to which a size is of the runs: seeds count slightly different data."""


@dataclass(frozen=True)
class HeldOutTest:
    """Runs that a fit to the smaller ones predicted.

    Args:
        factor: compute of the largest run over that of the largest run fitted.
        error: mean of absolute relative errors.
        worst: the largest of them; None where only the mean is known.
        inside: runs within the interval of a new run, and how many there were; None where that is not known.
    """

    factor: float
    error: float
    worst: float | None = None
    inside: tuple[int, int] | None = None

    @property
    def words(self) -> str:
        """The test in a sentence without its end."""
        worst = "" if self.worst is None else f", {self.worst:.2%} at worst"
        inside = "" if self.inside is None else f"; {self.inside[0]} of {self.inside[1]} in their intervals"
        return (
            f"fitted to smaller runs, the law missed those of {self.factor:.3g}× the compute by "
            f"{self.error:.2%} on average{worst}{inside}"
        )


@dataclass(frozen=True)
class FormVerdict:
    """What ``fit`` found against the form of a law (``form_check`` in law.json).

    Args:
        holds: whether nothing in the runs speaks against it.
        signs: what does, in words.
        off: times the largest run's compute → share of the loss by which the law may be off.
    """

    holds: bool
    signs: tuple[str, ...]
    off: Mapping[float, float]


@dataclass(frozen=True)
class Measured:
    """The range of the runs behind a law and the tests that it stood.

    Args:
        spans: axis (N, D and C) → least and largest of the runs; empty for a guess.
        tests: by held-out runs, least factor first.
        form: what the runs say of the form; None where ``fit`` did not ask.
    """

    spans: Mapping[str, tuple[float, float]]
    tests: tuple[HeldOutTest, ...] = ()
    form: FormVerdict | None = None

    @property
    def against(self) -> bool:
        """Whether the runs speak against the law's form, so that no interval holds."""
        return self.form is not None and not self.form.holds

    @property
    def tested(self) -> float:
        """Compute over that of the largest run up to which the law was tested; 1 without a test."""
        return max((test.factor for test in self.tests), default=1.0)

    def factors(self, at: Mapping[str, float]) -> dict[str, float]:
        """How far beyond the runs something lies, by axis.

        Args:
            at: values of some of N, D and C.

        Returns:
            Times the largest (above 1), times the least (below 1), or 1 within the runs; an axis that the
            runs do not have is left out.
        """
        out = {}
        for axis in (axis for axis in AXES if axis in at and axis in self.spans):
            low, high = self.spans[axis]
            value = at[axis]
            out[axis] = (
                value / high if value > WITHIN * high else value / low if value * WITHIN < low else 1.0
            )
        return out

    def words(self, at: Mapping[str, float]) -> str:
        """The same in words: ``40× the largest N, 3× below the least D``, or ``within the runs``."""
        if not self.spans:
            return "no runs"
        parts = [
            f"{_times(factor)} the largest {axis}"
            if factor > 1
            else f"{_times(1 / factor)} below the least {axis}"
            for axis, factor in self.factors(at).items()
            if factor != 1
        ]
        return ", ".join(parts) or "within the runs"

    def untested(self, at: Mapping[str, float]) -> bool:
        """Whether something needs more compute than the held-out runs tested."""
        return bool(self.spans) and self.factors(at).get("C", 1.0) > WITHIN * self.tested

    def off(self, at: Mapping[str, float]) -> float | None:
        """Share of the loss by which a law whose form does not hold may be off; None where not known."""
        if self.form is None or not self.form.off:
            return None
        times = sorted(self.form.off)
        factor = max(1.0, self.factors(at).get("C", 1.0))
        share = float(np.interp(math.log(factor), np.log(times), [self.form.off[t] for t in times]))
        # Beyond the last factor an error grows as that of an exponent which changes steadily.
        return share * max(1.0, math.log(factor) / math.log(max(times[-1], 1.01))) ** 2

    def test_lines(self) -> list[str]:
        """What supports predictions beyond the runs, and what speaks against them, a sentence a line."""
        if not self.spans:
            return [
                "A guess has no runs: nothing says how far it can be read, and every prediction is a guess."
            ]
        lines = []
        if self.tests:
            lines.append(f"Tested up to {self.tested:.3g}× the compute: {self.tests[-1].words}.")
        else:
            lines.append(
                "law.json holds no test by held-out runs: nothing says how far beyond its runs this law "
                "holds. python -m chemscale.fit tests it where enough runs remain."
            )
        if self.form is None:
            lines.append("Nothing in this law.json says whether the form holds on its runs: fit them again.")
        elif self.against:
            lines.append(f"The form does not hold on these runs: {'; '.join(self.form.signs)}.")
        return lines


def spans_of(
    n: Sequence[float], d: Sequence[float], flops: Sequence[float]
) -> dict[str, tuple[float, float]]:
    """Ranges of runs by axis.

    Args:
        n: parameters of each.
        d: tokens of each.
        flops: of each.
    """
    return {
        axis: (float(min(x)), float(max(x))) for axis, x in zip(AXES, (n, d, flops), strict=True) if len(x)
    }


def tests_of(law: Mapping[str, Any], form: str) -> tuple[HeldOutTest, ...]:
    """Tests by held-out runs in a law.json, least factor first; none in files that do not hold any.

    Args:
        law: the file.
        form: that is read; of another than the file's law only the mean error at the largest runs is known.
    """
    found = []
    for each in law.get("held_out") or []:
        errors = [abs(run["error"]) for run in each.get("runs", [])]
        held = (sum(bool(run["inside"]) for run in each.get("runs", [])), len(errors))
        if errors and each.get("factor", 1.0) > 1.0:
            found.append(HeldOutTest(float(each["factor"]), float(np.mean(errors)), max(errors), held))
    found.sort(key=lambda test: test.factor)
    if law.get("form") == form:
        return tuple(found)
    error = (law.get("held_out_by_form") or {}).get(form)
    return (HeldOutTest(found[-1].factor, float(error)),) if found and error is not None else ()


def form_of(law: Mapping[str, Any], form: str) -> FormVerdict | None:
    """What a law.json says of its form; None where it says nothing, or of another form.

    Args:
        law: the file.
        form: that is read.
    """
    check = law.get("form_check")
    if not isinstance(check, Mapping) or law.get("form") != form:
        return None
    found = (check.get("may_be_off") or {}).items()
    off = {float(times): float(share) for times, share in found if share is not None}
    return FormVerdict(bool(check.get("holds", True)), tuple(check.get("signs") or ()), off)


def _times(factor: float) -> str:
    return f"{factor:.2g}×" if factor < 9.95 else f"{factor:,.0f}×" if factor < 1e5 else f"{factor:.0e}×"
