"""Generated molecules judged while a run trains: by a process of its own, from weights saved for it.

At every k-th validation the first rank writes the weights into ``generation/step-N``, starts a process that
draws molecules from them, and trains on. What was found is taken up where the next evaluation is due, and at
the end: where a row stands in ``metrics.jsonl`` does not depend on how long the process took.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.common.files import read_regular, write_json
from chemscale.molecules.metrics import background
from chemscale.training.run_log import RunLog

log = logging.getLogger(__name__)

FOLDER, TASK = "generation", "task.json"
POLL_SECONDS = 0.1
OURS = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
"""Environment of the process: it takes one core, and no GPU from the training."""
OF_JOBS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that would make it a rank."""


@dataclass(frozen=True)
class GenerationPlan:
    """When molecules are judged.

    Args:
        every: steps between evaluations.
        write: writes weights and tokenizer into a folder, and gives the rest of a ``background.Task``.
        limit: seconds that the run waits for an evaluation at most.
    """

    every: int
    write: Callable[[Any, Path, int], dict[str, Any]]
    limit: float

    def due(self, step: int, *, last: bool) -> bool:
        """Whether molecules are judged after a step, by its number.

        Args:
            step: optimizer steps done.
            last: whether the run ends there.
        """
        return last or step % self.every == 0


class Generation:
    """The evaluation under way, on the first rank; other ranks have none.

    Args:
        plan: when molecules are judged.
        run_log: where rows go.
    """

    def __init__(self, plan: GenerationPlan, run_log: RunLog):
        self.plan, self.run_log = plan, run_log
        self.awaited: list[dict[str, Any]] = []
        """Step, counts of data and hash of the weights of evaluations that are not written down yet: one, or
        two where a signal came while the run waited for the first."""
        self._process: subprocess.Popen[bytes] | None = None

    # --- state that must survive ---

    def state_dict(self) -> dict[str, Any]:
        """What is awaited."""
        return {"generation": self.awaited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on waiting for what an earlier session began, if it is here: a trunk's is not."""
        here = [e for e in state.get("generation", ()) if self._folder(e).is_dir() or self._result(e)]
        self.awaited = here if self.run_log.first else []

    # --- an evaluation ---

    def begin(self, step: int, module: Any, wait: Callable[[], bool]) -> None:
        """Take up what was awaited, then save the weights of this step and start to judge them.

        Args:
            step: optimizer steps done.
            module: a ``tasks.base.Task``.
            wait: called while it waits; whether to wait no longer.
        """
        if not self.run_log.first:
            return
        self.collect(step, wait)
        evaluation: dict[str, Any] = {"step": step, **self.run_log.counts()}
        folder, result = self._folder(evaluation), self._file(evaluation)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            result.unlink(missing_ok=True)
            task = self.plan.write(module, folder, step)
            evaluation["weights"] = task.pop("weights")
            write_json(folder / TASK, {"task": task, "out": str(result.absolute())})
        except OSError as error:
            log.error("Step %d: its molecules are not judged (%s).", step, error)
            return
        self.awaited.append(evaluation)
        if self._process is None:
            self._start(self.awaited[0])

    def collect(self, step: int, wait: Callable[[], bool]) -> bool:
        """Write down what is awaited, once it is there; whether nothing is awaited any more.

        Args:
            step: at which it is written down.
            wait: called while it waits; whether to wait no longer.
        """
        while self.awaited:
            evaluation, end = self.awaited[0], time.monotonic() + self.plan.limit
            while (found := self._result(evaluation)) is None and time.monotonic() < end:
                if self._process is None:
                    self._start(evaluation)  # an earlier session was stopped meanwhile
                elif self._process.poll() is not None:
                    found = self._result(evaluation)
                    break
                if wait():
                    return False
                time.sleep(POLL_SECONDS)
            self._write_down(step, evaluation, found)
            self.stop()
            shutil.rmtree(self._folder(evaluation), ignore_errors=True)
            del self.awaited[0]
        return True

    def _write_down(self, step: int, evaluation: dict[str, Any], found: dict[str, Any] | None) -> None:
        at = evaluation["step"]
        if found is None:
            log.warning(
                "Step %d: its molecules could not be judged (%s). Training is not touched by it.",
                at,
                self._file(evaluation).with_suffix(".log"),
            )
            return
        values = {key: float(value) for key, value in found["values"].items()}
        self.run_log.record.generation = {"step": at, "n": found["n"], "values": values}
        counts = {key: value for key, value in evaluation.items() if key != "weights"}
        self.run_log.generation({**counts, "logged_at": step, **values})

    def stop(self) -> None:
        """End the process, if it is at work: what it was asked for is asked again when the run goes on."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process = None

    # --- files and the process ---

    def _folder(self, evaluation: dict[str, Any]) -> Path:
        return self.run_log.directory / FOLDER / f"step-{evaluation['step']:09d}"

    def _file(self, evaluation: dict[str, Any]) -> Path:
        return self._folder(evaluation).with_suffix(".json")

    def _result(self, evaluation: dict[str, Any]) -> dict[str, Any] | None:
        """What was found, if it is of these weights."""
        try:
            found: dict[str, Any] = json.loads(read_regular(self._file(evaluation)))
        except (OSError, ValueError):
            return None
        return found if found.get("weights") == evaluation["weights"] else None

    def _start(self, evaluation: dict[str, Any]) -> None:
        folder = self._folder(evaluation)
        kept = {key: value for key, value in os.environ.items() if key not in OF_JOBS}
        with open(folder.with_suffix(".log"), "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", background.__name__, str(folder / TASK)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**kept, **OURS},
                start_new_session=True,  # Ctrl-C is for the run, which ends it
            )
