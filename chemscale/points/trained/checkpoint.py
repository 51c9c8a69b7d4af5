"""The weights of a checkpoint of any strategy, written as a model by one process without a GPU."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from chemscale.objects.reading import bring_checkpoint
from chemscale.points.trained.rebuild import rebuild
from chemscale.records import RunRecord, find_run
from chemscale.training.checkpointing.checkpoints import Checkpoints
from chemscale.training.checkpointing.gathering import load_weights


class ExportError(ValueError):
    """Nothing to export, or no place for it."""


def export_model(run: Path, to: Path, step: int | None = None) -> tuple[RunRecord, int]:
    """Write the weights of a checkpoint as a Hugging Face folder, or as a potential's safetensors.

    The data are not needed: the run carries what its weights belong to.

    Args:
        run: a point, finished or not: its directory, or RUNS/SWEEP/NAME.
        to: folder to write; it must not exist.
        step: of a checkpoint that is still there; the newest whole one where None.

    Returns:
        The record of the run, and the step of the checkpoint.

    Raises:
        ExportError: `to` exists, there is no such checkpoint, or its weights are not finite.
        DescriptionError: what the weights belong to is not there any more, or is another run's.
        RecordError: there is no record.
    """
    if to.exists():
        raise ExportError(f"{to} exists: choose another --to or remove it.")
    run = find_run(run)
    if step is not None:
        bring_checkpoint(run, step)
    record = RunRecord.load(run)
    checkpoints = Checkpoints(run / "checkpoints")
    found = checkpoints.newest(at_most=step)
    if found is None or (step is not None and checkpoints.step_of(found) != step):
        there = ", ".join(str(known) for known in checkpoints.steps()) or "none"
        wanted = "a whole checkpoint" if step is None else f"a whole checkpoint of step {step}"
        raise ExportError(f"{run} does not have {wanted}; steps there: {there}.")
    model = rebuild(run, record)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".export-") as folder:
        load_weights(model.module, found)
        refuse_without_numbers(model.module, f"{run}, step {checkpoints.step_of(found)}", checkpoints.steps())
        written = Path(folder) / "model"
        written.mkdir()
        model.save(written)
        written.rename(to)
    return record, checkpoints.step_of(found)


def refuse_without_numbers(module: nn.Module, which: str, steps: Sequence[int]) -> None:
    """Refuse weights that are not finite.

    Args:
        module: with the weights.
        which: checkpoint, for the message.
        steps: of the checkpoints that are there.

    Raises:
        ExportError: some are not.
    """
    for name, weight in module.named_parameters():
        if not weight.isfinite().all():
            there = ", ".join(map(str, steps))
            raise ExportError(
                f"{which}: {name} is not finite, the run diverged. Give an earlier --step; steps there: "
                f"{there}."
            )
