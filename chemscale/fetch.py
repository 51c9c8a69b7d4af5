"""Published data sets fetched, checked and recorded: ``python -m chemscale.fetch NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chemscale.cli.app import run_verb, was_given

if TYPE_CHECKING:
    from chemscale.fetching.registry import DataSet

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
OF_SETS = ("only", "registry", "verify", "probe", "wait", "keep_archives", "tries", "timeout")
"""Options that say nothing of names of the Hugging Face Hub."""


@app.command()
def fetch(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Sets, or all; without any they are listed.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where sets lie; CHEMSCALE_DATA, else data in this folder.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Files of the set by a part of their name, or a pattern.")
    ] = None,
    registry: Annotated[
        list[Path] | None, typer.Option(help="Registries of your own, beside CHEMSCALE_REGISTRY.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; ask no server.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read what is there, and check it again.")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask addresses for their first 64 KiB; fetch nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="For another process that fetches the set.")] = True,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Beside what was taken out of them.")
    ] = False,
    tries: Annotated[int, typer.Option(min=0, help="Attempts in a row that bring nothing.")] = 5,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds of silence.")] = 60.0,
) -> None:
    """Fetch published data sets on a machine with a network; training reads them and never downloads.

    Mirrors are tried in order, transfers resumed, lengths and checksums compared with what is published (or
    recorded at first use), archives unpacked safely; a file gets its name when it is whole. Licence,
    citation, addresses and checksums are kept in manifest.json. Proxies are those of the environment.

    Examples:

      python -m chemscale.fetch

      python -m chemscale.fetch rmd17 --only ethanol

      python -m chemscale.fetch ani1x --dry-run

      python -m chemscale.fetch --probe all

      python -m chemscale.fetch hf://datasets/ORG/NAME
    """
    from chemscale.fetching import listing
    from chemscale.fetching.hub import PREFIX
    from chemscale.fetching.places import data_home
    from chemscale.fetching.registry import choose, load_registry
    from chemscale.fetching.sets import Options, chosen, fetch_set
    from chemscale.fetching.transfer.download import Patience

    home = (data or data_home()).expanduser()
    of_hub = [name for name in names or () if name.startswith(PREFIX)]
    if of_hub:
        for option in OF_SETS:
            if was_given(context, option):
                raise ValueError(
                    f"--{option.replace('_', '-')} is for sets of a registry: leave it out for {of_hub[0]}. "
                    "A part of a set of the Hub is hf://datasets/ORG/NAME/FILES."
                )
        _fetch_from_hub(of_hub, home, dry_run)
        names = [name for name in names or () if name not in of_hub]
        if not names:
            return
    known = load_registry(registry or ())
    if not names and not probe:
        typer.echo("\n".join(listing.table(known, home)))
        typer.echo("\npython -m chemscale.fetch NAME fetches one, --dry-run says first what that means.")
        return
    everything = not names or names == ["all"]
    sets = [choose(known, name) for name in (list(known) if everything else names or ())]
    if probe:
        _probe(sets, timeout)
        return
    plans = [(each, chosen(each, only or ())) for each in sets]
    if dry_run:
        typer.echo("\n".join(line for each, files in plans for line in listing.plan(each, files, home)))
        return
    options = Options(
        only=only or (),
        verify=verify,
        wait=wait,
        keep_archives=keep_archives,
        patience=Patience(tries=tries, timeout=timeout),
    )
    for each in sets:
        typer.echo("\n".join(listing.about(each)))
        paths = fetch_set(each, home, options)
        typer.echo("\n".join(listing.use(each, paths, home)))


def _fetch_from_hub(names: list[str], home: Path, dry_run: bool) -> None:
    """Fetch data sets of the Hugging Face Hub, and say what reads them."""
    from chemscale.fetching.hub import fetch_from_hub, hub_name

    for each in map(hub_name, names):
        assert each is not None
        if dry_run:
            typer.echo(f"{each}: into {each.folder(home)}")
            continue
        typer.echo(f"{each} …")
        folder = fetch_from_hub(each, home)
        typer.echo(f"It lies in {folder}. Read it with data=smiles or data=structures and data.path={each}")


def _probe(sets: list[DataSet], timeout: float) -> None:
    """Print what each address answers; status 1 where one does not answer as it should."""
    from chemscale.fetching.probe import probe

    bad = 0
    for each in probe(sets, timeout):
        bad += not each.good
        typer.echo(f"{'ok  ' if each.good else 'FAIL'}  {each.data}  {each.url}  {each.said}")
    if bad:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
