"""Calibration of a committee or a last layer on held-out frames of the store that it was trained on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import write_json
from chemscale.points.uncertainty.opening import (
    Uncertain,
    factors_from,
    keep_calibration,
    open_uncertain,
)
from chemscale.structures.calculator import model_folder
from chemscale.structures.uncertainty.calibration import Calibration
from chemscale.structures.uncertainty.committee import Committee
from chemscale.structures.uncertainty.last_layer import LastLayer, save_factors
from chemscale.structures.uncertainty.members import find_members
from chemscale.structures.uncertainty.observed import Observed, observe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UncertaintyReport:
    """What a calibration found.

    Args:
        calibrations: of "energy" and "forces".
        fitted: what the factors were fitted to, in words.
        tested: what the fractions are of, in words.
        path: the file that it is kept in.
    """

    calibrations: dict[str, Calibration]
    fitted: str
    tested: str
    path: Path

    def lines(self) -> list[str]:
        """What a person is told."""
        titles = {"energy": "energy", "forces": "force component"}
        told = [found.describe(titles[key]) for key, found in self.calibrations.items()]
        return [f"Fitted to {self.fitted}, counted on {self.tested}.", *told, f"Kept in {self.path}"]


def evaluate_uncertainty(
    source: str | Path, *, frames: int | None = 200, batch: int = 32, device: str | None = None
) -> UncertaintyReport:
    """Calibrate a committee or a last layer, and keep the factors for all that opens it later.

    Factors are fitted to validation frames and counted on test frames; without a test part the validation
    frames are halved.

    Args:
        source: a sweep of seeds or one run, as ``open_uncertain``.
        frames: of each part, at most; all where None.
        batch: frames at once.
        device: cpu, cuda or cuda:N; the GPU if there is one where None.

    Raises:
        ValueError: as ``open_uncertain``; or no held-out frame has labels.
    """
    opened = open_uncertain(source, device=device, batch=batch)
    opened.model.energy_factor = opened.model.forces_factor = 1.0
    held = opened.frames()
    parts = [part for part in ("validation", "test") if len(held.part(part))]
    found, counts = Observed(), []
    for part in parts:
        batches = held.batches(part, opened.model.cutoff, frames=frames, size=batch, title=f"{part} frames")
        more = observe(opened.model, batches, opened.device)
        found.energy += more.energy
        found.forces += more.forces
        counts.append(len(more))
    if len(parts) == 2:
        fitted = np.arange(len(found)) < counts[0]
        told = f"{counts[0]:,} validation frames", f"{counts[1]:,} test frames"
    else:
        fitted = np.arange(len(found)) < -(-len(found) // 2)
        here = int(fitted.sum())
        told = f"{here:,} validation frames", f"the other {len(found) - here:,}"
    calibrations = found.calibrations(fitted, opened.freedom)
    return UncertaintyReport(calibrations, *told, path=_keep(opened, source, calibrations, told))


def _keep(
    opened: Uncertain, source: str | Path, found: dict[str, Calibration], told: tuple[str, str]
) -> Path:
    """Write the factors where they are read from, and for a run also a file for people."""
    about: dict[str, Any] = {"fitted": told[0], "tested": told[1]}
    if isinstance(opened.model, Committee):
        return keep_calibration(find_members(source), found, about)
    assert isinstance(opened.model, LastLayer)
    calibrations = {key: value.as_dict() for key, value in found.items()}
    factors = opened.model.factors
    energy, forces = factors_from({key: value.factor for key, value in found.items()})
    kept = replace(
        factors,
        about={**factors.about, **about, "calibrations": calibrations},
        energy_factor=energy,
        forces_factor=forces,
    )
    folder = model_folder(Path(source))
    save_factors(folder, opened.potential, kept)
    path = folder.parent / "uncertainty.json"
    write_json(path, {**about, "ridge": kept.ridge, "calibrations": calibrations})
    return path
