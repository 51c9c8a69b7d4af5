"""The points of a sweep as they were planned: what is known of each before anything is spent on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from chemscale.common.files import write_json
from chemscale.objects.seals import publish_report

PLANNED_NAME = "planned.json"
"""In a sweep's folder: its points as the newest command planned them, for whoever watches."""


@dataclass(frozen=True)
class PointPlan:
    """What is known of a point before anything is spent on it; tables and launchers read it."""

    identity: str
    directory: Path
    name: str
    parameters: int
    amount: float
    """Data to be seen, in the unit of its axis: tokens or frames."""
    flops: float
    seconds: float
    """Estimated on this hardware."""
    memory_gib: float
    """Estimated peak of weights, optimizer state and activations."""
    steps: int = 0
    """Optimizer steps of the whole run."""
    order: int = 0
    """Points of a lower number run first: what they leave, later ones begin from."""


def keep_plan(plans: Sequence[PointPlan]) -> None:
    """Write the list of a sweep's points into its folder: a point leaves a record only when it begins.

    Args:
        plans: of one sweep or of several.
    """
    folders: dict[Path, list[PointPlan]] = {}
    for plan in plans:
        folders.setdefault(plan.directory.parent, []).append(plan)
    for folder, members in folders.items():
        points = [asdict(plan) | {"directory": str(plan.directory)} for plan in members]
        write_json(folder / PLANNED_NAME, {"schema_version": 1, "points": points})
        publish_report(folder, (PLANNED_NAME,))
