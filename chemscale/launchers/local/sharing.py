"""NVIDIA's multi-process service, by which kernels of several points run on one GPU at the same time.

Without it processes take turns on a GPU: their launches then overlap, their kernels do not.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
DEFAULT_PIPES = Path("/tmp/nvidia-mps")
"""Where a daemon of the whole machine listens, and clients look unless they are told otherwise."""
SECONDS = 30


class SharingService:
    """Within ``with SharingService(gpus, per_gpu) as service`` points that share GPUs have the service.

    A daemon that runs already is used. Where there is none to be had (no driver, a slice of a GPU), points
    take turns, and a line of the log says so.

    Args:
        gpus: of each slot; none where no GPU is used.
        per_gpu: points that share one.
    """

    def __init__(self, gpus: Sequence[Sequence[str]], per_gpu: int):
        self.gpus = list(dict.fromkeys(name for slot in gpus for name in slot)) if per_gpu > 1 else []
        self.folder: Path | None = None

    def __enter__(self) -> SharingService:
        if not self.gpus or PIPES in os.environ or (DEFAULT_PIPES / "control").exists():
            return self
        if shutil.which(CONTROL) is None or any(name.startswith("MIG-") for name in self.gpus):
            log.info("Points take turns on their GPU: %s is not here, or the GPU is a slice (MIG).", CONTROL)
            return self
        self.folder = Path(tempfile.mkdtemp(prefix="chemscale-mps-"))  # short: it holds sockets
        environment = {**os.environ, **self._folders(), "CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}
        if not self._call([CONTROL, "-d"], environment):
            self._forget()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.folder is not None:
            self._call([CONTROL], {**os.environ, **self._folders()}, "quit\n")
            self._forget()

    def environment(self, gpus: Sequence[str]) -> dict[str, str]:
        """Variables of a rank: where the daemon listens, and its GPUs as the daemon numbers them.

        Args:
            gpus: of the rank's slot.
        """
        if self.folder is None:
            return {}
        # The daemon numbers the GPUs that it was started with; a full name means the same to everybody.
        names = [name if name.startswith("GPU-") else str(self.gpus.index(name)) for name in gpus]
        return {**self._folders(), "CUDA_VISIBLE_DEVICES": ",".join(names)}

    def _folders(self) -> dict[str, str]:
        return {PIPES: str(self.folder), LOGS: str(self.folder)}

    def _forget(self) -> None:
        assert self.folder is not None
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None

    @staticmethod
    def _call(command: Sequence[str], environment: dict[str, str], text: str = "") -> bool:
        try:
            done = subprocess.run(
                command,
                env=environment,
                input=text,
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("%s: %s. Points take turns on their GPU.", CONTROL, error)
            return False
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            log.warning("%s: %s. Points take turns on their GPU.", CONTROL, said)
        return done.returncode == 0
