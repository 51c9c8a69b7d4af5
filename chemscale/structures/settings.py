"""Sections of the configuration that say what a potential learns from, and in which batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chemscale.common.sections import ConfigurationError, refuse_below_one

if TYPE_CHECKING:
    from chemscale.structures.batches import BatchBudget


@dataclass(frozen=True)
class StructureData:
    """The section ``data`` of a potential (``conf/data/frames.yaml`` says what each key means).

    Values that are hashed into the store's key keep the type that was written: 0 is not 0.0 there.

    Raises:
        ConfigurationError: a number outside its range.
    """

    source: str
    count: int = 2000
    path: str | None = None
    format: str | None = None
    level: str | None = None
    split: int | None = None
    units: dict[str, Any] | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    frames: int | None = None
    validation_frames: int | None = 500
    references: str | dict[str, Any] = "fit"
    workers: int = 0
    prepare_workers: int | None = None
    verify: bool = False
    split_by: str = "frame"
    validation_fraction: int | float = 0.1
    test_fraction: int | float = 0.0
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigurationError(f"data.workers={self.workers}: give 0 or a number above it.")
        refuse_below_one("data", self, "count", "prepare_workers")

    @property
    def reading(self) -> dict[str, Any]:
        """How the files are read, as the store's key holds it."""
        return {
            "format": self.format,
            "level": self.level,
            "split": self.split,
            "units": self.units,
            "energy_key": self.energy_key,
            "forces_key": self.forces_key,
        }


@dataclass(frozen=True)
class FrameBatch:
    """The section ``batch`` of a potential: the most that one optimizer step holds, over all ranks.

    Raises:
        BatchError: no limit at all, or one below 1.
        ConfigurationError: another number that is not above 0.
    """

    frames: int | None = None
    atoms: int | None = None
    edges: int | None = None
    accumulate: int = 1
    per_gpu: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        refuse_below_one("batch", self, "accumulate", "per_gpu")
        _ = self.budget

    @property
    def budget(self) -> BatchBudget:
        """The limits alone."""
        from chemscale.structures.batches import BatchBudget  # torch, which `prepare` does without

        return BatchBudget(self.frames, self.atoms, self.edges)
