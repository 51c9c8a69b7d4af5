"""A law and a report from runs, a table or a W&B export: ``python -m chemscale.fit RUNS_OR_TABLE``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb
from chemscale.cli.stages import Stages
from chemscale.common.exit_status import FAILED

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def list_forms(asked: bool) -> None:
    """Print every form with its parameters, source and assumptions, and leave."""
    if not asked:
        return
    from chemscale.laws.axis.forms import FORMS
    from chemscale.laws.reports.joint_analysis import SURFACES

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
        Path,
        typer.Argument(
            help="A directory of runs, or a table of anyone's: CSV (commas, semicolons, tabs), JSON, JSON "
                 "lines, Parquet, in gzip too, or a W&B export."
        ),
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
                          "C FLOPs, U distinct tokens, J joules, a loss of any unit); state=… (what did not "
                          "finish is left out), group=… (the run whose checkpoints rows are), run=…,step=… "
                          "(rows of learning curves). JSON keys have dots."),
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

    Every number comes with its interval, and every run that is left out is counted with its reason. Where no
    form can be fitted the status is 1. `--forms` says what each form assumes.

    Examples:

      python -m chemscale.fit runs/chemgpt_joint

      python -m chemscale.fit runs/chemgpt_sizes --form power,offset

      python -m chemscale.fit my_runs.csv --columns N=params,D=tokens,loss=val_loss --flops-model 6nd

      python -m chemscale.fit wandb_export.csv --columns N=model.size,loss=validation/nats_per_token
    """
    # Imported here, so that --help does not wait for SciPy and Matplotlib.
    stages = Stages()
    from chemscale.analysis.fit import Options, fit_csv, fit_runs
    from chemscale.common.listening import listening
    from chemscale.objects.reading import bring_records
    from chemscale.objects.seals import publish_report

    command = "python -m chemscale.fit " + shlex.join(sys.argv[1:])
    asked = tuple(name.strip() for part in form or ["auto"] for name in part.split(",") if name.strip())
    options = Options(asked, axis, delta, exclude_highest, bootstrap, seed, stages)
    source = bring_records(source)
    _refuse_misplaced(source, columns, flops_model, unit)
    with stages, listening(stages.heard):
        if source.is_dir():
            outcome = fit_runs(source, out=out, unit=unit, command=command, options=options)
        else:
            outcome = fit_csv(
                source, columns, out=out, command=command, flops_model=flops_model, options=options
            )
    for line in outcome.lines:
        typer.echo(line)
    typer.echo(f"Report: {outcome.report}")
    publish_report(outcome.report.parent)
    if not outcome.found:
        typer.echo("No law: the reasons stand above.", err=True)
        raise typer.Exit(FAILED)


def _refuse_misplaced(source: Path, columns: str | None, flops_model: str | None, unit: str | None) -> None:
    """Refuse options that the source would ignore.

    Args:
        source: a directory or a file.
        columns: of a file.
        flops_model: of a file.
        unit: of a directory of runs.

    Raises:
        PointsError: one was given that is not for this source.
    """
    from chemscale.laws.data.points import PointsError

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


def main() -> None:
    run_verb(app)


if __name__ == "__main__":
    main()
