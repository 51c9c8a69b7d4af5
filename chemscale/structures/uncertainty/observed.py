"""Errors of labelled frames beside the deviations that were stated of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch_geometric.data import Data

from chemscale.structures.uncertainty.calibration import Calibration, CalibrationError, calibrate
from chemscale.structures.uncertainty.prediction import UncertainPrediction


@dataclass
class Observed:
    """Errors and deviations of energies (eV) and force components (eV/Å), frame by frame; NaN if unlabelled.

    Args:
        energy: errors and deviations of each frame.
        forces: likewise of the 3n components of each frame.
    """

    energy: list[tuple[float, float]] = field(default_factory=list)
    forces: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.energy)

    def add(self, energy: tuple[float, float], forces: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        """Note one frame.

        Args:
            energy: predicted less true, and its deviation, in eV.
            forces: likewise (n, 3) in eV/Å; None where there are no deviations of forces.
        """
        self.energy.append(energy)
        if forces is not None:
            self.forces.append((np.ravel(forces[0]), np.ravel(forces[1])))

    def add_batch(self, data: Data, found: UncertainPrediction) -> None:
        """Note the frames of a batch with its labels.

        Args:
            data: on the CPU.
            found: what was predicted for it.
        """
        energies = (found.energy.detach().cpu() - data.energy).tolist()
        assert found.energy_std is not None
        deviations = found.energy_std.cpu().tolist()
        bounds = data.ptr.tolist()
        errors = spread = None
        if found.forces_std is not None and found.forces is not None:
            errors = (found.forces.detach().cpu() - data.forces).numpy()
            spread = found.forces_std.cpu().numpy()
        for n, pair in enumerate(zip(energies, deviations, strict=True)):
            atoms = slice(bounds[n], bounds[n + 1])
            self.add(pair, None if errors is None or spread is None else (errors[atoms], spread[atoms]))

    def calibrations(
        self, fitted: np.ndarray | None = None, freedom: int | None = None
    ) -> dict[str, Calibration]:
        """Calibrations of energies and forces, each where there are labels enough.

        Args:
            fitted: (k,) whether each frame is fitted to, the others are counted on; None for the first half.
            freedom: as ``calibration.fit_factor``.

        Raises:
            CalibrationError: neither has labels in both parts.
        """
        frames = len(self)
        chosen = np.arange(frames) < -(-frames // 2) if fitted is None else np.asarray(fitted, bool)
        found: dict[str, Calibration] = {}
        why: list[str] = []
        for name, (errors, deviations, of_frames) in self.arrays().items():
            if len(errors):
                try:
                    found[name] = calibrate(errors, deviations, chosen[of_frames], freedom)
                except CalibrationError as error:
                    why.append(f"{name}: {error}")
        if not found:
            raise CalibrationError(" ".join(why) or "There is no frame to calibrate on.")
        return found

    def arrays(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Errors, deviations and the frame of each, by "energy" and "forces": (k,) each."""
        energy = np.array(self.energy).reshape(-1, 2)
        found = {"energy": (energy[:, 0], energy[:, 1], np.arange(len(energy)))}
        if self.forces:
            sizes = [len(errors) for errors, _ in self.forces]
            found["forces"] = (
                np.concatenate([errors for errors, _ in self.forces]),
                np.concatenate([deviations for _, deviations in self.forces]),
                np.repeat(np.arange(len(sizes)), sizes),
            )
        return found


def observe(model: Any, batches: Iterable[Data], device: Any, *, forces: bool = True) -> Observed:
    """Predict labelled batches and note errors beside deviations.

    Args:
        model: a ``Committee`` or ``LastLayer``.
        batches: with labels, on the CPU.
        device: where the model is.
        forces: whether forces are compared as well.
    """
    found = Observed()
    for data in batches:
        on_device = data if str(device) == "cpu" else data.clone().to(device)
        found.add_batch(data, model(on_device, forces=forces))
    return found
