"""A law and a report from runs, a table of anyone's runs, or a W&B export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemscale.analysis.records_to_points import (
    envelope_curves,
    origin_of,
    point_of,
    records_of,
    rung_of,
    split_losses,
)

if TYPE_CHECKING:
    from chemscale.laws.allocation.envelope import Curve
    from chemscale.laws.data.points import LawPoint, LawPoints
    from chemscale.laws.reports.axis_report import Report
    from chemscale.laws.reports.page import Origin


AXES = ("parameters", "frames", "tokens", "unique_tokens", "flops", "joules")


HEADLINE_UNITS = ("nats_per_token", "forces_mae", "energy_mae_per_atom")
"""What a law is fitted to where no unit is asked for: the first that the runs have."""


@dataclass(frozen=True)
class FitOutcome:
    """What a fit leaves: text to print, the page, and ``law.json`` as a dictionary."""

    lines: list[str]
    report: Path
    law: dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How a law is sought; the fields are the options of the verb."""

    forms: tuple[str, ...] = ("auto",)
    axis: str | None = None
    delta: float = 1e-3
    exclude_highest: int = 0
    bootstrap: int = 1000
    seed: int = 0
    say: Callable[[str], None] = lambda _: None


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
        only: identities of the points that count; None for all.
        options: how the law is sought; `settings` are its fields one by one.

    Raises:
        RecordError, PointsError: nothing there can be used, or an estimate pruned some of the runs.
    """
    from chemscale.laws.data.points import LawPoints

    directory, options = Path(directory), replace(options or Options(), **settings)
    _asked(options)
    found, unit, left_out = split_losses(records_of(directory, only), unit, HEADLINE_UNITS, directory)
    points = LawPoints(tuple(point_of(record, unit) for _, record in found), str(directory))
    origin, out = origin_of(found, unit, command), out or directory / "law"
    origin.notes += [left_out] if left_out else []
    points = _without_highest(points, unit, options, origin)
    rungs: dict[str, list[LawPoint]] = {}
    for (_, record), point in zip(found, points.points, strict=True):
        rungs.setdefault(rung_of(record), []).append(point)
    if len(rungs) > 1:
        return _fit_ladder(rungs, directory, unit, origin, options, out)
    title = f"{next(iter(rungs))} · {directory.name}"
    return _finish(title, points, unit, origin, options, out, lambda: envelope_curves(found, unit))


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

    Raises:
        PointsError: the file, a column or a cell cannot be used.
    """
    from chemscale.laws.data.exports import read_table
    from chemscale.laws.data.points import PointsError, parse_columns
    from chemscale.laws.reports.page import Origin

    options = replace(options or Options(), **settings)
    if not path.exists():
        raise PointsError(f"{path}: no such file or directory.")
    if not columns:
        raise PointsError(f"{path}: name its columns, for example --columns N=params,loss=val_loss.")
    if flops_model not in (None, "6nd"):
        raise PointsError(f"--flops-model {flops_model}: the one there is is 6nd.")
    _asked(options)
    points = read_table(path, parse_columns(columns))
    origin = Origin(command=command)
    if flops_model:
        points = points.with_six_nd()
        origin.notes.append("C = 6ND is assumed (--flops-model 6nd): of N, D and C the file gives two.")
    points = _without_highest(points, "loss", options, origin)
    out = out or path.with_name(f"{path.stem}-law")
    return _finish(path.stem, points, "loss", origin, options, out, list)


def _without_highest(points: LawPoints, unit: str, options: Options, origin: Origin) -> LawPoints:
    count = options.exclude_highest
    if not count:
        return points
    runs = "run of the highest loss is" if count == 1 else f"{count} runs of the highest losses are"
    origin.notes.append(f"The {runs} left out (--exclude-highest {count}).")
    return points.without_highest(count, unit)


def _fit_ladder(
    rungs: dict[str, list[LawPoint]], directory: Path, unit: str, origin: Origin, options: Options, out: Path
) -> FitOutcome:
    from chemscale.laws.axis.forms import FORMS
    from chemscale.laws.data.points import LawPoints, PointsError, varying_axis
    from chemscale.laws.reports.families import Ladder

    joint = [name for name in options.forms if name != "auto" and name not in FORMS]
    if joint:
        raise PointsError(
            f"--form {joint[0]}: these runs are of several families ({', '.join(rungs)}), which no joint law "
            "holds for. Give the directory of one family, or a form of one axis."
        )
    largest = max(rungs.values(), key=len)
    axis = options.axis or varying_axis(LawPoints(tuple(largest), str(directory)), ("frames", *AXES))
    forms = None if "auto" in options.forms else options.forms
    ladder = Ladder(
        directory.name, rungs, axis, unit, str(directory), origin, forms, options.bootstrap, options.seed
    )
    page = ladder.write(out)
    return FitOutcome(ladder.lines(), page, ladder.law())


