"""Properties predicted from a trained model: ``python -m chemscale.probe RUN FILE --task NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def probe(
    run: Annotated[
        Path, typer.Argument(help="A finished point (its directory, or RUNS/SWEEP/NAME), or a model folder.")
    ],
    molecules: Annotated[Path, typer.Argument(help="Molecules with labels, such as a CSV of MoleculeNet.")],
    task: Annotated[
        list[str] | None, typer.Option(help="Column of labels; repeat for several. Cells may be empty.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of SMILES or SELFIES, name or number from 0; else found.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="classification or regression; else told by the labels.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="scaffold, scaffold-shuffled, random, or an index file that a probe wrote.")
    ] = "scaffold",
    seeds: Annotated[int, typer.Option(min=1, help="Of splits that are drawn, and of fine-tuning.")] = 3,
    pooling: Annotated[str, typer.Option(help="mean, last or max over the symbols.")] = "mean",
    layer: Annotated[int, typer.Option(help="Whose states are pooled; -1 is the last.")] = -1,
    fine_tune: Annotated[bool, typer.Option(help="Train all weights and a head as well.")] = False,
    epochs: Annotated[int, typer.Option(min=1, help="Of fine-tuning, at most.")] = 50,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without a better validation.")] = 8,
    rate: Annotated[float, typer.Option(help="Learning rate of fine-tuning.")] = 3e-4,
    bootstrap: Annotated[int, typer.Option(min=20, help="Draws of the test molecules.")] = 1000,
    name: Annotated[str | None, typer.Option(help="Of the result; else by file and split.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the result; else the run's.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Predict measured properties by linear heads on frozen embeddings, beside Morgan fingerprints.

    ROC-AUC for labels 0 and 1, RMSE and MAE for others, each with a 95 % interval by bootstrap over the test
    molecules, and over seeds where something is drawn. The validation part chooses the strength of a head.
    The split has an id; which row stood in which part is written beside the result. Kept beside the run's
    record as probe-NAME.json; interrupted, the same command goes on.

    Examples:

      python -m chemscale.probe runs/chemgpt_sizes/chemgpt-w64-l8 delaney.csv --task logS

      python -m chemscale.probe runs/chemgpt_sizes/chemgpt-w64-l8 tox21.csv --split random --seeds 5

      python -m chemscale.probe model bace.csv --task Class --fine-tune --seeds 3
    """
    from chemscale.probing.fine_tuning import FineTuning  # they load torch and RDKit: not for --help
    from chemscale.probing.run import probe as run_probe

    how = FineTuning(epochs=epochs, patience=patience, rate=rate) if fine_tune else False
    result = run_probe(
        run,
        molecules,
        tasks=task or None,
        column=column,
        kind=kind,
        split=split,
        seeds=seeds,
        pooling=pooling,
        layer=layer,
        fine_tune=how,
        bootstrap=bootstrap,
        name=name,
        out=out,
        device=device,
        progress=True,
    )
    for line in result.lines():
        typer.echo(line)
    typer.echo(f"Kept as probe-{result.name}.json in {out or 'the folder of the run'}")


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
