"""Trainer checkpoints: written whole or not at all, the newest two kept, loaded without unpickling code."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path

log = logging.getLogger(__name__)

KEEP = 2
_NAME = re.compile(r"step-(\d{9})\.ckpt")


class Checkpoints:
    """A folder of checkpoints: ``step-000000100.ckpt`` and its sha256 beside it.

    Args:
        keep: how many of the newest stay; None for all.
    """

    def __init__(self, directory: Path, keep: int | None = KEEP):
        self.directory, self.keep = Path(directory), keep

    def path(self, step: int) -> Path:
        return self.directory / f"step-{step:09d}.ckpt"

    def save(self, trainer, step: int) -> Path:
        """Save through `trainer`, so that a kill at any instant leaves the previous one usable."""
        self.directory.mkdir(parents=True, exist_ok=True)
        target = self.path(step)
        partial = target.with_suffix(".part")
        trainer.save_checkpoint(partial, weights_only=False)
        with open(partial, "rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        checksum = target.with_suffix(".sha256")
        checksum.write_text(digest)
        os.replace(partial, target)
        self._rotate()
        return target

    def newest(self, at_most: int | None = None) -> Path | None:
        """The newest checkpoint that is whole; a damaged one is reported and the one before is used.

        Args:
            at_most: step beyond which none is wanted.
        """
        for path in reversed(self._all()):
            if at_most is not None and self.step_of(path) > at_most:
                continue
            checksum = path.with_suffix(".sha256")
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if checksum.exists() and checksum.read_text() == digest:
                return path
            log.warning("%s is damaged (checksum differs): going back to the checkpoint before it.", path)
        return None

    def step_of(self, path: Path) -> int:
        match = _NAME.fullmatch(path.name)
        assert match is not None
        return int(match[1])

    def _all(self) -> list[Path]:
        return sorted(p for p in self.directory.glob("step-*.ckpt") if _NAME.fullmatch(p.name))

    def _rotate(self) -> None:
        for path in self._all()[: -self.keep] if self.keep else []:
            path.unlink()
            path.with_suffix(".sha256").unlink(missing_ok=True)
        for partial in self.directory.glob("*.part"):
            partial.unlink()
