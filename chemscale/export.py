"""A trained model for others: ``python -m chemscale.export RUN --to FOLDER``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def export(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="A point, finished or not (its directory, or RUNS/SWEEP/NAME), or a saved model folder."
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder to write (not overwritten).")] = None,
    step: Annotated[
        int | None, typer.Option(help="Of a checkpoint that is still there; else the newest whole one.")
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--as",
            help="hf: GPT-Neo for transformers (a potential: its safetensors); gpt2: an exact GPT-2, which "
            "more programs serve; onnx: one graph for onnxruntime; gguf: one file for llama.cpp. Of a "
            "potential: aoti: one compiled file for C++; exported: PyTorch's portable program.",
        ),
    ] = "hf",
    positions: Annotated[
        int | None, typer.Option(help="Of --as gpt2 and gguf: fewer than the 256 for which they are exact.")
    ] = None,
    from_hf: Annotated[
        Path | None,
        typer.Option("--from-hf", help="In place of a run: a downloaded ncfrey/ChemGPT folder to repair."),
    ] = None,
    rows: Annotated[
        str, typer.Option(help="With --from-hf: keep or prune the rows of word pieces in its vocabulary.")
    ] = "keep",
    names: Annotated[
        str,
        typer.Option(help="With --from-hf: published names of symbols, or selfies2 for those of SELFIES 2."),
    ] = "published",
    push: Annotated[
        str | None, typer.Option(help="OWNER/NAME on the Hugging Face Hub, with the login of hf auth login.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="If --push makes the repository now.")] = False,
    license: Annotated[str, typer.Option(help="For the model card, as the Hub names it.")] = "unknown",
    dataset: Annotated[
        list[str] | None, typer.Option(help="For the model card: a data set on the Hub; may be repeated.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check/--no-check",
            help="Compare the logits (a potential: energies, forces, stress) of what was written with ours.",
        ),
    ] = True,
    device: Annotated[
        str, typer.Option(help="Of --as aoti and exported: where the file will run, cpu or cuda.")
    ] = "cpu",
) -> None:
    """Write a trained model as a folder for others, with a model card.

    Works for checkpoints of every strategy, ranks and all, in one process without a GPU. A file that would
    run code is refused. The logits of what was written are compared with those of the model.

    Examples:

      python -m chemscale.export runs/chemgpt_sizes/chemgpt-w64-l8 --to model

      python -m chemscale.export runs/single/chemgpt-w64-l8 --step 4000 --to model-4000 --as gpt2

      python -m chemscale.export --from-hf ChemGPT-4.7M --to repaired --rows prune

      python -m chemscale.export runs/chemgpt_sizes/chemgpt-w64-l8 --push me/my-chemgpt --private

      python -m chemscale.export runs/single/painn-w64-l3 --to package --as aoti
    """
    from chemscale.points.trained.export import export as write  # loads torch: not for --help

    done = write(
        run,
        to,
        from_hf=from_hf,
        step=step,
        form=form,
        rows=rows,
        names=names,
        positions=positions,
        push_to=push,
        private=private,
        license=license,
        datasets=tuple(dataset or ()),
        check=check,
        device=device,
    )
    for line in done.lines:
        typer.echo(line)


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
