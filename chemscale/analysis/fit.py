"""A law and a report from runs, a table of anyone's runs, or a W&B export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chemscale.analysis.origin import origin_of
from chemscale.analysis.records_to_points import (
    envelope_curves,
    family_of,
    point_of,
    records_of,
    split_losses,
)
from chemscale.laws.allocation.envelope import Curve
from chemscale.laws.axis.fit import fit_power_law
from chemscale.laws.axis.forms import FORMS
from chemscale.laws.axis.law import fit_axis
from chemscale.laws.data.exports import read_table
from chemscale.laws.data.left_out import LeftOut
from chemscale.laws.data.points import LawPoint, LawPoints, PointsError, parse_columns, varying_axis
from chemscale.laws.reports.axis_report import Report
from chemscale.laws.reports.families import FamiliesReport
from chemscale.laws.reports.joint_analysis import SURFACES, analyse, has_joint, joint_forms
from chemscale.laws.reports.joint_report import SurfaceReport
from chemscale.laws.reports.page import Origin
from chemscale.records import HEADLINES

AXES = ("parameters", "frames", "tokens", "unique_tokens", "flops", "joules")
"""In the order in which the axis that varies is looked for."""
HEADLINE_UNITS = tuple(key for key, _, _ in HEADLINES)
"""What a law is fitted to where no unit is asked for: the first that the runs have."""


@dataclass(frozen=True)
class FitOutcome:
    """What a fit leaves: text to print, the page, and ``law.json`` as a dictionary."""

    lines: list[str]
    report: Path
    law: dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How a law is sought; the fields are the options of the command.

    Args:
        forms: names of forms, all of one axis or all joint; or ``auto``.
        axis: of a law of one axis; None for the one that varies.
        delta: of Huber's loss.
        exclude_highest: how many runs of the highest losses are left out.
        bootstrap: draws.
        seed: of the draws.
        progress: called with what is being done.
    """

    forms: tuple[str, ...] = ("auto",)
    axis: str | None = None
    delta: float = 1e-3
    exclude_highest: int = 0
    bootstrap: int = 1000
    seed: int = 0
    progress: Callable[[str], None] = lambda _: None

    @property
    def named(self) -> tuple[str, ...] | None:
        """The forms that are asked for; None for auto."""
        return None if "auto" in self.forms else self.forms

    def joint(self) -> bool | None:
        """Whether joint forms are asked for; None for auto.

        Raises:
            PointsError: an unknown form, or forms of both kinds.
        """
        if not self.forms:
            raise PointsError("--form names no form: give auto or some that `--forms` lists.")
        for name in self.forms:
            if name not in (*FORMS, *SURFACES, "auto"):
                raise PointsError(f"--form {name}: there are auto, {', '.join((*FORMS, *SURFACES))}.")
        kinds = {name if name == "auto" else name in SURFACES for name in self.forms}
        if len(kinds) > 1:
            raise PointsError("--form: give auto, or forms of one axis, or joint forms, not a mixture.")
        kind = kinds.pop()
        if kind is True and self.axis:
            raise PointsError(f"--axis {self.axis}: a joint form takes N and D; leave --axis out.")
        return None if kind == "auto" else bool(kind)


@dataclass(frozen=True)
class _Study:
    """Points of one family, and how their law is sought and shown."""

    title: str
    points: LawPoints
    unit: str
    origin: Origin
    options: Options
    out: Path

    @property
    def data_axis(self) -> str:
        return "frames" if any("frames" in p.sizes for p in self.points.points) else "tokens"


def fit_runs(
    directory: Path,
    *,
    out: Path | None = None,
    unit: str | None = None,
    only: Sequence[str] | None = None,
    command: str = "",
    options: Options | None = None,
    **settings: Any,
) -> FitOutcome:
    """Fit the records below a directory; runs that are not done are shown and left out.

    Runs of several families get a law each, side by side; else N and D that both vary give the joint law.

    Args:
        directory: of a sweep, or of several.
        out: where to write; None for ``law`` in the directory.
        unit: of the loss; None for the first of ``HEADLINE_UNITS`` that the runs have.
        only: identities of the points that count; None for all.
        command: that asks for it, for the report.
        options: how the law is sought.
        **settings: fields of the options one by one.

    Raises:
        RecordError: no such directory, or a record that cannot be read.
        PointsError: nothing there can be used, or an early-stopping sweep pruned some of the runs.
    """
    directory, options = Path(directory), replace(options or Options(), **settings)
    options.joint()  # refuse before anything is read
    left: list[LeftOut] = []
    found, unit, left_out = split_losses(records_of(directory, only, left), unit, HEADLINE_UNITS, directory)
    points = LawPoints(tuple(point_of(record, unit) for _, record in found), str(directory))
    left += [LeftOut(point.label, point.reason) for point in points.points if not point.used]
    origin, out = origin_of(found, unit, command, left), out or directory / "law"
    origin.notes += [left_out] if left_out else []
    points = _without_highest(points, unit, options, origin)
    families: dict[str, list[LawPoint]] = {}
    for (_, record), point in zip(found, points.points, strict=True):
        families.setdefault(family_of(record), []).append(point)
    if len(families) > 1:
        return _fit_families(families, directory, unit, origin, options, out)
    title = f"{next(iter(families))} · {directory.name}"
    study = _Study(title, points, unit, origin, options, out)
    return _fit(study, lambda: envelope_curves(found, unit))


