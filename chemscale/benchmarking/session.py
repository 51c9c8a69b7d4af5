"""Doing works: who takes part is started, warmed up, and takes turns; what came of it."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chemscale.benchmarking.inputs import Inputs
from chemscale.benchmarking.participants import Checkout, Setting, data_of, participants
from chemscale.benchmarking.processes import (
    Worker,
    WorkerError,
    WorkerProcess,
    environment,
    stop_all,
)
from chemscale.benchmarking.rounds import Timing, interleave
from chemscale.benchmarking.works import Work
from chemscale.common.progress import ProgressBar

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clock:
    """How long is timed.

    Args:
        rounds: turns of each.
        seconds: of a turn, at least.
        steps: of a turn, at least.
        warmup: steps before the first turn.
    """

    rounds: int = 5
    seconds: float = 5.0
    steps: int = 2
    warmup: int = 3


QUICK = Clock(rounds=3, seconds=0.5, steps=1, warmup=2)


@dataclass
class Outcome:
    """What came of a work.

    Args:
        work: that was done.
        timings: by who did it, ours first.
        failed: why others did not, by name.
    """

    work: Work
    timings: dict[str, Timing] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass
class Session:
    """Works under one setting.

    Args:
        setting: what holds for every work.
        clock: how long is timed.
        inputs: files.
        checkouts: revisions of ours, this one first.
        peers: interpreters by the name of the code.
        folder: where workers run.
    """

    setting: Setting
    clock: Clock
    inputs: Inputs
    checkouts: Sequence[Checkout]
    peers: Mapping[str, str]
    folder: Path

    def run(self, works: Sequence[Work]) -> Iterator[Outcome]:
        """Do works one after the other.

        Args:
            works: in order.

        Yields:
            What came of each.
        """
        self.prepare(works)
        for work in works:
            yield self.do(work, participants(work, self.setting, self.inputs, self.checkouts, self.peers))

    def prepare(self, works: Sequence[Work]) -> None:
        """Prepare molecules and structures as each revision does, before anything is timed.

        Args:
            works: that are to be done.

        Raises:
            WorkerError: a revision could not.
        """
        wanted = {tuple(data_of(work, self.inputs)) for work in works if work.kind in ("training", "command")}
        for checkout in self.checkouts:
            place = self._place(checkout.root)
            place.mkdir(parents=True, exist_ok=True)
            for data in sorted(wanted):
                log.info("%s prepares %s", checkout.name, " ".join(data))
                lint = ["lint=off"] if "data=structures" in data else []
                done = subprocess.run(
                    [sys.executable, "-m", "chemscale.prepare", *data, *lint],
                    cwd=place,
                    env=environment(checkout.root, self.setting.threads),
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    raise WorkerError(f"{checkout.name} could not prepare {data[1]}: {done.stderr.strip()}")

    def do(self, work: Work, workers: Sequence[Worker]) -> Outcome:
        """Let workers do a work in turns.

        Args:
            work: that is done.
            workers: who take part.
        """
        outcome = Outcome(work)
        running: list[WorkerProcess] = []
        clock = self.clock if work.kind != "command" else Clock(self.clock.rounds, 0.0, 1, 0)
        try:
            for worker in workers:
                log.info("%s: %s makes ready", work.name, worker.name)
                try:
                    running.append(self._start(worker, work, clock))
                except WorkerError as error:
                    log.warning("%s: %s %s", work.name, worker.name, error)
                    outcome.failed[worker.name] = str(error)
            outcome.timings = {process.name: process.timing for process in running}
            with ProgressBar(work.name, clock.rounds * len(running), "turns") as bar:
                interleave(
                    running,
                    outcome.timings,
                    rounds=clock.rounds,
                    seconds=clock.seconds,
                    steps=clock.steps,
                    progress=lambda name: bar.advance(1, name),
                )
            for process in running:
                process.stop()
        except WorkerError as error:
            log.warning("%s: %s", work.name, error)
            outcome.failed["turns"] = str(error)
        finally:
            with contextlib.suppress(OSError):
                stop_all(running)
        return outcome

    def _start(self, worker: Worker, work: Work, clock: Clock) -> WorkerProcess:
        return WorkerProcess(
            worker,
            self._place(worker.path),
            device=self.setting.device,
            threads=self.setting.threads,
            warmup=clock.warmup,
        )

    def _place(self, root: Path | None) -> Path:
        """Where workers run: revisions prepare data each in its own way, so each has its own folder."""
        names = {checkout.root: f"ours-{number}" for number, checkout in enumerate(self.checkouts)}
        return self.folder / (names[root] if root else "peers")

    def ceilings(self) -> dict[str, float]:
        """What this machine does at most: ``product`` FLOP/s in the precision, ``copy`` bytes/s."""
        found = {}
        for kind in ("product", "copy"):
            task = {"kind": kind, "precision": self.setting.precision}
            outcome = self.do(
                Work(f"ceiling: {kind}", "ceiling", {}, "", 1),
                [Worker(kind, "ceiling.py", task, sys.executable)],
            )
            if outcome.failed:
                raise WorkerError(
                    f"The ceiling ({kind}) could not be measured: {outcome.failed.popitem()[1]}."
                )
            found[kind] = max(turn.rate for turn in outcome.timings[kind].turns)
        return found
