"""Generated molecules judged, or errors of a trained potential: ``python -m chemscale.evaluate SOURCE``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb, was_given
from chemscale.objects.seals import publish_report
from chemscale.records import RECORD_NAME, RunRecord, find_run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
OF_MOLECULES = (
    "reference", "training", "n", "seed", "max_length", "column", "reference_column",
    "reference_n", "fcd", "workers", "out",
)  # fmt: skip
OF_POTENTIALS = ("part", "frames", "by", "uncertainty")


@app.command()
def evaluate(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A file of molecules, a run (its directory, or RUNS/SWEEP/NAME), or a saved model folder.",
        ),
    ],
    reference: Annotated[
        str | None, typer.Option(help="Molecules to compare with: a file, folder, pattern, corpus or run.")
    ] = None,
    training: Annotated[
        str | None, typer.Option(help="Molecules that are not novel, likewise; else those of --reference.")
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("--n", min=1, help="Molecules drawn (10,000) or rows judged (at most 30,000)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of metrics.json and report.html; else beside the source.")
    ] = None,
    fcd: Annotated[
        bool | None,
        typer.Option("--fcd/--no-fcd", help="Fréchet ChemNet Distance; else where fcd is installed."),
    ] = None,
    reference_n: Annotated[
        int, typer.Option(min=2, help="Reference molecules whose distributions are compared.")
    ] = 10_000,
    column: Annotated[str | None, typer.Option(help="Column of molecules in the file; else found.")] = None,
    reference_column: Annotated[
        str | None, typer.Option(help="Likewise in the reference and the training molecules.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Molecules drawn at a time (256); frames at once (32).")
    ] = None,
    max_length: Annotated[int, typer.Option(min=1, help="Symbols at most; longer are truncated.")] = 512,
    device: Annotated[str, typer.Option(help="Where a model runs: cpu, cuda, or auto.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; else one a core.")] = None,
    part: Annotated[str, typer.Option(help="Of a potential: test, validation or train.")] = "test",
    frames: Annotated[
        int | None, typer.Option(min=1, help="Of a potential: only the first so many frames.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="Of a potential, what frames are grouped by: config_type or formula.")
    ] = "config_type",
    uncertainty: Annotated[
        bool,
        typer.Option("--uncertainty", help="Calibrate a potential, or a sweep of seeds, on held-out frames."),
    ] = False,
) -> None:
    """Judge generated molecules, or a trained potential.

    Molecules: validity by cause, uniqueness, novelty, internal diversity, scaffolds, fragments, nearest
    neighbours, Wasserstein distances of distributions, filters, FCD, GuacaMol's KL; with 95 % intervals and
    the reference's own values. A run is sampled at temperature 1 and compared with its own corpus, unless a
    reference is named. The same command again continues, or shows what is there.

    Potentials: MAE and RMSE of energies (meV, meV/atom), force components (meV/Å) and stress components
    (meV/Å³), of all frames, of each config_type and of each element, kept as evaluation-PART.json in the run;
    evaluation-PART.html has tables with intervals, parity plots and the worst frames. With
    --uncertainty, how its last layer (of a sweep of seeds: how far they are apart) tells the errors of
    held-out frames, and the fraction inside 1 and 2 σ.

    Examples:

      python -m chemscale.evaluate generated.csv --reference train.smi

      python -m chemscale.evaluate runs/chemgpt_sizes/chemgpt-w64-l8 --n 10000

      python -m chemscale.evaluate generated.smi --reference test.csv --training train.csv --out moses

      python -m chemscale.evaluate runs/rmd17_ethanol/painn-w64-l3 --part test

      python -m chemscale.evaluate runs/seeds --uncertainty
    """
    run = source if uncertainty else find_run(source)  # of seeds several runs have one name
    is_potential = uncertainty or ((run / RECORD_NAME).is_file() and RunRecord.load(run).family != "chemgpt")
    misplaced = OF_MOLECULES if is_potential else OF_POTENTIALS
    for name in misplaced:
        if was_given(context, name):
            kind = "molecules" if is_potential else "a potential"
            raise ValueError(f"--{name.replace('_', '-')} is for {kind}: leave it out for {source}.")
    if uncertainty:
        _calibrate(source, frames, batch or 32, device)
        return
    if is_potential:
        _potential(run, part, frames, batch or 32, by, device)
        return
    below = next(run.glob(f"*/{RECORD_NAME}"), None)
    if below is not None and not (run / RECORD_NAME).exists():
        raise ValueError(
            f"{source} is a sweep: give one of its runs, {below.parent} for example; "
            "--uncertainty takes a sweep of seeds of a potential."
        )
    from chemscale.molecules.metrics.run import evaluate_molecules  # loads torch and RDKit: not for --help

    found = evaluate_molecules(
        source,
        reference=reference,
        training=training,
        n=n,
        seed=seed,
        batch=batch or 256,
        max_length=max_length,
        device=device,
        column=column,
        reference_column=reference_column,
        reference_n=reference_n,
        fcd=fcd,
        workers=workers,
        out=out,
    )
    for line in found.lines():
        typer.echo(line)
    typer.echo(f"Page: {found.page}")


def _potential(run: Path, part: str, frames: int | None, batch: int, by: str, device: str) -> None:
    """Print the errors of a potential."""
    from chemscale.points.trained.evaluation import evaluate_run
    from chemscale.structures.evaluation.text import describe_groups

    found = evaluate_run(run, part, frames, batch, by=by, device=None if device == "auto" else device)
    for key, value in found.values.items():
        of_label = {"forces": "meV/Å", "stress": "meV/Å³"}.get(key.split("_")[0], "meV")
        unit = "meV/atom" if key.endswith("per_atom") else of_label
        typer.echo(f"{key:22s} {value:10.3f} {unit}")
    for line in describe_groups(found.groups[1:], by):
        typer.echo(line)
    typer.echo(f"Kept in {found.path}")
    typer.echo(f"Page: {found.page}")
    publish_report(run, (found.path.name, found.page.name))


def _calibrate(source: Path, frames: int | None, batch: int, device: str) -> None:
    """Print how deviations compare with errors."""
    from chemscale.points.uncertainty.evaluation import evaluate_uncertainty

    place = None if device == "auto" else device
    found = evaluate_uncertainty(source, frames=frames or 200, batch=batch, device=place)
    for line in found.lines():
        typer.echo(line)
    publish_report(found.path.parent, (found.path.name,))


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