def fit_csv(
    path: Path,
    columns: str | None,
    *,
    out: Path | None = None,
    command: str = "",
    flops_model: str | None = None,
    options: Options | None = None,
    **settings: Any,
) -> FitOutcome:
    """Fit anyone's CSV, or an export of W&B (see ``chemscale.laws.data.exports``).

    Args:
        path: of the file.
        columns: ``ROLE=NAME`` with commas.
        out: where to write; None for ``NAME-law`` beside the file.
        command: that asks for it, for the report.
        flops_model: ``6nd``, or None to take FLOPs from the file only.
        options: how the law is sought.
        **settings: fields of the options one by one.

    Raises:
        PointsError: the file, a column or a cell cannot be used.
    """
    options = replace(options or Options(), **settings)
    if not path.exists():
        raise PointsError(f"{path}: no such file or directory.")
    if not columns:
        raise PointsError(f"{path}: name its columns, for example --columns N=params,loss=val_loss.")
    if flops_model not in (None, "6nd"):
        raise PointsError(f"--flops-model {flops_model}: the one there is is 6nd.")
    options.joint()  # refuse before anything is read
    points = read_table(path, parse_columns(columns))
    origin = Origin(command=command)
    if flops_model:
        points = points.with_six_nd()
        origin.notes.append("C = 6ND is assumed (--flops-model 6nd): of N, D and C the file gives two.")
    points = _without_highest(points, "loss", options, origin)
    out = out or path.with_name(f"{path.stem}-law")
    return _fit(_Study(path.stem, points, "loss", origin, options, out), list)


def _without_highest(points: LawPoints, unit: str, options: Options, origin: Origin) -> LawPoints:
    """The points without those of the highest losses, as asked for, with a note."""
    count = options.exclude_highest
    if not count:
        return points
    runs = "run of the highest loss is" if count == 1 else f"{count} runs of the highest losses are"
    origin.notes.append(f"The {runs} left out (--exclude-highest {count}).")
    return points.without_highest(count, unit)


def _fit_families(
    families: dict[str, list[LawPoint]],
    directory: Path,
    unit: str,
    origin: Origin,
    options: Options,
    out: Path,
) -> FitOutcome:
    """A law of one axis for each family."""
    joint = [name for name in options.forms if name != "auto" and name not in FORMS]
    if joint:
        raise PointsError(
            f"--form {joint[0]}: these runs are of several families ({', '.join(families)}), which no joint "
            "law holds for. Give the directory of one family, or a form of one axis."
        )
    largest = max(families.values(), key=len)
    axis = options.axis or varying_axis(LawPoints(tuple(largest), str(directory)), ("frames", *AXES))
    report = FamiliesReport(
        directory.name, families, axis, unit, str(directory), origin, options.named, options.bootstrap,
        options.seed,
    )  # fmt: skip
    page = report.write(out)
    return FitOutcome(report.lines(), page, report.law())


def _fit(study: _Study, curves: Callable[[], list[Curve]]) -> FitOutcome:
    """The joint law where it is asked for or the points allow it, else that of one axis."""
    joint, axis = study.options.joint(), study.options.axis
    if joint or (joint is None and axis is None and has_joint(study.points, study.unit, study.data_axis)):
        outcome = _fit_joint(study, curves)
        if outcome is not None:
            return outcome
    report = _axis_report(study)
    page = report.write(study.out)
    return FitOutcome(report.lines(), page, report.law())


def _fit_joint(study: _Study, curves: Callable[[], list[Curve]]) -> FitOutcome | None:
    """None where auto finds that no joint form can be fitted; the reason is then a note."""
    points, unit, data_axis, options = study.points, study.unit, study.data_axis, study.options
    found = analyse(
        points, unit, data_axis, forms=options.named or joint_forms(points, unit, data_axis),
        delta=options.delta, curves=curves() if data_axis == "tokens" else [], bootstrap=options.bootstrap,
        seed=options.seed, progress=options.progress,
    )  # fmt: skip
    if found.law is None:
        if options.named:
            raise PointsError(" ".join(found.refused))
        study.origin.notes.append(f"N and D both vary, but there is no joint law. {' '.join(found.refused)}")
        return None
    options.progress("figures and page")
    report = SurfaceReport(study.title, found, study.origin)
    page = report.write(study.out)
    return FitOutcome(report.lines(), page, report.law())


def _axis_report(study: _Study) -> Report:
    """The law of one axis; along parameters also under other counts of them."""
    points, unit, options = study.points, study.unit, study.options
    known = {a for p in points.points for a in p.sizes}
    axis = options.axis or varying_axis(points, AXES)
    if axis not in known:
        raise PointsError(f"--axis {axis}: these points have {', '.join(sorted(known))}.")
    x, y = points.used(axis, unit)
    other = "data" if axis == "parameters" else "model size" if axis not in ("flops", "joules") else ""
    law = fit_axis(
        x, y, axis=axis, other=other, forms=options.named, bootstrap=options.bootstrap, seed=options.seed
    )
    report = Report(study.title, points, law, axis, unit, study.origin)
    if axis == "parameters" and law.fits:
        for name in ("blocks", "non_embedding", "all"):
            if all(name in p.sizes for p in points.points if p.used):
                sizes, losses = points.used(name, unit)
                report.conventions.append(
                    (name, fit_power_law(sizes, losses, bootstrap=100, seed=options.seed))
                )
    return report
