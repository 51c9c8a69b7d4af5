"""Settings from the first part of training: ``python -m chemscale.estimate RUNS``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def estimate(
    runs: Annotated[Path, typer.Argument(help="The directory of a sweep over settings.")],
    share: Annotated[
        float, typer.Option(help="Part of each run at which the estimators are compared.")
    ] = 0.2,
    by: Annotated[
        str,
        typer.Option(
            help="What a run shows at a rung: validation, tse, tse-e, tse-ema, ema, power, offset, bnsl."
        ),
    ] = "validation",
    unit: Annotated[
        str | None, typer.Option(help="Final loss to predict, such as nats_per_token or forces_mae.")
    ] = None,
    rungs: Annotated[
        str | None,
        typer.Option(
            help="Shares of a run at which a setting waits for a decision, 0.02,0.05,0.1,0.2,0.5,0.8 if not "
            "given, from the first on that all runs were validated by."
        ),
    ] = None,
    risk: Annotated[float, typer.Option(help="Chance at which the best setting may be lost.")] = 0.05,
    tolerance: Annotated[
        float, typer.Option(help="A setting counts as better only if its loss is lower by this share.")
    ] = 0.005,
    earlier: Annotated[
        list[Path] | None,
        typer.Option(help="An earlier sweep to learn from; again for more."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; RUNS/estimate if not given.")] = None,
) -> None:
    """Tell where runs of a sweep over settings end, from the first part of their training.

    On a sweep whose runs have all ended, every estimator is scored against the truth, and the rule is
    replayed beside successive halving, ASHA, Hyperband and the early validation loss. On one that was cut
    short, the stopped runs are forecast, with the chance that the best is among them.

    Examples:

      python -m chemscale.estimate runs/chemgpt_hparams

      python -m chemscale.estimate runs/painn_hparams --risk 0.01 --earlier runs/schnet_hparams
    """
    # Imported here, so that --help does not wait for SciPy.
    from chemscale.analysis.early_stopping import report_of
    from chemscale.laws.data.left_out import LeftOut
    from chemscale.laws.early_stopping.rule import RUNGS, Rule
    from chemscale.objects.address import local_place
    from chemscale.objects.seals import publish_report
    from chemscale.records import Unreadable, find_records

    rule = Rule(RUNGS if rungs is None else _shares(rungs), risk, tolerance, by)
    if not 0 < share < 1:
        raise ValueError(f"--share {share}: give a part of a run, between 0 and 1.")
    unreadable: list[Unreadable] = []
    found = list(find_records(runs, unreadable))
    left = [LeftOut(each.problem.rstrip("."), "unreadable record") for each in unreadable]
    command = "python -m chemscale.estimate " + shlex.join(sys.argv[1:])
    report, _ = report_of(
        found, rule, title=str(runs), unit=unit, command=command, share=share,
        earlier=earlier or [], drop_blind=rungs is None, left=left,
    )  # fmt: skip
    page = report.write(out or local_place(runs) / "estimate")
    for line in report.lines():
        typer.echo(line)
    typer.echo(f"Report: {page}")
    publish_report(page.parent)


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--rungs {text}: give shares with commas between them, such as 0.05,0.2,0.5."
        ) from None


def main() -> None:
    run_verb(app)


if __name__ == "__main__":
    main()
