"""Putting a compiled step into a task when training starts: which kind of task is compiled by what.

What compiles is imported where a run compiles: torch's compiler, and the library of graphs of potentials,
take seconds to load.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch

from chemscale.molecules.data_module import MoleculeDataModule
from chemscale.tasks.language_model import LanguageModel
from chemscale.training.compilation.adoption import adopt
from chemscale.training.compilation.comparison import Difference
from chemscale.training.distributed.control import Control
from chemscale.training.trained_point import TrainedPoint

BACKEND = "CHEMSCALE_COMPILE_BACKEND"
"""Environment variable that names the backend of ``torch.compile`` for tests.

``trace`` takes the trace as it stands, ``aot_eager`` torch's own operations with compiled derivatives;
without it inductor makes code.
"""

REPLAYED = 256
"""Largest width whose steps a GPU replays as one CUDA graph: its kernels are shorter than their launches."""

Step = Callable[[Any], Any]
"""What a task's model makes of a training batch."""


class CompileAtStart(pl.Callback):
    """Sets ``compiled`` of the task before the first batch, once its model stands on its device.

    Code is made from the sizes of the first batch of the whole run, wherever this session begins: a run that
    is resumed computes as one that was not interrupted, to the bit. Neither the clock of the throughput nor
    the watchdog runs yet, and no generator of random numbers is moved.

    Args:
        point: what is trained.
        control: how the ranks of the point agree.
    """

    def __init__(self, point: TrainedPoint, control: Control):
        self.point, self.control = point, control

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        task: Any = module
        make = maker(task, self.point, self.control)
        devices = [task.device] if task.device.type == "cuda" else []
        with trainer.precision_plugin.forward_context(), torch.random.fork_rng(devices=devices):
            task.compiled = adopt(make, self.point.precision, self.control)


def maker(task: Any, point: TrainedPoint, control: Control) -> Callable[[], tuple[Step, Difference]]:
    """What compiles the steps of a task, and compares them with its model on one batch.

    Args:
        task: a ``tasks.base.Task``.
        point: what is trained.
        control: how the ranks of the point agree.
    """
    backend = os.environ.get(BACKEND, "inductor")
    if isinstance(task, LanguageModel):
        from chemscale.training.compilation.language import compile_language_model

        example = point.data.training_batches(0, control.ranks.world)[0]
        longest, replayed = point.data.longest, may_replay(task, point)
        return lambda: compile_language_model(
            task, example.to(task.device), longest, backend, cuda_graph=replayed
        )
    from chemscale.tasks.potential import InteratomicPotential
    from chemscale.training.compilation.potentials import compile_potential

    if isinstance(task, InteratomicPotential):
        example = point.data.training_batches(0, control.ranks.world)[0]
        return lambda: compile_potential(task, example.to(task.device), backend)
    raise TypeError(f"{type(task).__name__} has no compiled step.")


def fill_batches(point: TrainedPoint) -> None:
    """Have training batches of one length where a language model is compiled for it, and only there.

    Args:
        point: what is trained; its loaders are not made yet.
    """
    if isinstance(point.data, MoleculeDataModule):
        point.data.filled = point.compilation.on


def may_replay(task: LanguageModel, point: TrainedPoint) -> bool:
    """Whether the steps of a model can be one CUDA graph, and are short enough to gain by it.

    Gradients lie in the graph's memory, and are gone when the next micro-batch begins: with one a step, on
    one rank, nothing asks for them then. Half precision has the attention that needs nothing of the host.
    """
    return (
        task.device.type == "cuda"
        and task.model.config.width <= REPLAYED
        and point.strategy == "single"
        and point.precision == "bf16-mixed"
        and point.settings.micro_batching.accumulate == 1
    )
