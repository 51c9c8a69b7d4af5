"""The trained model that a point begins from (``model.from``): found, opened and known by its weights."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import nn

from chemscale.common.sections import ConfigurationError
from chemscale.models.adaptation.groups import Groups
from chemscale.records import RECORD_NAME, RunRecord, find_run


@dataclass(frozen=True)
class Parent(ABC):
    """A trained model, without its weights in memory; a subclass for each kind of model.

    Args:
        folder: of its model.
        name: of its run, or of the folder.
        record: of its run; None where only the folder is there.
        weights_sha256: of the names, shapes and numbers of its weights, however they lie in files.
    """

    files: ClassVar[tuple[str, ...]]
    """Of its folder: what is opened again when one of them changes."""

    folder: Path
    name: str
    record: RunRecord | None
    weights_sha256: str

    @property
    def identity(self) -> str | None:
        """Identity of its run; None where only the folder is there."""
        return self.record.identity if self.record else None

    @property
    @abstractmethod
    def shape(self) -> dict[str, Any]:
        """Keys of the section ``model`` that it decides, with their values."""

    @property
    @abstractmethod
    def groups(self) -> Groups:
        """Its parameters by name."""

    @classmethod
    @abstractmethod
    def refuse_family(cls, run: Path, family: str) -> None:
        """Refuse the model of another kind.

        Args:
            run: whose it is.
            family: its architecture.

        Raises:
            ValueError: it is of another kind.
        """

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, record: RunRecord | None) -> Self:
        """Open the model of a folder.

        Args:
            folder: of its files.
            record: of its run, if it has one.

        Raises:
            ValueError: it is none.
        """

    @abstractmethod
    def load(self) -> nn.Module:
        """The model with its weights, on the CPU, in training.

        Raises:
            ConfigurationError: other weights lie there by now.
        """

    def refuse_others(self, found: str) -> None:
        """Refuse weights that are not those that the run was planned with.

        Args:
            found: hash of what lies there now.

        Raises:
            ConfigurationError: they are others.
        """
        if found != self.weights_sha256:
            raise ConfigurationError(
                f"{self.folder}: other weights lie there than when this run was planned. Put them back, or "
                "start the command again, which makes another run of it."
            )


P = TypeVar("P", bound=Parent)
_opened: dict[tuple[Any, ...], Parent] = {}


def open_parent(path: str, kind: type[P]) -> P:
    """The trained model of a run or folder.

    Args:
        path: directory of a finished run, RUNS/SWEEP/NAME, or the folder of a model.
        kind: of model.

    Raises:
        ConfigurationError: there is no such model that is trained; the message says what is there.
    """
    try:
        run = find_run(Path(path).expanduser())
        if not run.exists():
            raise ValueError(f"{run}: no such run or folder.")
        folder = run / "model" if (run / "model").is_dir() else run
        record = _record_of(folder)
        if record is not None:
            kind.refuse_family(run, record.family)
        if folder == run and (run / RECORD_NAME).exists():
            raise ValueError(f"{run} is not done, so it has no model yet; its own command continues it.")
        files = [folder / name for name in kind.files]
        stamps = tuple((f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.is_file())
        key = (kind, folder.resolve(), stamps)
        if key not in _opened:  # planning a sweep asks for the same one again and again
            with torch.random.fork_rng(devices=[]):
                _opened[key] = kind.read(folder.resolve(), record)
        return _opened[key]  # type: ignore[return-value]
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"model.from={path}: config.json there is damaged ({error}).") from None
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"model.from={path}: {error}") from None


def _record_of(folder: Path) -> RunRecord | None:
    """The record of the run whose model a folder is."""
    beside = folder.parent / RECORD_NAME
    return RunRecord.load(beside) if folder.name == "model" and beside.is_file() else None


def weights_sha256(model: nn.Module, about: str = "") -> str:
    """Hash of the weights: the same for every file and folder that holds them.

    Args:
        model: with its weights, on the CPU.
        about: what its tensors do not say and decides what it computes.
    """
    found = hashlib.sha256(about.encode())
    for name, tensor in sorted(model.state_dict().items()):
        kept = tensor.detach()
        numbers = (kept if kept.dtype == torch.float64 else kept.float()).contiguous().numpy()
        found.update(f"{name} {tuple(tensor.shape)}\n".encode())
        found.update(memoryview(numbers.reshape(-1)).cast("B"))
    return found.hexdigest()
