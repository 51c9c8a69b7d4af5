"""Errors of a trained potential on a held-out part of its data: ``python -m chemscale.evaluate RUN``."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb
from chemscale.common.files import write_json
from chemscale.records import RunRecord, find_run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
log = logging.getLogger("chemscale.evaluate")  # run with -m, __name__ is __main__


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run: its directory, or RUNS/SWEEP/NAME.")],
    part: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    frames: Annotated[int | None, typer.Option(min=1, help="Only the first so many frames.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Frames at once.")] = 32,
) -> None:
    """MAE and RMSE of energies (meV, meV/atom) and force components (meV/Å); kept as evaluation-PART.json.

    Examples:

      python -m chemscale.evaluate runs/rmd17_ethanol/painn-w64-l3 --part test
    """
    run = find_run(run)
    values = evaluate_run(run, part, frames, batch)
    for key, value in values.items():
        unit = "meV/Å" if key.startswith("forces") else "meV/atom" if key.endswith("per_atom") else "meV"
        typer.echo(f"{key:22s} {value:10.3f} {unit}")
    typer.echo(f"Kept in {run / f'evaluation-{part}.json'}")


def evaluate_run(run: Path, part: str, frames: int | None = None, batch: int = 32) -> dict[str, float]:
    """The errors of a run's model on one part of the store that it was trained on.

    Raises:
        ValueError: the run is no potential, or the part is empty.
        RecordError, PotentialError: nothing is there.
    """
    import numpy as np

    from chemscale.models.potentials import load_potential
    from chemscale.points.data import open_or_prepare_structures
    from chemscale.structures.batches import BatchBudget, ValidationFrames
    from chemscale.structures.edges import EdgeCache
    from chemscale.structures.store import PARTS
    from chemscale.tasks.losses import EnergyForceLoss
    from chemscale.tasks.optimisation import AdamW, Schedule
    from chemscale.tasks.potential import InteratomicPotential

    record = RunRecord.load(run)
    if record.family == "chemgpt":
        raise ValueError(f"{run} is a {record.family}: evaluate is for potentials so far.")
    if part not in PARTS:
        raise ValueError(f"--part {part}: choose one of {', '.join(PARTS)}.")
    store = open_or_prepare_structures(record.config["data"], Path(record.config["structures"]))
    if store.hash != record.data_hash:
        raise ValueError(f"{store.path} is not what {run} was trained on: the hashes differ.")
    chosen = np.asarray(store.part(part)[:frames])
    if not len(chosen):
        raise ValueError(f"{store.path}: its {part} part is empty.")
    potential = load_potential(run / "model")
    loss = EnergyForceLoss(**record.config["loss"])
    module = InteratomicPotential(potential, loss, AdamW(1e-3), Schedule(), 1).eval()
    edges = EdgeCache(store, part, potential.cutoff).open(len(chosen))
    batches = ValidationFrames(store, chosen, edges, BatchBudget(frames=batch))
    sums: dict[str, float] = {}
    started = shown = time.monotonic()
    for index in range(len(batches)):
        for key, value in module.validation_step(batches[index], index).items():
            sums[key] = sums.get(key, 0.0) + float(value)
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            left = (shown - started) * (len(batches) - index - 1) / (index + 1)
            log.info("%d of %d batches, %.0f s left …", index + 1, len(batches), left)
    values = module.validation_metrics(sums)
    values.pop("objective")
    write_json(run / f"evaluation-{part}.json", {"frames": len(chosen), "values": values})
    return values


def main() -> None:
    run_verb(app)


if __name__ == "__main__":
    main()
