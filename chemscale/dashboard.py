"""A live page of sweeps, or a prepared W&B workspace: ``python -m chemscale.dashboard local runs/``."""

from __future__ import annotations

import typer

from chemscale.cli.app import run_verb
from chemscale.dashboards.local.dashboard import local
from chemscale.dashboards.wandb.workspace import wandb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
app.command()(local)
app.command()(wandb)


@app.callback()
def about() -> None:
    """Watch sweeps: a live page on this machine, or a prepared W&B workspace.

    Examples:

      python -m chemscale.dashboard local runs/

      python -m chemscale.dashboard local runs/ --out runs.html
    """


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
