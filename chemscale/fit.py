"""A law and a report from runs, a CSV or a W&B export: ``python -m chemscale.fit RUNS_OR_CSV``."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chemscale.errors import run_verb
from chemscale.fitting_runs import envelope_curves, origin_of, point_of, records_of, rung_of, split_losses

if TYPE_CHECKING:
    from chemscale.laws.envelope import Curve
    from chemscale.laws.points import LawPoint, LawPoints
    from chemscale.laws.report import Origin, Report

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

AXES = ("parameters", "frames", "tokens", "unique_tokens", "flops", "joules")
HEADLINE_UNITS = ("nats_per_token", "forces_mae", "energy_mae_per_atom")
"""What a law is fitted to where no unit is asked for: the first that the runs have."""
QUIET = 5.0
"""Seconds after which a fit says what it is doing."""


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


def list_forms(asked: bool) -> None:
    """Print every form with its parameters, source and assumptions, and leave."""
    if not asked:
        return
    from chemscale.laws.forms import FORMS
    from chemscale.laws.joint_analysis import SURFACES

    def show(name: str, *texts: str) -> None:
        typer.echo(f"\n  {name:10s}" + f"\n{'':12s}".join(texts))

    typer.echo("Of one axis x (parameters N, tokens D or frames, FLOPs C); L is the loss in the runs' unit:")
    for form in FORMS.values():
        show(form.name, form.formula, form.source, form.assumes)
    typer.echo("\nJoint, of parameters N and tokens D (frames for potentials; U distinct tokens):")
    for surface in SURFACES.values():
        show(surface.name, surface.formula, surface.source, surface.assumes)
    show(
        "auto",
        "One axis varies: power, offset, broken forms where sizes suffice, with a test of the regime.",
        "N and D both take 3 values or more: additive, kaplan; repeats first where data repeat.",
    )
    raise typer.Exit


@app.command()
def fit(
    source: Annotated[
        Path, typer.Argument(help="A directory of runs, a CSV file, or a W&B export (CSV, JSON, JSON lines).")
    ],
    form: Annotated[
        list[str] | None,
        typer.Option(help="auto, or of power offset broken1 broken2, or of additive repeats tied kaplan (the "
                          "first is the law); repeatable, or with commas."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write; RUNS/law, or CSV-law, if not given.")
    ] = None,
    axis: Annotated[
        str | None, typer.Option(help="One axis: parameters, frames, tokens, unique_tokens, flops or joules.")
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="A loss of the runs: nats_per_token, nats_per_molecule, energy_mae (meV), "
                          "forces_mae (meV/Å), …"),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="For a file: N=…,D=…,C=…,U=…,loss=…,seed=…,label=… (N parameters, D tokens, "
                          "C FLOPs, U distinct tokens, J joules, a loss of any unit); JSON keys have dots."),
    ] = None,
    flops_model: Annotated[
        str | None, typer.Option(help="6nd: C = 6ND where a file has no C, or D = C/6N where it has no D.")
    ] = None,
    delta: Annotated[float, typer.Option(min=1e-8, help="Of Huber's loss on log loss; joint forms.")] = 1e-3,
    exclude_highest: Annotated[
        int, typer.Option(min=0, help="Leave out so many runs of the highest loss, and say so in the report.")
    ] = 0,
    bootstrap: Annotated[int, typer.Option(min=100, help="Draws of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    forms: Annotated[
        bool, typer.Option("--forms", callback=list_forms, is_eager=True, help="List the forms and leave.")
    ] = False,
) -> None:  # fmt: skip
    """Fit a scaling law, of one axis or joint, and write a report, its figures and law.json.

    Every number comes with its interval. `--forms` says what each form assumes.

    Examples:

      python -m chemscale.fit runs/chemgpt_joint

      python -m chemscale.fit runs/chemgpt_sizes --form power,offset

      python -m chemscale.fit my_runs.csv --columns N=params,D=tokens,loss=val_loss --flops-model 6nd

      python -m chemscale.fit wandb_export.csv --columns N=model.size,loss=validation/nats_per_token
    """
    command = "python -m chemscale.fit " + shlex.join(sys.argv[1:])
    asked = tuple(name.strip() for part in form or ["auto"] for name in part.split(",") if name.strip())
    options = Options(asked, axis, delta, exclude_highest, bootstrap, seed, _progress())
    _refuse_misplaced(source, columns, flops_model, unit)
    if source.is_dir():
        outcome = fit_runs(source, out=out, unit=unit, command=command, options=options)
    else:
        outcome = fit_csv(source, columns, out=out, command=command, flops_model=flops_model, options=options)
    for line in outcome.lines:
        typer.echo(line)
    typer.echo(f"Report: {outcome.report}")


def _refuse_misplaced(source: Path, columns: str | None, flops_model: str | None, unit: str | None) -> None:
    """Refuse options that the source would ignore.

    Raises:
        PointsError: one was given.
    """
    from chemscale.laws.points import PointsError

    if source.is_dir():
        for name, value in (("--columns", columns), ("--flops-model", flops_model)):
            if value is not None:
                raise PointsError(
                    f"{name} is for a file: {source} is a directory of runs, which hold their sizes, "
                    "losses and counted FLOPs. Leave it out."
                )
    elif unit is not None:
        raise PointsError(
            f"--unit {unit} is for a directory of runs: of a file, --columns loss=NAME says it."
        )


def _progress() -> Callable[[str], None]:
    begun = time.monotonic()

    def say(text: str) -> None:
        elapsed = time.monotonic() - begun
        if elapsed > QUIET:
            typer.echo(f"  {elapsed:.0f} s: {text} …", err=True)

    return say


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
    from chemscale.laws.points import LawPoints

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
    """Fit anyone's CSV, or an export of W&B (see ``chemscale.laws.exports``).

    Raises:
        PointsError: the file, a column or a cell cannot be used.
    """
    from chemscale.laws.exports import read_table
    from chemscale.laws.points import PointsError, parse_columns
    from chemscale.laws.report import Origin

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
    from chemscale.laws.forms import FORMS
    from chemscale.laws.ladder import Ladder
    from chemscale.laws.points import LawPoints, PointsError, varying_axis

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
    from chemscale.laws.joint_analysis import has_joint

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
    from chemscale.laws.forms import FORMS
    from chemscale.laws.joint_analysis import SURFACES
    from chemscale.laws.points import PointsError

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
    from chemscale.laws.joint_analysis import analyse, joint_forms
    from chemscale.laws.points import PointsError
    from chemscale.laws.surface_report import SurfaceReport

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
    from chemscale.laws.axis_law import fit_axis
    from chemscale.laws.fitting import fit_power_law
    from chemscale.laws.points import PointsError, varying_axis
    from chemscale.laws.report import Report

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


def main() -> None:
    run_verb(app)


if __name__ == "__main__":
    main()
