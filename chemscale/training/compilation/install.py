"""Putting a compiled step into a task: which kind of task is compiled by what."""

from __future__ import annotations

from typing import Any

from chemscale.tasks.potential import InteratomicPotential
from chemscale.training.compilation.potentials import CompiledPotential
from chemscale.training.distributed.control import Control
from chemscale.training.trained_point import TrainedPoint


def install(task: Any, point: TrainedPoint, control: Control) -> None:
    """Let a task's training steps be compiled at its first batch, where that was decided.

    Args:
        task: a ``tasks.base.Task``; its ``compiled`` is set.
        point: what is trained.
        control: how the ranks of the point agree.
    """
    task.compiled = None
    if not point.compilation.on:
        return
    if isinstance(task, InteratomicPotential):
        # The first batch of the whole run, wherever this session begins: code is made from its sizes.
        example = point.data.training_batches(0, control.ranks.world)[0]
        task.compiled = CompiledPotential(task, example, point.precision, control)
