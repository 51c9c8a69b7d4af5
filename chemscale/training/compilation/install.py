"""Putting a compiled step into a task: which kind of task is compiled by what."""

from __future__ import annotations

from typing import Any

from chemscale.tasks.language_model import LanguageModel
from chemscale.tasks.potential import InteratomicPotential
from chemscale.training.compilation.language import CompiledLanguageModel
from chemscale.training.compilation.potentials import CompiledPotential
from chemscale.training.distributed.control import Control
from chemscale.training.trained_point import TrainedPoint

REPLAYED = 256
"""Widths up to this one: above, kernels take longer than their launches (19M parameters have 24 layers of it)."""


def install(task: Any, point: TrainedPoint, control: Control) -> None:
    """Let a task's training steps be compiled at its first batch, where that was decided.

    Args:
        task: a ``tasks.base.Task``; its ``compiled`` is set, and what its batches must be like.
        point: what is trained.
        control: how the ranks of the point agree.
    """
    task.compiled = None
    if isinstance(task, LanguageModel):
        point.data.filled = point.compilation.on
    if not point.compilation.on:
        return
    # The first batch of the whole run, wherever this session begins: code is made from its sizes.
    example = point.data.training_batches(0, control.ranks.world)[0]
    if isinstance(task, InteratomicPotential):
        task.compiled = CompiledPotential(task, example, point.precision, control)
    if isinstance(task, LanguageModel):
        task.compiled = CompiledLanguageModel(
            task, example, point.data.longest, point.precision, control, cuda_graph=may_replay(task, point)
        )


def may_replay(task: LanguageModel, point: TrainedPoint) -> bool:
    """Whether a model is so small that a GPU waits for its launches, and its steps can be one CUDA graph.

    Replaying copies the weights, and a gradient lies in the memory of the graph: it is gone when the next
    micro-batch begins, and no other rank can be sent it meanwhile.
    """
    return (
        task.model.config.width <= REPLAYED
        and point.strategy == "single"
        and point.precision == "bf16-mixed"
        and point.settings.micro_batching.accumulate == 1
    )
