"""Molecules of a high score by policy gradient: ``python -m chemscale.optimise RUN --score QED``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def optimise(
    run: Annotated[
        Path,
        typer.Argument(
            help="The prior: a finished point (its directory, or RUNS/SWEEP/NAME) or a model folder."
        ),
    ],
    score: Annotated[
        list[str],
        typer.Option(
            help="What is wanted: 'FUNCTION [KEY=VALUE …]', once a component; or a .yaml file of them."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; the same command goes on with what is there.")],
    budget: Annotated[
        int, typer.Option(help="Oracle calls: different molecules that are scored. A larger one goes on.")
    ] = 1000,
    aggregate: Annotated[
        str, typer.Option(help="Of several components: product, mean or least.")
    ] = "product",
    agent: Annotated[
        Path | None, typer.Option(help="What the agent begins as, if not the prior; of the same tokenizer.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="reinvent (augmented likelihood), or ahc (Augmented Hill-Climb).")
    ] = "reinvent",
    sigma: Annotated[
        float | None, typer.Option(help="Nats that a score of 1 is worth; 128, and 60 for ahc.")
    ] = None,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 5e-4,
    batch: Annotated[int, typer.Option(help="Molecules drawn a step.")] = 32,
    top_fraction: Annotated[float, typer.Option(help="Of a batch that ahc learns from.")] = 0.5,
    diversity: Annotated[
        str, typer.Option(help="scaffold: no reward for what was found before, or too often; or none.")
    ] = "scaffold",
    bucket: Annotated[int, typer.Option(help="Rewarded molecules of one scaffold.")] = 25,
    min_score: Annotated[float, typer.Option(help="From which on a molecule counts for its scaffold.")] = 0.4,
    replay: Annotated[int, typer.Option(help="Remembered molecules that each step learns from again.")] = 24,
    replay_size: Annotated[int, typer.Option(help="Best molecules that are remembered.")] = 100,
    replay_choice: Annotated[str, typer.Option(help="prioritised by reward, or random.")] = "prioritised",
    steps: Annotated[int | None, typer.Option(help="At most; else until the budget is spent.")] = None,
    patience: Annotated[int, typer.Option(help="Steps without a new molecule after which it ends.")] = 100,
    max_length: Annotated[int, typer.Option(help="Symbols at most; longer molecules have no reward.")] = 256,
    workers: Annotated[int, typer.Option(help="Processes that score; the result is the same.")] = 1,
    on_error: Annotated[
        str, typer.Option(help="stop, or zero: a molecule whose scoring raises or gives NaN counts as 0.")
    ] = "stop",
    seed: Annotated[int, typer.Option(help="The same seed gives the same molecules.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Move a trained model towards what a scoring function wants, within a budget of calls.

    A scoring function takes a SMILES (or, annotated so, a list of SMILES) and gives numbers from 0 to 1; a
    transform makes such numbers of others. Shipped: similarity, substructure, alerts, QED, logP, SA, weight
    and every other descriptor; yours by module:function or file.py:function. In the folder, molecules.csv has
    every molecule that was scored, page.html the best ones and the curves; model/ is the agent, which every
    verb opens.

    Examples:

      python -m chemscale.optimise runs/chemgpt_sizes/chemgpt-w64-l8 --score QED --out qed

      python -m chemscale.optimise MODEL --score QED --score "logP transform=window:1,3" --out both

      python -m chemscale.optimise MODEL --score "similarity smiles=Cc1ccccc1O" --budget 5000 --out like

      python -m chemscale.optimise MODEL --score "dock.py:energy transform=sigmoid:-6,-10" --out docked
    """
    # It loads torch and RDKit: not for --help.
    from chemscale.reinforcement.run import ENDS
    from chemscale.reinforcement.run import optimise as optimise_model

    try:
        found = optimise_model(
            run,
            score,
            out,
            budget=budget,
            aggregate=aggregate,
            agent=agent,
            method=method,
            sigma=sigma,
            learning_rate=learning_rate,
            batch=batch,
            top_fraction=top_fraction,
            diversity=diversity,
            bucket=bucket,
            min_score=min_score,
            replay=replay,
            replay_size=replay_size,
            replay_choice=replay_choice,
            steps=steps,
            patience=patience,
            max_length=max_length,
            workers=workers,
            on_error=on_error,
            seed=seed,
            device=device,
        )
    except KeyboardInterrupt:
        typer.echo(
            f"Interrupted. The same command goes on; what was scored is in {out}/molecules.csv", err=True
        )
        raise
    typer.echo(f"{found.calls:,} oracle calls in {found.steps:,} steps: {ENDS[found.ended]}.")
    for number, mean in found.top.items():
        fewer = f" (of {found.calls} there are)" if found.calls < number else ""
        typer.echo(f"top {number:<4d} {mean:.4f}{fewer}")
    typer.echo(f"AUC top 10 over {found.budget:,} calls: {found.auc_top10:.4f}")
    if found.problems:
        typer.echo(
            f"{found.problems:,} molecules could not be scored and count as 0: {out}/molecules.csv says why"
        )
    for row in found.best[:5]:
        typer.echo(f"  {row.score:.4f}  {row.smiles}")
    typer.echo(f"All molecules in {out}/molecules.csv, a page in {out}/page.html, the agent in {out}/model")


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
