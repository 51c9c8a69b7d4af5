"""Prove that every strategy trains as one float32 process does: ``python -m chemscale.certify --help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from chemscale.cli.app import run_verb
from chemscale.common.files import atomic_write

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command()
def certify(
    worlds: Annotated[str, typer.Option(help="Numbers of ranks.")] = "1,2,4",
    models: Annotated[
        str,
        typer.Option(
            help="Of chemgpt, chemgpt-recompute, schnet, painn, allegro; and -compiled behind one (minutes)."
        ),
    ] = "chemgpt,chemgpt-recompute,schnet,painn,allegro",
    strategies: Annotated[str, typer.Option(help="Of ddp, zero1, zero2, zero3, fsdp2.")] = (
        "ddp,zero1,zero2,zero3,fsdp2"
    ),
    accumulate: Annotated[str, typer.Option(help="Micro-batches of an optimiser step.")] = "1,4",
    precisions: Annotated[
        str, typer.Option(help="Of 32, bf16-mixed; on GPUs also tf32, 16-mixed.")
    ] = "32,bf16-mixed",
    accelerator: Annotated[str, typer.Option(help="cpu, or cuda with a GPU for each rank.")] = "cpu",
    markdown: Annotated[Path | None, typer.Option(help="Write the table here as well.")] = None,
    corpora: Annotated[Path, typer.Option(help="Where prepared molecules are kept.")] = Path("corpora"),
    structures: Annotated[Path, typer.Option(help="Where prepared structures are kept.")] = Path(
        "structures"
    ),
) -> None:
    """The gradient-equivalence certificate, on ranks of this machine.

    Each case trains a small model for 20 steps; gradients and losses of every step are compared with those
    of one float32 process. A case passes, is refused with the reason, or fails the command.

    `python -m chemscale.certify --worlds 2 --models chemgpt --accumulate 4`
    """
    from chemscale.hardware.devices import named_device
    from chemscale.testing.certificate import lines, reasons, table_of  # loads torch: not for --help
    from chemscale.testing.equivalence import TOLERANCES, all_cases
    from chemscale.testing.equivalence import certify as run

    named_device(accelerator, "--accelerator")
    console = Console(stderr=True)
    shared = [f"corpora={corpora}", f"structures={structures}", f"trainer.accelerator={accelerator}"]
    cases = list(
        all_cases(
            models.split(","),
            read_numbers("--worlds", worlds),
            strategies.split(","),
            precisions.split(","),
            read_numbers("--accumulate", accumulate),
        )
    )
    verdicts = run(cases, shared, console.print)
    Console(width=None if console.is_terminal else 132).print(table_of(verdicts))
    for reason in reasons(verdicts):
        console.print(reason, highlight=False, markup=False)
    for precision in precisions.split(","):
        of_gradient, of_loss = TOLERANCES[precision]
        console.print(
            f"{precision}: gradients within {of_gradient:g} of one float32 process, losses {of_loss:g}."
        )
    if markdown is not None:
        with atomic_write(markdown) as file:
            file.write("\n".join(lines(verdicts)) + "\n")
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


def read_numbers(option: str, text: str) -> list[int]:
    """Read whole numbers between commas.

    Args:
        option: that they were given with, for the message.
        text: as given.

    Raises:
        ValueError: something else.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"{option} {text}: give whole numbers between commas, for example 1,2,4.")
    return [int(part) for part in parts]


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
