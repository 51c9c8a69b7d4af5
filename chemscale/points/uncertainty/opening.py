"""A trained potential or committee with its uncertainty, opened by the name of its run or sweep."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from chemscale.common.files import write_json
from chemscale.hardware.devices import named_device
from chemscale.models.potential import Potential
from chemscale.models.potentials import PotentialError, load_potential
from chemscale.points.uncertainty.frames import RunFrames
from chemscale.records import RECORD_NAME, RunRecord, find_run
from chemscale.structures.calculator import model_folder
from chemscale.structures.uncertainty.calibration import Calibration, CalibrationError
from chemscale.structures.uncertainty.committee import Committee
from chemscale.structures.uncertainty.features import last_layer_features
from chemscale.structures.uncertainty.last_layer import (
    Factors,
    LastLayer,
    choose_ridge,
    gram_of,
    load_factors,
    save_factors,
)
from chemscale.structures.uncertainty.members import Members, find_members, is_sweep
from chemscale.structures.uncertainty.observed import observe

log = logging.getLogger(__name__)

CALIBRATION_FRAMES = 200
"""Held-out frames that a last layer is calibrated on: forces take a pass a feature."""


@dataclass(frozen=True)
class Uncertain:
    """A model that knows how far it may be off.

    Args:
        model: a committee, or one potential with its last layer; on its device.
        device: where it is.
        record: of the run, or of the first member; None for a model folder by itself.
        source: as it was given.
        freedom: degrees of freedom of its deviations, M - 1 of M members; None for a last layer.
        calibrated: whether its deviations are calibrated on held-out frames.
    """

    model: Committee | LastLayer
    device: torch.device
    record: RunRecord | None
    source: str
    freedom: int | None
    calibrated: bool

    @property
    def potential(self) -> Potential:
        """The potential, of a committee its first member."""
        return self.model.first if isinstance(self.model, Committee) else self.model.potential

    def frames(self) -> RunFrames:
        """The store that it was trained on.

        Raises:
            ValueError: it is not there, or there is no record that says which one it was.
        """
        if self.record is None:
            raise ValueError(
                f"{self.source}: there is no {RECORD_NAME} beside the model, so what it was trained on is "
                "not known. Give the directory of its run."
            )
        return RunFrames.of(self.source, self.record)


def open_uncertain(
    source: str | Path | Sequence[str | Path], *, device: str | None = None, batch: int = 32
) -> Uncertain:
    """Open a committee, or one potential with its last layer; the latter's factors are made at first use.

    Args:
        source: the folder of a sweep of seeds (or RUNS/SWEEP/PATTERN, or a list of runs): a committee; a run
            (or RUNS/SWEEP/NAME): its last layer.
        device: cpu, cuda or cuda:N; the GPU if there is one where None.
        batch: frames at once where factors have to be made.

    Raises:
        CommitteeError: the points of the sweep are no committee.
        PotentialError: no potential is there.
        LastLayerError: the factors beside the model are of other weights.
        ValueError: factors have to be made, and what the run was trained on is not there.
    """
    place = named_device(device)
    if not isinstance(source, str | Path) or is_sweep(Path(source)):
        members = find_members(source)
        known = load_calibration(members)
        energy, forces = factors_from({key: float(value["factor"]) for key, value in known.items()})
        model = members.load(device=place, energy_factor=energy, forces_factor=forces)
        record = members.records[0]
        return Uncertain(model, place, record, members.source, len(members.folders) - 1, bool(known))
    run = find_run(Path(source))
    folder = model_folder(run)
    potential = load_potential(folder).to(place).requires_grad_(False)
    beside = folder.parent / RECORD_NAME
    record = RunRecord.load(beside) if folder.name == "model" and beside.is_file() else None
    factors_of = load_factors(folder, potential)
    if factors_of is None:
        if record is None:
            raise PotentialError(
                f"{folder}: there is no uncertainty.safetensors, which is made from the training frames of a "
                "run, and no record.json beside the model. Give the directory of its run."
            )
        log.info("%s: the features of its training frames are collected once …", run)
        factors_of = fit_last_layer(potential, RunFrames.of(run, record), place, batch=batch)
        save_factors(folder, potential, factors_of)
    model_of = LastLayer(potential, factors_of).to(place).eval()
    calibrated = bool(factors_of.about.get("calibrations"))
    return Uncertain(model_of, place, record, str(source), None, calibrated)


def fit_last_layer(
    potential: Potential,
    frames: RunFrames,
    device: torch.device,
    *,
    held_out: int = CALIBRATION_FRAMES,
    batch: int = 32,
) -> Factors:
    """Collect the features of all training frames, and calibrate on held-out frames.

    The first half of the validation frames decides ς² and α, the other half is counted on.

    Args:
        potential: trained, on `device`.
        frames: of its run.
        device: where it is.
        held_out: validation frames that are looked at, at most.
        batch: frames at once.
    """

    def features_of(part: str, count: int | None, title: str) -> Any:
        for data in frames.batches(part, potential.cutoff, frames=count, size=batch, title=title):
            yield data, last_layer_features(potential, data.clone().to(device))

    gram: torch.Tensor | None = None
    seen = 0
    for data, found in features_of("train", None, "features of training frames"):
        part = gram_of([found.of_structures])
        gram = part if gram is None else gram + part
        seen += data.counts["frames"]
    assert gram is not None
    gram = gram.cpu()
    about: dict[str, Any] = {"frames": seen, "data_hash": frames.store.hash}
    validation = len(frames.part("validation")[:held_out])
    half = -(-validation // 2)
    features, errors = [], []
    for data, found in features_of("validation", half, ""):
        features.append(found.of_structures.cpu())
        errors.append(found.energy.cpu() - data.energy)
    ridge = choose_ridge(gram, torch.cat(features), torch.cat(errors)) if features else 1e-6
    factors = Factors(gram, ridge, about=about)
    model = LastLayer(potential, factors).to(device).eval()
    held = frames.batches(
        "validation", potential.cutoff, frames=held_out, size=batch, title="held-out frames"
    )
    try:
        found = observe(model, held, device).calibrations()
    except CalibrationError as error:
        log.warning("The deviations are not calibrated: %s", error)
        return factors
    about["calibrations"] = {key: value.as_dict() for key, value in found.items()}
    energy, forces = factors_from({key: value.factor for key, value in found.items()})
    return replace(factors, about=about, energy_factor=energy, forces_factor=forces)


def factors_from(found: Mapping[str, float]) -> tuple[float, float]:
    """Factors of energies and of forces; of what was not calibrated that of the other, 1 where neither was.

    Args:
        found: factors by "energy" and "forces".
    """
    either = next(iter(found.values()), 1.0)
    return found.get("energy", either), found.get("forces", either)


def calibration_file(members: Members) -> Path:
    """Where the calibration of a committee is kept: beside its first run, known by all of them.

    Args:
        members: of the committee.
    """
    key = hashlib.sha256(json.dumps(sorted(members.identities)).encode()).hexdigest()[:12]
    first = members.folders[0]
    root = first.parent.parent if first.name == "model" else first.parent
    return root / f"committee-{key}.json"


def keep_calibration(members: Members, found: dict[str, Calibration], about: dict[str, Any]) -> Path:
    """Write the calibration of a committee.

    Args:
        members: of the committee.
        found: calibrations of "energy" and "forces".
        about: what else is kept.

    Returns:
        The file.
    """
    path = calibration_file(members)
    calibrations = {key: value.as_dict() for key, value in found.items()}
    write_json(path, {"members": list(members.identities), **about, "calibrations": calibrations})
    return path


def load_calibration(members: Members) -> dict[str, Any]:
    """The calibrations of a committee, by "energy" and "forces"; empty where it was not calibrated.

    Args:
        members: of the committee.
    """
    path = calibration_file(members)
    if not path.is_file():
        return {}
    raw = json.loads(path.read_text())
    calibrations: dict[str, Any] = raw["calibrations"]
    return calibrations