def _finish(
    title: str,
    points: LawPoints,
    unit: str,
    origin: Origin,
    options: Options,
    out: Path,
    curves: Callable[[], list[Curve]],
) -> FitOutcome:
    """The joint law where it is asked for or the points allow it, else that of one axis."""
    from chemscale.laws.reports.joint_analysis import has_joint

    data_axis = "frames" if any("frames" in p.sizes for p in points.points) else "tokens"
    joint = _asked(options)
    if joint or (joint is None and options.axis is None and has_joint(points, unit, data_axis)):
        outcome = _finish_joint(title, points, unit, data_axis, origin, options, out, curves)
        if outcome is not None:
            return outcome
    report = _axis_report(title, points, unit, origin, options)
    page = report.write(out)
    return FitOutcome(report.lines(), page, report.law())


def _asked(options: Options) -> bool | None:
    """Whether joint forms are asked for; None for auto.

    Raises:
        PointsError: an unknown form, or forms of both kinds.
    """
    from chemscale.laws.axis.forms import FORMS
    from chemscale.laws.data.points import PointsError
    from chemscale.laws.reports.joint_analysis import SURFACES

    if not options.forms:
        raise PointsError("--form names no form: give auto or some that `--forms` lists.")
    for name in options.forms:
        if name not in (*FORMS, *SURFACES, "auto"):
            raise PointsError(f"--form {name}: there are auto, {', '.join((*FORMS, *SURFACES))}.")
    kinds = {name if name == "auto" else name in SURFACES for name in options.forms}
    if len(kinds) > 1:
        raise PointsError("--form: give auto, or forms of one axis, or joint forms, not a mixture.")
    kind = kinds.pop()
    if kind is True and options.axis:
        raise PointsError(f"--axis {options.axis}: a joint form takes N and D; leave --axis out.")
    return None if kind == "auto" else bool(kind)


def _finish_joint(
    title: str,
    points: LawPoints,
    unit: str,
    data_axis: str,
    origin: Origin,
    options: Options,
    out: Path,
    curves: Callable[[], list[Curve]],
) -> FitOutcome | None:
    """None where auto finds that no joint form can be fitted; the reason is then a note."""
    from chemscale.laws.data.points import PointsError
    from chemscale.laws.reports.joint_analysis import analyse, joint_forms
    from chemscale.laws.reports.joint_report import SurfaceReport

    auto = "auto" in options.forms
    found = analyse(
        points, unit, data_axis, forms=joint_forms(points, unit, data_axis) if auto else options.forms,
        delta=options.delta, curves=curves() if data_axis == "tokens" else [], bootstrap=options.bootstrap,
        seed=options.seed, say=options.say,
    )  # fmt: skip
    if found.law is None:
        if not auto:
            raise PointsError(" ".join(found.refused))
        origin.notes.append(f"N and D both vary, but there is no joint law. {' '.join(found.refused)}")
        return None
    options.say("figures and page")
    report = SurfaceReport(title, found, origin)
    page = report.write(out)
    return FitOutcome(report.lines(), page, report.law())


def _axis_report(title: str, points: LawPoints, unit: str, origin: Origin, options: Options) -> Report:
    from chemscale.laws.axis.fit import fit_power_law
    from chemscale.laws.axis.law import fit_axis
    from chemscale.laws.data.points import PointsError, varying_axis
    from chemscale.laws.reports.axis_report import Report

    known = {a for p in points.points for a in p.sizes}
    axis = options.axis or varying_axis(points, AXES)
    if axis not in known:
        raise PointsError(f"--axis {axis}: these points have {', '.join(sorted(known))}.")
    x, y = points.used(axis, unit)
    other = "data" if axis == "parameters" else "model size" if axis not in ("flops", "joules") else ""
    forms = None if "auto" in options.forms else options.forms
    law = fit_axis(x, y, axis=axis, other=other, forms=forms, bootstrap=options.bootstrap, seed=options.seed)
    report = Report(title, points, law, axis, unit, origin)
    if axis == "parameters" and law.fits:
        for name in ("blocks", "non_embedding", "all"):
            if all(name in p.sizes for p in points.points if p.used):
                sizes, losses = points.used(name, unit)
                report.conventions.append(
                    (name, fit_power_law(sizes, losses, bootstrap=100, seed=options.seed))
                )
    return report
