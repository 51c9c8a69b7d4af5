"""Sections of the configuration that say what a potential learns from, and in which batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from chemscale.common.sections import ConfigurationError, Count, Index, Range

if TYPE_CHECKING:
    from chemscale.structures.batches import BatchBudget

Share = Annotated[int, Range(0, 1, below=True)] | Annotated[float, Range(0, 1, below=True)]
"""Of the frames or molecules, all of them left out."""


@dataclass(frozen=True)
class StructureData:
    """The section ``data`` of a potential (``conf/data/frames.yaml`` says what each key means).

    Values that are hashed into the store's key keep the type that was written: 0 is not 0.0 there.

    Raises:
        ConfigurationError: files are to be read and none is named.
    """

    source: str
    count: Count = 2000
    path: str | None = None
    format: str | None = None
    level: str | None = None
    split: Annotated[int, Range(1, 5)] | None = None
    units: dict[str, Any] | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    frames: Count | None = None
    validation_frames: Count | None = 500
    references: str | dict[str, Any] = "fit"
    workers: Index = 0
    prepare_workers: Count | None = None
    verify: bool = False
    split_by: Literal["frame", "molecule"] = "frame"
    validation_fraction: Share = 0.1
    test_fraction: Share = 0.0
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.source == "structures" and not self.path:
            raise ConfigurationError("data.path is missing: name a file, a folder or a pattern of frames.")

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
    """

    frames: Count | None = None
    atoms: Count | None = None
    edges: Count | None = None
    accumulate: Count = 1
    per_gpu: Count | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        _ = self.budget

    @property
    def budget(self) -> BatchBudget:
        """The limits alone."""
        from chemscale.structures.batches import BatchBudget  # torch, which `prepare` does without

        return BatchBudget(self.frames, self.atoms, self.edges)
