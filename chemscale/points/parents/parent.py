"""The trained model that a point begins from (``model.from``): found, opened and known by its weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from chemscale.common.sections import ConfigurationError
from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.loading import load_trained
from chemscale.molecules.tokenizers.opening import AnyTokenizer
from chemscale.records import RECORD_NAME, RunRecord, find_run


@dataclass(frozen=True)
class Parent:
    """A trained ChemGPT, without its weights in memory.

    Args:
        folder: of its model and tokenizer.
        config: its shape.
        tokenizer: that it was trained with.
        name: of its run, or of the folder.
        identity: of its run; None where only the folder is there.
        weights_sha256: of the names, shapes and numbers of its weights, however they lie in files.
    """

    folder: Path
    config: ChemGPTConfig
    tokenizer: AnyTokenizer
    name: str
    identity: str | None
    weights_sha256: str

    def load(self) -> ChemGPT:
        """The model with its weights, on the CPU.

        Raises:
            ConfigurationError: other weights lie there by now.
        """
        model = load_trained(self.folder, "cpu")[0]
        if weights_sha256(model) != self.weights_sha256:
            raise ConfigurationError(
                f"{self.folder}: other weights lie there than when this run was planned. Put them back, or "
                "start the command again, which makes another run of it."
            )
        return model.train()


def open_parent(path: str) -> Parent:
    """The trained model of a run or folder.

    Args:
        path: directory of a finished run, RUNS/SWEEP/NAME, or the folder of a model.

    Raises:
        ConfigurationError: there is no ChemGPT that is trained; the message says what is there.
    """
    try:
        run = find_run(Path(path).expanduser())
        if not run.exists():
            raise ValueError(f"{run}: no such run or folder.")
        folder = run / "model" if (run / "model").is_dir() else run
        record = _record_of(folder)
        if record is not None and record.family != "chemgpt":
            raise ValueError(f"{run} is a {record.family}; only ChemGPTs can be trained further so far.")
        if folder == run and (run / RECORD_NAME).exists():
            raise ValueError(f"{run} is not done, so it has no model yet; its own command continues it.")
        files = [folder / name for name in ("model.safetensors", "config.json", "tokenizer.json")]
        stamps = tuple((f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.is_file())
        return _open(folder.resolve(), stamps)
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"model.from={path}: config.json there is damaged ({error}).") from None
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"model.from={path}: {error}") from None


@lru_cache(maxsize=16)
def _open(folder: Path, stamps: tuple[tuple[int, int], ...]) -> Parent:
    """The parent in a folder whose files have these times and sizes."""
    with torch.random.fork_rng(devices=[]):
        model, tokenizer = load_trained(folder, "cpu")
    record = _record_of(folder)
    return Parent(
        folder=folder,
        config=model.config,
        tokenizer=tokenizer,
        name=record.name if record else folder.name,
        identity=record.identity if record else None,
        weights_sha256=weights_sha256(model),
    )


def _record_of(folder: Path) -> RunRecord | None:
    """The record of the run whose model a folder is."""
    beside = folder.parent / RECORD_NAME
    return RunRecord.load(beside) if folder.name == "model" and beside.is_file() else None


def weights_sha256(model: ChemGPT) -> str:
    """Hash of the weights: the same for every file and folder that holds them.

    Args:
        model: with its weights, on the CPU.
    """
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        numbers = tensor.detach().float().contiguous().numpy()
        found.update(f"{name} {tuple(tensor.shape)}\n".encode())
        found.update(memoryview(numbers).cast("B"))
    return found.hexdigest()
