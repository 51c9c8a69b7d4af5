"""Training, generation and force evaluation timed beside others: ``python -m chemscale.bench --help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command()
def bench(
    work: Annotated[
        str | None,
        typer.Option(help="Names between commas (--list shows them); else what the device is for."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the works and end.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    quick: Annotated[
        bool, typer.Option("--quick", help="Short turns and few data: does it run at all?")
    ] = False,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=PYTHON: schnetpack, nequip, allegro, mace or transformers in an interpreter."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="A commit of this checkout, timed in turns with the present one.")
    ] = None,
    modes: Annotated[
        str | None,
        typer.Option(
            "--modes", "--ours", help="Of training: eager, compiled, or both; else eager, on a GPU both."
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="32, tf32 or bf16-mixed; peers' potentials: 32.")] = "32",
    tokens: Annotated[int, typer.Option(min=512, help="Positions of a ChemGPT's step, times 512.")] = 2560,
    threads: Annotated[int, typer.Option(min=1, help="Of each process; they take turns.")] = 1,
    turns: Annotated[int | None, typer.Option(min=1, help="Of each; 5, or 3 with --quick.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Of a turn at least; 5, or 0.5 with --quick.")
    ] = None,
    padded: Annotated[bool, typer.Option(help="transformers padded to 512 as well, which is slow.")] = False,
    molecules: Annotated[Path | None, typer.Option(help="SMILES instead of starter molecules.")] = None,
    structures: Annotated[
        Path | None, typer.Option(help="Structures with energies and forces instead of made ones.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures here as well.")] = None,
) -> None:
    """Time ours beside other codes, and beside our own older revisions, in turns.

    Everyone who does a work is a process of its own, warmed up, and waits while another one's turn is timed;
    rates are medians over turns, ratios are taken round by round. Our training is the real loop, data and log
    within it; a peer's is its model on one batch that is ready. Also: seconds of the first step (with
    compiling), peak memory of each process (its own allocations on a GPU), and the share of what a matrix
    product and a copy reach on this machine now. Leaves with status 1 if anyone failed.

    Examples:

      python -m chemscale.bench --quick

      python -m chemscale.bench --work painn,schnet --peer schnetpack=venvs/schnetpack/bin/python

      python -m chemscale.bench --work nequip-l1 --modes eager,compiled --peer nequip=venvs/nequip/bin/python

      python -m chemscale.bench --against HEAD~20 --work chemgpt-4.7m,painn

      python -m chemscale.bench --against v0.1.0 --work sweep --turns 1
    """
    from chemscale.benchmarking.works import chosen_works, described  # loads torch: not for --help

    if list_:
        typer.echo("\n".join(described()))
        return
    from chemscale.benchmarking.run import Request, run
    from chemscale.hardware.devices import named_device

    found = named_device(device).type
    request = Request(
        works=chosen_works(work, found),
        device=found,
        quick=quick,
        peers=peer or [],
        against=against,
        modes=modes,
        precision=precision,
        tokens=tokens,
        threads=threads,
        turns=turns,
        seconds=seconds,
        padded=padded,
        molecules=molecules,
        structures=structures,
    )
    if not run(request, json):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
