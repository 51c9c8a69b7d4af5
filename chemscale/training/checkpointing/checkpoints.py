"""Trainer checkpoints: written whole or not at all, the newest two kept, a damaged one left out loudly."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import torch
from torch.distributed.checkpoint.api import CheckpointException

from chemscale.training.checkpointing.staging import Staging
from chemscale.training.distributed.control import Control
from chemscale.training.distributed.ranks import Ranks

log = logging.getLogger(__name__)

KEEP = 2
_NAME = re.compile(r"step-(\d{9})\.ckpt")
LAYOUT = "layout.json"


class CheckpointError(RuntimeError):
    """A checkpoint that could not be written, or does not fit this run."""


class Checkpoints:
    """A folder of checkpoints: ``step-000000100.ckpt`` and ``step-000000100.sha256`` beside it.

    A checkpoint is a file, or under a strategy that shares the optimizer or the weights a folder with a part
    from each rank. The checksums are in the format of ``sha256sum``.

    Args:
        directory: where they lie.
        keep: how many of the newest stay; None for all.
    """

    def __init__(self, directory: Path, keep: int | None = KEEP):
        self.directory, self.keep = Path(directory), keep
        self._staging = Staging()
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future[Path] | None = None

    def path(self, step: int) -> Path:
        return self.directory / f"step-{step:09d}.ckpt"

    # --- writing ---

    def save(self, trainer: Any, step: int, control: Control | None = None) -> Path:
        """Save through `trainer`, on all ranks together; a kill at any instant leaves the one before usable.

        Args:
            trainer: Lightning's.
            step: optimizer steps done.
            control: how the ranks agree; one rank if not given.

        Raises:
            CheckpointError: on every rank, where one of them could not write.
        """
        control = control or Control(Ranks())
        target = self.path(step)
        partial = target.with_suffix(".part")  # one name: all ranks of a sharded state write into it
        if control.ranks.is_first:
            self.directory.mkdir(parents=True, exist_ok=True)
            _remove(partial)
        control.any(False)  # nobody writes before the place is free
        failure = ""
        try:
            checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            trainer.strategy.save_checkpoint(checkpoint, partial)
        except (OSError, RuntimeError, CheckpointException) as error:
            failure = f"rank {control.ranks.rank}: {_cause(error)}"
        failures: list[Any] = control.gather(failure)
        if not any(failures) and control.ranks.is_first:
            failures = [self._seal(trainer, partial, target, control)]
        failures = cast(list[Any], control.share(failures))
        if any(failures):
            if control.ranks.is_first:
                _remove(partial)
            what = "; ".join(text for text in failures if text)
            raise CheckpointError(f"{target} could not be written ({what}).")
        return target

    def save_in_background(self, trainer: Any, step: int, control: Control) -> None:
        """Copy the state to host memory and go on; rank 0 writes the copy meanwhile. Not for sharded states.

        ``written`` returns what became of it; only one is under way at a time: the one before is waited for.

        Args:
            trainer: Lightning's.
            step: optimizer steps done.
            control: how the ranks agree.
        """
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if not control.ranks.is_first:
            return
        if self._pending is not None:
            futures.wait([self._pending])  # it reads the memory of the copy
        copy, wait = self._staging.copy(checkpoint)
        self._writer = self._writer or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending = self._writer.submit(self._write, copy, step, wait)

    def written(self, *, wait: bool = False) -> Path | None:
        """The checkpoint that was written in the background since the last call, None if there is none yet.

        Args:
            wait: until the one under way is done.

        Raises:
            CheckpointError: it could not be written.
        """
        pending = self._pending
        if pending is None or not (wait or pending.done()):
            return None
        self._pending = None
        return pending.result()

    def _write(self, checkpoint: dict[str, Any], step: int, wait: Callable[[], None]) -> Path:
        target = self.path(step)
        partial = target.with_suffix(".part")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            _remove(partial)
            wait()
            torch.save(checkpoint, partial)
            self._publish(partial, target)
        except (OSError, RuntimeError) as error:
            with contextlib.suppress(OSError):
                _remove(partial)
            raise CheckpointError(f"{target} could not be written ({error}).") from None
        return target

    def _seal(self, trainer: Any, partial: Path, target: Path, control: Control) -> str:
        """Checksums, then the name under which it is found; what went wrong, or an empty text."""
        try:
            if partial.is_dir():
                layout = {"strategy": trainer.strategy.name, "world": control.ranks.world}
                (partial / LAYOUT).write_text(json.dumps(layout))
            self._publish(partial, target)
        except OSError as error:
            return str(error)
        return ""

    def _publish(self, partial: Path, target: Path) -> None:
        _write_checksums(partial, target)
        _remove(target)
        os.replace(partial, target)
        self._rotate()

    def drop_after(self, step: int) -> None:
        """Remove checkpoints of later steps: a run that rolls back must not find them again."""
        for path in self._all():
            if self.step_of(path) > step:
                self._remove(path)

    # --- reading ---

    def newest(self, at_most: int | None = None) -> Path | None:
        """The newest checkpoint that is whole; a damaged one is reported and the one before is used.

        Args:
            at_most: step beyond which none is wanted.
        """
        for path in reversed(self._all()):
            if at_most is not None and self.step_of(path) > at_most:
                continue
            problem = _damage(path)
            if not problem:
                return path
            log.warning("%s is damaged (%s): going back to the checkpoint before it.", path, problem)
        return None

    def steps(self) -> list[int]:
        """Of every checkpoint, whole or not, in order."""
        return [self.step_of(path) for path in self._all()]

    def step_of(self, path: Path) -> int:
        match = _NAME.fullmatch(path.name)
        assert match is not None
        return int(match[1])

    def _all(self) -> list[Path]:
        return sorted(p for p in self.directory.glob("step-*.ckpt") if _NAME.fullmatch(p.name))

    def _rotate(self) -> None:
        for path in self._all()[: -self.keep] if self.keep else []:
            self._remove(path)
        for partial in self.directory.glob("*.part"):
            _remove(partial)

    @staticmethod
    def _remove(path: Path) -> None:
        # The name first: half a folder without its name is nobody's checkpoint.
        doomed = path.with_suffix(".part")
        _remove(doomed)
        os.replace(path, doomed)
        path.with_suffix(".sha256").unlink(missing_ok=True)
        _remove(doomed)


def _cause(error: BaseException) -> BaseException:
    """What went wrong first: FSDP2 wraps the failure of each rank."""
    failures = getattr(error, "failures", None)
    return next(iter(failures.values()))[0] if failures else error


def layout_of(path: Path) -> dict[str, Any] | None:
    """Strategy and world size of a checkpoint that is a folder; None for a single file."""
    return json.loads((path / LAYOUT).read_text()) if path.is_dir() else None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _files(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_checksums(partial: Path, target: Path) -> None:
    """Of what lies at `partial` under the name that it will have, flushed to the disk together with it."""
    files = _files(partial)

    def seal(path: Path) -> str:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
        name = Path(target.name) / path.relative_to(partial) if partial.is_dir() else Path(target.name)
        return f"{_digest(path)}  {name}\n"

    with ThreadPoolExecutor(8) as pool:
        lines = list(pool.map(seal, files))
    with open(target.with_suffix(".sha256"), "w") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())


def _damage(path: Path) -> str:
    """What is wrong with a checkpoint, or an empty text."""
    checksums = path.with_suffix(".sha256")
    if not checksums.exists():
        return "no checksum"
    # Earlier versions wrote the bare checksum of a single file.
    wanted = [[*line.split(maxsplit=1), path.name][:2] for line in checksums.read_text().splitlines()]

    def check(pair: list[str]) -> str:
        file = path.parent / pair[1]
        if not file.is_file():
            return f"{pair[1]} is missing"
        return "" if _digest(file) == pair[0] else f"checksum of {pair[1]} differs"

    with ThreadPoolExecutor(8) as pool:
        problems = [problem for problem in pool.map(check, wanted) if problem]
    return "; ".join(problems) if wanted else "empty list of checksums"
