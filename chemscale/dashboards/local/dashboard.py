"""The command ``dashboard local``: serve or write the page of a folder of runs."""

from __future__ import annotations

import getpass
import socket
import time
from pathlib import Path
from typing import Annotated

import typer

from chemscale.dashboards.local.page import write_page
from chemscale.dashboards.local.server import Server, is_loopback, make_server
from chemscale.objects.reading import following
from chemscale.records import RecordError


def local(
    runs: Annotated[Path, typer.Argument(help="A folder of sweeps, or one sweep; or its address.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Write one page that opens from the disk, as things stand now, and end."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to serve on; the default is reached from this machine only.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port; the first free one from 8765 on if not given.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name that browsers may ask for, such as a proxy's; repeatable."),
    ] = None,
) -> None:
    """Watch sweeps in a browser: states, time left, learning curves, the law so far.

    Reads records, metrics and the laws beside them, writes nothing there, and asks nothing of the network but
    of the store where RUNS is an address, every half minute.

    Examples:

      python -m chemscale.dashboard local runs/

      python -m chemscale.dashboard local runs/chemgpt_sizes --out chemgpt_sizes.html
    """
    with following(runs) as folder:
        if not folder.is_dir():
            raise RecordError(f"{runs}: no such folder. Give the folder of your runs, for example runs/.")
        if out is not None:
            _write(folder, out)
            return
        server = make_server(folder, host, port, allow_host or ())
        try:
            _print_address(server, folder, host)
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            typer.echo("\nThe dashboard has ended; runs go on.")
        finally:
            server.server_close()


def _write(runs: Path, out: Path) -> None:
    began = time.monotonic()
    if out.is_dir():
        raise RecordError(f"--out {out} is a folder: name a file in it, for example {out / 'runs.html'}.")
    try:
        page = write_page(runs, out)
    except OSError as error:
        raise RecordError(f"--out {out}: cannot be written ({error.strerror or error}).") from None
    size = page.stat().st_size / 2**20
    typer.echo(f"{page} ({size:.1f} MiB, {time.monotonic() - began:.1f} s): open it in a browser.")


def _print_address(server: Server, runs: Path, host: str) -> None:
    """Where the page is, and how it is reached from elsewhere."""
    shown = f"[{host}]" if ":" in host else host
    if is_loopback(host):
        typer.echo(f"{runs}: http://{shown}:{server.port}/")
        typer.echo("From another machine, first: ")
        typer.echo(f"  ssh -N -L {server.port}:{shown}:{server.port} {_user()}@{socket.gethostname()}")
    else:
        name = socket.gethostname() if host in ("0.0.0.0", "::") else shown
        warning = (
            f"--host {host}: everyone who can reach this machine can read these runs, without a password."
        )
        typer.secho(warning, fg="yellow", err=True)
        typer.echo(f"{runs}: http://{name}:{server.port}/")
    typer.echo("Ctrl-C ends it.")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "USER"
