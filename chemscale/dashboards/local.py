"""The command ``dashboard local``: serve or write the page of a folder of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def local(runs: Annotated[Path, typer.Argument(help="A folder of sweeps, or one sweep.")]) -> None:
    """Watch sweeps in a browser."""
    raise NotImplementedError
