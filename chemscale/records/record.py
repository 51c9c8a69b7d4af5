"""The record of a run: the one contract between training and everything that reads runs.

A point's directory holds ``record.json`` (this module), ``metrics.jsonl`` (the curve, one JSON object a
line) and its checkpoints. The record is written atomically and is valid at every moment of the run, so
that a killed run still shows how far it came. Nothing here imports torch: fits and dashboards read
records on machines that never train.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from chemscale.common.files import open_regular, read_regular, write_json

SCHEMA_VERSION = 1
RECORD_NAME = "record.json"
MORE = ("without_effect", "parent", "generation", "mirror")
"""Keys of the file that are there only where they say something."""


DIVERGED_ERROR = "DivergedError"
"""How the reason of a run begins that its own guard ended: the name of the error."""


class RecordError(ValueError):
    """A record that cannot be read: the message names the file and what is wrong with it."""


class State(StrEnum):
    """Where a point stands. ``preempted``, ``running`` and ``paused`` are continued by the same command."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    PREEMPTED = "preempted"
    PAUSED = "paused"
    """Saved at a share of its steps, for a sweep to decide on."""
    STOPPED = "stopped"
    """Paused, and a sweep decided not to finish it; ``reason`` has why."""


@dataclass
class Parameters:
    """Parameter counts under every convention in use (Porian et al. 2024 show that it decides exponents)."""

    all: int
    """Every trainable number, tied embeddings counted once."""
    non_embedding: int
    """All less token and position tables."""
    blocks: int
    """The layers between embedding and readout only, biases and norms included."""
    matrices: int
    """ChemGPT: 12·L·d², the paper's N (Frey et al. 2023, model names 4.7M, 19M, 1.2B). Potentials: every
    weight with two or more dimensions, element tables left out."""
    capacity: int = 0
    """Potentials: layers × width, the paper's measure of their size; 0 for language models."""


HEADLINES = (
    ("nats_per_token", 4, ""),
    ("forces_mae", 1, " meV/Å"),
    ("energy_mae_per_atom", 2, " meV/atom"),
)
"""Metrics, the most telling first: key, digits, unit."""

GENERATED = "generation/"
"""Before the name of a metric of generated molecules, where losses are named."""

SEEN = ("tokens", "molecules", "heavy_atoms", "frames", "atoms", "edges")
"""Units of data, each a field of ``DataSeen``: language models count the first three, potentials the rest."""


@dataclass
class DataSeen:
    """What the optimizer has been shown so far; padding is never counted."""

    steps: int = 0
    tokens: int = 0
    molecules: int = 0
    heavy_atoms: int = 0
    frames: int = 0
    atoms: int = 0
    edges: int = 0
    epochs: float = 0.0
    unique_tokens: int = 0
    """Tokens of the training subset itself: D of a data-scaling law, where ``tokens`` counts repeats."""
    unique_molecules: int = 0
    unique_frames: int = 0
    unique_atoms: int = 0


@dataclass
class Loss:
    """One validation result.

    Language: nats per token, per molecule and per heavy atom. Potentials: the training objective, MAE and
    RMSE of energies in meV and meV/atom, of force components in meV/Å and of stress components in meV/Å³.
    """

    step: int
    values: dict[str, float]

    @property
    def objective(self) -> float:
        """What the best of several validations is chosen by; NaN where there is no loss."""
        return self.values.get("nats_per_token", self.values.get("objective", math.nan))

    @property
    def is_finite(self) -> bool:
        """Whether there is a number to compare, and no other unit lacks one: a run that diverged does."""
        return math.isfinite(self.objective) and all(math.isfinite(value) for value in self.values.values())

    @property
    def headline(self) -> str:
        """The one or two numbers that a person watches."""
        found = [
            f"{self.values[key]:.{digits}f}{unit}" for key, digits, unit in HEADLINES if key in self.values
        ]
        return ", ".join(found[:2]) or f"{self.objective:.4g}"


@dataclass
class Compute:
    """FLOPs as counted (matrix products, attention and head), never 6ND by assumption; 6ND stands beside."""

    flops: float = 0.0
    flops_6nd: float = 0.0
    inherited_flops: float = 0.0
    """Of `flops`, what was not spent here: the run began from the stable phase of a shorter one."""
    seconds: float = 0.0
    """Wall-clock seconds of training, validation and checkpoints left out, summed over attempts."""
    device_seconds: float = 0.0
    device: str = ""
    joules: float | None = None
    """Energy of the devices over `seconds`; None where any part of it could not be read."""
    joules_of: str = ""
    """What was counted."""


