"""What every command line shares: plain log lines, and one paragraph for what went wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from chemscale.cli.overrides import explain_override
from chemscale.common.logs import show_logs
from chemscale.objects.address import is_address

if TYPE_CHECKING:
    import typer

HYDRA = ("hydra.errors", "HydraException")
OF_CONFIGURATION = (HYDRA, ("omegaconf.errors", "OmegaConfBaseException"), ("yaml", "YAMLError"))
"""Modules, and errors of theirs that are the user's. None is imported to catch them: who raised one did so,
and Hydra takes longer to import than many commands to run."""
WRITTEN = ("--out", "--to")
"""Options that name a file or a folder to write."""
OF_PLACES = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG,
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG,
}  # fmt: skip
"""What a file system says of a place that a person named."""


@contextlib.contextmanager
def one_paragraph() -> Iterator[None]:
    """End with one paragraph and status 2 for bad input, 130 for an interruption.

    CHEMSCALE_DEBUG=1 shows the traceback instead. Errors that are not the user's keep theirs.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    if os.environ.get("CHEMSCALE_DEBUG"):
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        of_user = isinstance(error, (ValueError, FileNotFoundError, *_imported(OF_CONFIGURATION)))
        if not of_user and _of_place(error) is None:
            raise
        print(f"\n{_paragraph(error)}\n(CHEMSCALE_DEBUG=1 shows where.)", file=sys.stderr)
        sys.exit(2)


def _imported(names: Iterable[tuple[str, str]]) -> tuple[type[Exception], ...]:
    """Errors, by module and name, whose modules are imported."""
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


def _of_place(error: BaseException) -> str | None:
    """What is wrong with the place that a file system refused; None for all other errors."""
    if not isinstance(error, OSError) or error.errno not in OF_PLACES or not error.strerror:
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        way_out = "Make room; the same command goes on."
    else:
        way_out = "Choose a place that can be read and written."
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return f"{place}{error.strerror}. {way_out}"


def _paragraph(error: BaseException) -> str:
    if (of_place := _of_place(error)) is not None:
        return of_place
    text = str(error).strip()
    if HYDRA[0] in sys.modules and (better := explain_override(text, sys.argv[1:])):
        return better
    missing = re.match(r"Could not override '([\w.@]+)'", text)
    if missing and not missing[1].startswith("hydra"):
        from chemscale.config.check import explain

        within = re.search(r"full_key: ([\w.]+)", f"{text}\n{error.__cause__}")
        return explain(within[1] if within else missing[1])
    # Hydra wraps what a configuration or a job raised: the cause explains it better.
    cause = error.__cause__
    if isinstance(error, _imported([HYDRA])) and cause is not None and str(cause) not in text:
        text = f"{text}\n{str(cause).strip()}"
    return text


def was_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line.

    Args:
        context: of the command.
        name: of the option, as the function has it.
    """
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def run_verb(app: Callable[[], object]) -> None:
    """Run the command line of a command: plain logs, errors as one paragraph.

    Args:
        app: parses ``sys.argv`` and does the work.
    """
    show_logs()
    with one_paragraph():
        _refuse_written_addresses(sys.argv[1:])
        app()


def _refuse_written_addresses(arguments: Sequence[str]) -> None:
    """Refuse to write into a folder of this disk that is called ``s3:``.

    Args:
        arguments: of a command line.

    Raises:
        ValueError: an address stands where a place to write to is named.
    """
    for word, behind in pairwise([*arguments, ""]):
        name, _, value = word.partition("=")
        value = value or behind
        if name in WRITTEN and is_address(value):
            raise ValueError(
                f"{name} {value}: it is written to a place on this disk. Give a path; what is written beside "
                "runs at an address goes there without it."
            )
