"""A worker as its own process: started, told to take turns, and ended."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.benchmarking.rounds import Timing, Turn

WORKERS = Path(__file__).with_name("workers")


class WorkerError(ValueError):
    """A worker that ended by itself; the message is the last of what it printed."""


@dataclass(frozen=True)
class Worker:
    """How a worker is started.

    Args:
        name: what tables call it.
        script: file in ``workers/``.
        work: what it is to do.
        python: its interpreter.
        path: folder put first among those that modules are imported from; None: none.
    """

    name: str
    script: str
    work: dict[str, Any]
    python: str
    path: Path | None = None


class WorkerProcess:
    """A running worker that waits between turns.

    Args:
        worker: what is started.
        folder: it runs there; what it prints is kept there.
        device: cpu or cuda.
        threads: of the processor.
        warmup: steps before its first turn.

    Raises:
        WorkerError: it ended before it was ready.
    """

    def __init__(self, worker: Worker, folder: Path, *, device: str, threads: int, warmup: int):
        self.name = worker.name
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{''.join(c if c.isalnum() else '-' for c in worker.name)}.log"
        options = ["--device", device, "--threads", str(threads), "--warmup", str(warmup)]
        with open(self.log, "w") as log:
            self._process = subprocess.Popen(
                [worker.python, str(WORKERS / worker.script), "--work", json.dumps(worker.work), *options],
                cwd=folder,
                env=environment(worker.path, threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            self.timing = Timing(self._read()["ready"])
        except BaseException:
            self.kill()
            raise

    def turn(self, seconds: float, steps: int) -> Turn:
        """Do the work for at least so long and so many steps.

        Args:
            seconds: at least.
            steps: at least.

        Raises:
            WorkerError: it ended instead.
        """
        self._write({"seconds": seconds, "steps": steps})
        return Turn(**self._read())

    def stop(self) -> None:
        """End it; its peak memory is kept in ``timing``.

        Raises:
            WorkerError: it had ended before.
        """
        self._write({"stop": True})
        self.timing.memory = self._read()
        self._process.wait()

    def kill(self) -> None:
        """End it whatever it does."""
        self._process.kill()
        self._process.wait()

    def _write(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self._last_words())
        found: dict[str, Any] = json.loads(line)
        return found

    def _last_words(self) -> str:
        status = self._process.wait()
        words = (line.strip() for line in self.log.read_text(errors="replace").splitlines())
        lines = [line for line in words if line and not line.startswith("(CHEMSCALE_DEBUG")]
        return f"ended with status {status}: {lines[-1] if lines else 'it said nothing'}"


def environment(path: Path | None, threads: int) -> dict[str, str]:
    """Variables of a worker: its threads, and where its modules come from first.

    Args:
        path: folder that comes first; None: none, and none of ours either.
        threads: of the processor.
    """
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    found = {**kept, "OMP_NUM_THREADS": str(threads), "HYDRA_FULL_ERROR": "1"}
    return found if path is None else {**found, "PYTHONPATH": str(path)}


def stop_all(processes: Sequence[WorkerProcess]) -> None:
    """End processes whatever they do.

    Args:
        processes: which.
    """
    for process in processes:
        process.kill()
