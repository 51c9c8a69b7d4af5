"""The weights of any checkpoint as one folder: ``python -m chemscale.export RUN --to FOLDER``."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chemscale.cli.app import run_verb

if TYPE_CHECKING:
    from chemscale.points.base import Point
    from chemscale.records import RunRecord

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class ExportError(ValueError):
    """Nothing to export, or no place for it."""


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A point, finished or not: its directory, or RUNS/SWEEP/NAME.")],
    to: Annotated[Path, typer.Option(help="Folder to write (not overwritten).")],
    step: Annotated[
        int | None, typer.Option(help="Of a checkpoint that is still there; else the newest whole one.")
    ] = None,
) -> None:
    """Write the weights of a checkpoint as a model: a Hugging Face folder, or a potential's safetensors.

    Works for checkpoints of every strategy, ranks and all, in one process without a GPU. A checkpoint
    that would run code is refused.

    Examples:

      python -m chemscale.export runs/chemgpt_sizes/chemgpt-w64-l8 --to model

      python -m chemscale.export runs/single/chemgpt-w64-l8 --step 4000 --to model-4000
    """
    from chemscale.records import RunRecord, find_run
    from chemscale.training.checkpointing.checkpoints import Checkpoints
    from chemscale.training.checkpointing.gathering import load_weights

    if to.exists():
        raise ExportError(f"{to} exists: choose another --to or remove it.")
    run = find_run(run)
    record = RunRecord.load(run)
    checkpoints = Checkpoints(run / "checkpoints")
    found = checkpoints.newest(at_most=step)
    if found is None or (step is not None and checkpoints.step_of(found) != step):
        there = ", ".join(str(known) for known in checkpoints.steps()) or "none"
        wanted = "a whole checkpoint" if step is None else f"a whole checkpoint of step {step}"
        raise ExportError(f"{run} does not have {wanted}; steps there: {there}.")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".export-") as folder:
        point = replace(point_of(record), identity=record.identity, directory=Path(folder))
        module = point.build_module()
        load_weights(module, found)
        point.save_model(module)
        point.model_folder.rename(to)
    typer.echo(f"Step {checkpoints.step_of(found)} of {record.name} written to {to}")


def point_of(record: RunRecord) -> Point:
    """The point of a record as one process on a CPU sees it; its prepared data must be there."""
    from omegaconf import OmegaConf

    from chemscale.points.build import read_point

    config = OmegaConf.create(record.config)
    here = {
        "precision": "32",
        "trainer": {"accelerator": "cpu", "precision": "32"},
        "strategy": {"name": "single", "offload": "none", "elastic": False, "hang_minutes": 30},
        "launcher": {"name": "local", "nodes": 1, "gpus_per_node": 1},
        "batch": {"per_gpu": None},
    }
    return read_point(OmegaConf.merge(config, here), recorded=True)  # type: ignore[arg-type]


def main() -> None:
    run_verb(app)


if __name__ == "__main__":
    main()
