"""The command ``dashboard wandb``: create the prepared workspace of a project."""

from __future__ import annotations

from typing import Annotated

import typer


def wandb(project: Annotated[str, typer.Argument(help="ENTITY/PROJECT or PROJECT.")]) -> None:
    """Create the prepared W&B workspace of a project."""
    raise NotImplementedError
