"""Training performance estimation (TPE, Frey et al. 2023): ``python -m chemscale.estimate RUNS``."""

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
    share: Annotated[float, typer.Option(help="Part of each run that the estimate may see.")] = 0.2,
    by: Annotated[
        str, typer.Option(help="tse, tse-e, tse-ema, ema, or a baseline: validation, power, offset, bnsl.")
    ] = "tse",
    unit: Annotated[
        str | None, typer.Option(help="Final loss to predict, such as nats_per_token or forces_mae.")
    ] = None,
    keep: Annotated[int, typer.Option(help="Most promising runs that are finished first.")] = 3,
    controls: Annotated[int, typer.Option(help="Other runs finished to judge the regression by.")] = 2,
    risk: Annotated[float, typer.Option(help="Chance of being best above which a run is finished.")] = 0.05,
    out: Annotated[Path | None, typer.Option(help="Where to write; RUNS/estimate if not given.")] = None,
) -> None:
    """Tell how well the end of each run shows in the first part of its training, and which to finish.

    On a sweep whose runs have all ended, every estimator is scored against the truth and the stopping rule is
    replayed. On one that was stopped early, the stopped runs are predicted from the finished ones.

    Examples:

      python -m chemscale.estimate runs/chemgpt_hparams

      python -m chemscale.estimate runs/painn_hparams --share 0.1 --by validation --unit energy_mae_per_atom
    """
    # Imported here, so that --help does not wait for SciPy.
    from chemscale.analysis.early_stopping import report_of
    from chemscale.laws.data.left_out import LeftOut
    from chemscale.laws.early_stopping.rule import Rule
    from chemscale.records import Unreadable, find_records

    rule = Rule(share, keep, controls, risk, by)
    unreadable: list[Unreadable] = []
    found = list(find_records(runs, unreadable))
    left = [LeftOut(each.problem.rstrip("."), "unreadable record") for each in unreadable]
    command = "python -m chemscale.estimate " + shlex.join(sys.argv[1:])
    report, _ = report_of(found, rule, title=str(runs), unit=unit, command=command, left=left)
    page = report.write(out or Path(runs) / "estimate")
    for line in report.lines():
        typer.echo(line)
    typer.echo(f"Report: {page}")


def main() -> None:
    run_verb(app)


if __name__ == "__main__":
    main()
