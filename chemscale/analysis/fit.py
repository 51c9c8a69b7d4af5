"""A law and a report from runs, a table of anyone's runs, or a W&B export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chemscale.analysis.doubts import axis_doubts, surface_doubts
from chemscale.analysis.origin import origin_of
from chemscale.analysis.records_to_points import (
    comparable_unit,
    envelope_curves,
    families_of,
    points_of,
    records_of,
    split_losses,
)
from chemscale.laws.allocation.envelope import Curve, allocate_envelope
from chemscale.laws.axis.fit import FitError, fit_form
from chemscale.laws.axis.forms import FORMS
from chemscale.laws.axis.law import AxisLaw, fit_axis
from chemscale.laws.data.columns import parse_columns
from chemscale.laws.data.learning_curves import curves_of
from chemscale.laws.data.left_out import LeftOut
from chemscale.laws.data.points import LawPoint, LawPoints, PointsError, varying_axis
from chemscale.laws.data.pooling import (
    merge_checkpoints,
    path_note,
    refuse_checkpoints,
    refuse_pooling,
    refuse_unnamed,
)
from chemscale.laws.data.reading import read_table
from chemscale.laws.data.suspects import check_compute, notes_on
from chemscale.laws.reports.axis_report import Report
from chemscale.laws.reports.families import FamiliesReport
from chemscale.laws.reports.joint_analysis import SURFACES, analyse, has_joint, joint_forms
from chemscale.laws.reports.joint_report import SurfaceReport
from chemscale.laws.reports.page import Origin, refuse_unwritable
from chemscale.laws.reports.texts import span_text
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

    @property
    def found(self) -> bool:
        """Whether any form could be fitted."""
        rungs = self.law.get("rungs")
        laws = [self.law] if rungs is None else rungs.values()
        return any(law.get("parameters") for law in laws)


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
    unnamed: Callable[[LawPoints, str], str] = lambda points, axis: ""
    """Why another column of the table forbids a law of one axis; empty where none does."""

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
        unit: of the loss; None for the first of ``HEADLINE_UNITS`` that the runs have, and for nats per heavy
            atom where they are of several notations.
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
    out = out or directory / "law"
    refuse_unwritable(out)
    beside: list[LeftOut] = []
    records = records_of(directory, only, beside)
    unit = comparable_unit(records, unit)
    found, unit, left_out = split_losses(records, unit, HEADLINE_UNITS, directory)
    points = LawPoints(points_of(found, unit), str(directory), tuple(beside))
    origin = origin_of(found, unit, command)
    origin.notes += [left_out] if left_out else []
    points = _without_highest(points, unit, options, origin)
    families: dict[str, list[LawPoint]] = {}
    for family, point in zip(families_of(found), points.points, strict=True):
        families.setdefault(family, []).append(point)
    if len(families) > 1:
        return _fit_families(families, points, unit, origin, options, out)
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
    """Fit anyone's table of runs, an export of W&B, or learning curves (see ``laws.data.reading``).

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
        OutputError: nothing can be written to `out`.
    """
    options = replace(options or Options(), **settings)
    if not path.exists():
        raise PointsError(f"{path}: no such file or directory.")
    if not columns:
        raise PointsError(f"{path}: name its columns, for example --columns N=params,loss=val_loss.")
    if flops_model not in (None, "6nd"):
        raise PointsError(f"--flops-model {flops_model}: the one there is is 6nd.")
    options.joint()  # refuse before anything is read
    out = out or path.with_name(f"{_stem(path)}-law")
    refuse_unwritable(out)
    roles = parse_columns(columns)
    table = read_table(path, roles)
    points, curves, notes = table.points, list[Curve](), list(table.notes)
    if "step" in roles:
        of_runs = curves_of(table, roles)
        points, curves, notes = of_runs.points, of_runs.curves, notes + of_runs.notes
    origin = Origin(command=command, notes=notes + check_compute(path, points))
    if flops_model:
        points = points.with_six_nd()
        origin.notes.append("C = 6ND is assumed (--flops-model 6nd): of N, D and C the file gives two.")
    origin.notes += notes_on(points, "loss")
    if curves and not has_joint(points, "loss", "tokens"):
        origin.notes.append(_envelope_note(curves, "counted" if "C" in roles else "C = 6ND", options))
    points = _without_highest(points, "loss", options, origin)

    def unnamed(points: LawPoints, axis: str) -> str:
        return "" if curves else refuse_unnamed(points, table.rows, roles.values(), axis, "loss")

    return _fit(_Study(_stem(path), points, "loss", origin, options, out, unnamed), lambda: curves)


def _envelope_note(curves: list[Curve], compute: str, options: Options) -> str:
    """What Approach 1 finds where no joint law shows it."""
    try:
        found = allocate_envelope(curves, compute=compute, bootstrap=options.bootstrap, seed=options.seed)
    except FitError as error:
        return str(error)
    a = span_text(found.exponent_n, found.intervals["exponent_n"], ".3f")
    return f"Approach {found.approach}, {found.compute}: N* ∝ C^a, a = {a}. {' '.join(found.notes)}"


def _stem(path: Path) -> str:
    """Name of a file without its endings (``runs`` of ``runs.csv.gz``)."""
    return path.stem.removesuffix(".csv").removesuffix(".tsv") if path.suffix == ".gz" else path.stem


def _outcome(report: Report | SurfaceReport | FamiliesReport, out: Path) -> FitOutcome:
    """Write a report; what is left out is counted before any number is printed."""
    page, left = report.write(out), report.points.left_out
    return FitOutcome([*([left] if left else []), *report.lines()], page, report.law())


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
    points: LawPoints,
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
    axis = options.axis or varying_axis(LawPoints(tuple(largest), points.source), ("frames", *AXES))
    report = FamiliesReport(
        Path(points.source).name, families, axis, unit, points.source, origin, options.named,
        options.bootstrap, options.seed, points.beside,
    )  # fmt: skip
    return _outcome(report, out)


def _fit(study: _Study, curves: Callable[[], list[Curve]]) -> FitOutcome:
    """The joint law where it is asked for or the points allow it, else that of one axis."""
    joint, axis = study.options.joint(), study.options.axis
    if joint or (joint is None and axis is None and has_joint(study.points, study.unit, study.data_axis)):
        outcome = _fit_joint(study, curves)
        if outcome is not None:
            return outcome
    return _outcome(_axis_report(study), study.out)


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
    options.progress("runs far off the law")
    study.origin.notes += surface_doubts(points, unit, found.law)
    options.progress("figures and page")
    return _outcome(SurfaceReport(study.title, found, study.origin), study.out)


def _axis_report(study: _Study) -> Report:
    """The law of one axis; along parameters also under other counts of them."""
    points, unit, options = study.points, study.unit, study.options
    known = {a for p in points.points for a in p.sizes}
    axis = options.axis or varying_axis(points, AXES)
    if axis not in known:
        raise PointsError(f"--axis {axis}: these points have {', '.join(sorted(known))}.")
    why = refuse_pooling(points, axis, unit) or study.unnamed(points, axis)
    points = points if why else merge_checkpoints(points, axis, unit)
    if why := why or refuse_checkpoints(points, axis, unit):
        return Report(study.title, points, AxisLaw([], [why]), axis, unit, study.origin)
    study.origin.notes += [note for note in (path_note(points, axis, unit),) if note]
    study.origin.notes += axis_doubts(points, axis, unit)
    x, y = points.used(axis, unit)
    other = "data" if axis == "parameters" else "model size" if axis not in ("flops", "joules") else ""
    law = fit_axis(
        x, y, axis=axis, other=other, forms=options.named, bootstrap=options.bootstrap, seed=options.seed
    )
    report = Report(study.title, points, law, axis, unit, study.origin)
    if axis == "parameters" and law.chosen is not None:
        for name in ("blocks", "non_embedding", "all"):
            if all(name in p.sizes for p in points.points if p.used):
                sizes, losses = points.used(name, unit)
                fit = fit_form(sizes, losses, law.chosen.form.name, bootstrap=100, seed=options.seed)
                report.conventions.append((name, fit))
    return report