@dataclass
class RunRecord:
    """Everything a law, a table or a dashboard needs to know of one run."""

    identity: str
    sweep: str
    family: str
    name: str
    config: dict[str, Any]
    versions: dict[str, str]
    git_revision: str | None
    data_hash: str
    seed: int
    parameters: Parameters
    overrides: list[str] = field(default_factory=list)
    state: State = State.PLANNED
    reason: str = ""
    attempts: int = 0
    skipped_steps: int = 0
    """Steps that were left out because their gradient was not finite."""
    roll_backs: list[dict[str, Any]] = field(default_factory=list)
    """Steps ``from`` which and ``to`` which the run went back, and the ``reason``."""
    planned_steps: int = 0
    data: DataSeen = field(default_factory=DataSeen)
    compute: Compute = field(default_factory=Compute)
    final: Loss | None = None
    best: Loss | None = None
    truth: dict[str, float] = field(default_factory=dict)
    """The throughput line: tokens/s, molecules/s, padding and data-wait shares, MFU if known, peak memory."""
    curve: str = "metrics.jsonl"
    checkpoint: str | None = None
    started: str = ""
    updated: str = ""
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        self.without_effect: dict[str, str] = {}
        """Keys of the configuration that change nothing in this run, with the reason. In the file only where
        there are any: without them it is what version 0.1.0 wrote."""
        self.parent: dict[str, Any] = {}
        """The trained model that the run began from: ``identity``, ``name``, ``weights_sha256``, and what
        of it was trained. In the file only where there is one."""
        self.generation: dict[str, Any] = {}
        """Metrics of generated molecules (``trainer.generate_every``): ``step`` of the weights, ``n``
        molecules drawn, ``values`` by name. In the file only where there are any."""
        self.mirror: dict[str, str] = {}
        """The ``address`` that was to have the run, and the ``problem`` why it has not all of it. In the file
        only where there is one."""

    def save(self, directory: Path) -> None:
        """Write ``record.json`` in `directory` atomically."""
        more = {key: value for key in MORE if (value := getattr(self, key))}
        write_json(Path(directory) / RECORD_NAME, asdict(self) | more)

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Read a record from its file or its directory.

        Args:
            path: of either.

        Raises:
            RecordError: the file is missing, is not JSON, or does not have this schema.
        """
        path = Path(path)
        path = path / RECORD_NAME if path.is_dir() and path.name != RECORD_NAME else path
        try:
            raw = json.loads(read_regular(path))
        except FileNotFoundError:
            raise RecordError(f"{path}: no such record. Give the directory of a run.") from None
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror or error}).") from None
        except UnicodeDecodeError:
            raise RecordError(f"{path}: not a text file. Delete it to rerun the point.") from None
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path}: not valid JSON ({error}). Delete it to rerun the point.") from None
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            raise RecordError(
                f"{path}: schema version {version!r}, but this chemscale reads {SCHEMA_VERSION}. "
                "Use the chemscale version that wrote it."
            )
        try:
            return cls._from_dict(raw)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise RecordError(f"{path}: not a complete run record ({error}).") from None

    @classmethod
    def _from_dict(cls, raw: dict[str, Any]) -> RunRecord:
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(raw) - known - set(MORE))
        if unknown:
            raise ValueError(f"unknown keys {unknown}")
        parts = dict(raw)
        more = {key: parts.pop(key, {}) for key in MORE}
        parts["state"] = State(raw["state"])
        parts["parameters"] = Parameters(**raw["parameters"])
        parts["data"] = DataSeen(**raw["data"])
        parts["compute"] = Compute(**raw["compute"])
        for key in ("final", "best"):
            parts[key] = _loss(raw[key]) if raw.get(key) else None
        record = cls(**parts)
        for key, value in more.items():
            setattr(record, key, value)
        return record

    @property
    def losses(self) -> dict[str, float]:
        """What a law may be fitted to: the final losses, and ``generation/NAME`` of the same weights."""
        if self.final is None:
            return {}
        generated = self.generation if self.generation.get("step") == self.final.step else {}
        values = {f"{GENERATED}{name}": value for name, value in generated.get("values", {}).items()}
        return {**self.final.values, **values}

    def why_left_out(self, unit: str | None = None) -> str:
        """Why a law or an estimate leaves this run out, in the words of tables of runs; empty if it does not.

        What stands in brackets is a detail of this run.

        Args:
            unit: of the loss; None for whatever the run has.
        """
        detail = re.sub(r"[()]", "", self.reason)
        detail = f" ({detail})" if detail else ""
        if self.state is State.FAILED and DIVERGED_ERROR in self.reason:
            return f"diverged{detail}"
        if self.state is not State.DONE:
            return f"state {self.state.value}{detail}"
        if self.final is None:
            return "no number in its last validation"
        if unit and unit not in self.losses:
            return f"no {unit}"
        if unit and unit.startswith(GENERATED) and self.losses[unit] <= 0:
            return f"{unit} is not above 0, and has no logarithm"
        lost = unit if unit and not math.isfinite(self.losses[unit]) else "its last validation"
        return "" if self.final.is_finite else f"diverged (no number in {lost})"

    def describe_skipped(self) -> str:
        """How many steps were left out, in words; empty where none was."""
        if not self.skipped_steps:
            return ""
        steps = max(self.data.steps, self.skipped_steps)
        return f"{self.skipped_steps} of {steps} steps left out for want of a finite gradient"

    def curve_rows(self, directory: Path) -> list[dict[str, Any]]:
        """The metrics of the run, one dictionary a line; a half-written last line is passed over.

        Args:
            directory: of the run.
        """
        path = Path(directory) / self.curve
        rows = []
        if path.is_file():
            with open_regular(path) as file:
                for line in file:
                    try:
                        rows.append(json.loads(line))
                    except ValueError:
                        break
        return rows


def _loss(raw: dict[str, Any]) -> Loss:
    """A validation as it stands in a file, where a number that is not finite is null."""
    values = {key: math.nan if value is None else float(value) for key, value in raw["values"].items()}
    return Loss(raw["step"], values)


def now() -> str:
    """This moment in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
