"""The weights of a checkpoint of any strategy, written as a model by one process without a GPU."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf

from chemscale.points.base import Point
from chemscale.points.build import read_point
from chemscale.records import RunRecord, find_run
from chemscale.training.checkpointing.checkpoints import Checkpoints
from chemscale.training.checkpointing.gathering import load_weights


class ExportError(ValueError):
    """Nothing to export, or no place for it."""


def export_model(run: Path, to: Path, step: int | None = None) -> tuple[RunRecord, int]:
    """Write the weights of a checkpoint as a Hugging Face folder, or as a potential's safetensors.

    Args:
        run: a point, finished or not: its directory, or RUNS/SWEEP/NAME.
        to: folder to write; it must not exist.
        step: of a checkpoint that is still there; the newest whole one where None.

    Returns:
        The record of the run, and the step of the checkpoint.

    Raises:
        ExportError: `to` exists, or there is no such checkpoint.
        RecordError: there is no record.
    """
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
        point = replace(read_recorded(record), identity=record.identity, directory=Path(folder))
        module = point.build_module()
        load_weights(module, found)
        point.save_model(module)
        point.model_folder.rename(to)
    return record, checkpoints.step_of(found)


def read_recorded(record: RunRecord) -> Point:
    """The point of a record as one process on a CPU sees it; its prepared data must be there.

    Args:
        record: of a run under any strategy, on any number of ranks.
    """
    config = OmegaConf.create(record.config)
    here = {
        "precision": "32",
        "trainer": {"accelerator": "cpu", "precision": "32"},
        "strategy": {"name": "single", "offload": "none", "elastic": False, "hang_minutes": 30},
        "launcher": {"name": "local", "nodes": 1, "gpus_per_node": 1},
        "batch": {"per_gpu": None},
    }
    return read_point(OmegaConf.merge(config, here), recorded=True)  # type: ignore[arg-type]
