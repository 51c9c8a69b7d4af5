"""The command ``fit`` in this process, and a table for it."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from chemscale.fit import app

SIZES = (1e3, 1e4, 1e5, 1e6)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def reason(result: Result) -> str:
    """What a refusal says: ``run_verb`` prints it without a traceback."""
    assert isinstance(result.exception, ValueError), result.output
    return str(result.exception)


def write_csv(path: Path, header: str, rows: list[tuple[Any, ...]]) -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path
