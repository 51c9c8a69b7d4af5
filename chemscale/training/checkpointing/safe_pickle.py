"""Before a sharded checkpoint is unpickled: what it names is read without running it, and must be known.

DeepSpeed unpickles what it loads, and so does PyTorch with the table and the small values of a distributed
checkpoint. A pickle runs what it names, so names decide: PyTorch's own list of what weights may be made of
(``torch.serialization.get_unsafe_globals_in_checkpoint``, which disassembles and never loads), and the few
classes below. Checkpoints of one file need none of this: they are loaded with ``weights_only=True``.
"""

from __future__ import annotations

import enum
import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import BytesStorageMetadata
from torch.serialization import get_unsafe_globals_in_checkpoint

from chemscale.training.checkpointing.checkpoints import CheckpointError

TRUST = "CHEMSCALE_TRUST_CHECKPOINTS"
TABLE = ".metadata"
OF_DEEPSPEED = {
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
}
"""Classes of plain numbers that DeepSpeed 0.19 saves."""
OF_A_TABLE = {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    *((module, name) for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "PurePosixPath")),
}
DESCRIPTIONS = "torch.distributed.checkpoint.metadata"


class UntrustedCheckpoint(CheckpointError, ValueError):
    """A checkpoint that names what no checkpoint of chemscale names."""


def check_pickles(checkpoint: Path) -> None:
    """See that everything in a checkpoint that would be unpickled names data only; weights are not read.

    Args:
        checkpoint: a folder of ``Checkpoints`` that ZeRO or FSDP2 wrote.

    Raises:
        UntrustedCheckpoint: it names anything else, or is not of PyTorch's format. Nothing was run.
    """
    if os.environ.get(TRUST) == "1":
        return
    for path in _files(checkpoint):
        if path.name == TABLE:
            for value in _small_values(path):
                _check(value, path, set())
        elif path.suffix != ".distcp" and _may_hold_a_pickle(path):
            _check(path, path, OF_DEEPSPEED)


def _check(where: Path | io.BytesIO, path: Path, known: set[str]) -> None:
    try:
        names = set(get_unsafe_globals_in_checkpoint(where)) - known
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise _refused(path, f"is not as PyTorch writes it ({error})") from None
    if names:
        raise _refused(path, f"would run {', '.join(sorted(names))}")


def _small_values(table: Path) -> Iterator[io.BytesIO]:
    """What a distributed checkpoint keeps pickled beside its tensors, such as learning rates.

    The table itself is a pickle too; reading it here makes known descriptions and nothing else.
    """
    try:
        with open(table, "rb") as file:
            content: Any = _Table(file).load()
        for index, stored in content.storage_data.items():
            if not isinstance(content.state_dict_metadata[index.fqn], BytesStorageMetadata):
                continue  # tensors are loaded with weights_only=True
            if getattr(stored, "transform_descriptors", None):
                raise _refused(table, "transforms what it stores")
            with open(table.parent / stored.relative_path, "rb") as file:
                file.seek(stored.offset)
                yield io.BytesIO(file.read(stored.length))
    except UntrustedCheckpoint:
        raise
    except Exception as error:  # whatever a damaged or crafted pickle brings about
        raise _refused(table, f"is not a table of a checkpoint ({type(error).__name__}: {error})") from None


class _Table(pickle.Unpickler):
    """Descriptions of tensors: shapes, types and places.

    A pickle may also set attributes of what it names, and a class changed so would mislead the checks and
    what loads after them: it is given classes that cannot be changed, and functions of its own.
    """

    def find_class(self, module: str, name: str) -> Any:
        if module == DESCRIPTIONS and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == DESCRIPTIONS:
                return _caller(found) if issubclass(found, enum.Enum) else _unchangeable(found)  # type: ignore[arg-type]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if (module, name) in OF_A_TABLE:
            found = super().find_class(module, name)
            return _unchangeable(found) if found is _StorageInfo else _caller(found)
        raise pickle.UnpicklingError(f"it would run {module}.{name}")


class _Unchangeable(type):
    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"it would change {cls.__name__}.{name}")


@cache
def _unchangeable(described: type) -> type:
    return _Unchangeable(described.__name__, (described,), {})


@cache
def _caller(of: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: of(*arguments)


def _may_hold_a_pickle(path: Path) -> bool:
    """Every file that a loader could open; the layout is JSON and DeepSpeed's file of versions plain text."""
    return path.suffix in (".pt", ".pth", ".bin", ".pkl", ".ckpt") or zipfile.is_zipfile(path)


def _files(checkpoint: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(checkpoint, followlinks=True):
        yield from (Path(folder) / name for name in sorted(names))


def _refused(path: Path, why: str) -> UntrustedCheckpoint:
    return UntrustedCheckpoint(
        f"{path} {why}. chemscale writes no such checkpoint: it was not loaded, and should not be unless you "
        f"know where it comes from. If it is your own, {TRUST}=1 loads it as it is."
    )
