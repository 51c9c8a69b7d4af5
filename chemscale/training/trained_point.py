"""What training needs of a point; ``points.base.Point`` is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from chemscale.training.budget import Epoch
from chemscale.training.checkpointing.trunks import Trunk
from chemscale.training.compilation.decision import Compilation
from chemscale.training.health import HealthPolicy
from chemscale.training.settings import Cadence, RunSettings


class TrainedPoint(Protocol):
    """One training run, decided before anything is spent."""

    @property
    def config(self) -> dict[str, Any]:
        """Resolved, as trackers are given it."""

    @property
    def directory(self) -> Path: ...
    @property
    def identity(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def data(self) -> Any:
        """A Lightning data module with `skipped`, the data skipped after roll-backs."""

    @property
    def cadence(self) -> Cadence: ...
    @property
    def steps(self) -> int: ...
    @property
    def epoch(self) -> Epoch: ...
    @property
    def precision(self) -> str: ...
    @property
    def health(self) -> HealthPolicy: ...
    @property
    def settings(self) -> RunSettings: ...
    @property
    def strategy(self) -> str:
        """Resolved: never auto."""

    @property
    def compilation(self) -> Compilation: ...
    @property
    def trunk(self) -> Trunk | None: ...
    @property
    def pause_at(self) -> int | None: ...
    @property
    def unit(self) -> str:
        """What rates are given in."""

    def batch_flops(self, batch: Any) -> float:
        """Training FLOPs of a micro-batch."""

    def build_module(self) -> Any:
        """The Lightning module with fresh weights."""

    def save_model(self, module: Any) -> None:
        """Write the trained model."""

    def write_generation(self, module: Any, folder: Path, step: int) -> dict[str, Any]:
        """Write a model of the weights as they are, for a process that judges what it generates.

        Returns:
            The fields of a ``molecules.metrics.background.Task``, and the hash of the ``weights``.
        """
