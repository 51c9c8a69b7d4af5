"""Preparing data as SLURM jobs: an array of tasks that share one build.

An array, not one job of several tasks: each begins as soon as a node is free, is queued again alone, and
takes whatever is neither done nor claimed, so that none of them waits for one that has not begun.
Its function is named in pickles, so it stays importable.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.common.exit_status import DONE, FAILED, exit_now
from chemscale.common.locks import file_lock
from chemscale.launchers import hooks
from chemscale.launchers.section import LaunchError, LauncherSettings
from chemscale.launchers.slurm.arrays import MAX_ARRAY_SIZE, array_of, resource_options
from chemscale.launchers.slurm.queue import JobState, ended_jobs, queued_jobs, require_slurm
from chemscale.launchers.slurm.resources import Site, SlurmResources
from chemscale.launchers.slurm.sbatch import sbatch, without_gpus
from chemscale.launchers.slurm.script import point_lines
from chemscale.launchers.snapshot import take_snapshot
from chemscale.launchers.verdicts import read_verdict, write_verdict
from chemscale.launchers.watch import poll_until
from chemscale.launchers.worker import prepare_process

log = logging.getLogger(__name__)

FOLDER = "jobs"
"""Beside the data that are prepared: scripts, logs and the code that runs."""
SUMMARY = ("Corpus ", "Store ")
"""How the lines begin that say what was made."""
LAST_LINES = 20


@dataclass(frozen=True)
class QueuedPreparation:
    """Jobs that prepare one corpus or store.

    Args:
        jobs: their ids; elements of one array where there are several.
        folder: where their logs lie.
    """

    jobs: tuple[str, ...]
    folder: Path

    @property
    def array(self) -> str:
        """By which all of them are named."""
        return array_of(self.jobs[0])

    def log_path(self, job: str) -> Path:
        """Where a task writes, with the name that submitit gives it."""
        return self.folder / f"{job}_0_log.out"


def queue_preparation(
    config: Mapping[str, Any], launcher: LauncherSettings, *, shared: bool
) -> QueuedPreparation:
    """Queue the tasks of a preparation, and say where their logs are.

    Args:
        config: of ``prepare``, resolved.
        launcher: its section ``launcher``.
        shared: whether the tasks share one build.

    Raises:
        ConfigurationError: a key of ``site`` that makes no sense.
        LaunchError: no SLURM here, too many tasks, or sbatch refused.
    """
    require_slurm()
    if launcher.nodes > MAX_ARRAY_SIZE:
        raise LaunchError(f"launcher.nodes={launcher.nodes}: {MAX_ARRAY_SIZE} tasks at most.")
    site = Site.of(dict(config))
    resources = SlurmResources(
        nodes=1,
        gpus_per_node=1,
        cpus_per_rank=launcher.cpus_per_rank,
        memory_gib=launcher.memory_gib,
        minutes=launcher.minutes,
        signal_seconds=launcher.signal_seconds,
        parallel=launcher.parallel,
        per_gpu=1,
        with_gpus=False,
    )
    root = Path(config["corpora" if shared else "structures"]) / FOLDER
    folder = root.absolute()
    with file_lock(folder / ".lock"):
        code = take_snapshot(root)
    options = resource_options(resources)
    options.parameters |= {
        "job_name": "chemscale-prepare",
        "setup": point_lines(site, code, folder, [launcher.max_attempts] * launcher.nodes),
    }
    options.additional |= {"requeue": True, "chdir": os.getcwd()}
    options.add_site(site, (), without_gpus(site.extra))
    own = {**config, "shared": True} if shared else dict(config)
    calls = [(own,)] * launcher.nodes
    jobs = sbatch(run_preparation, calls, folder=folder, site=site, options=options, resources=resources)
    queued = QueuedPreparation(tuple(jobs), folder)
    _log_queued(queued)
    return queued


def _log_queued(queued: QueuedPreparation) -> None:
    tasks = len(queued.jobs)
    together = f"{tasks} tasks prepare it together" if tasks > 1 else "one task prepares it"
    log.info("Job %s is queued: %s.", queued.array, together)
    log.info("Logs: %s", queued.folder / f"{queued.array}*_log.out")
    log.info("Watch: squeue --me -r -j %s   Cancel: scancel %s", queued.array, queued.array)
    log.info("The same command again goes on with what is missing.")


def wait_for_preparation(queued: QueuedPreparation) -> bool:
    """Wait until no task is in flight, then print what was made, or the end of a log of one that failed.

    Args:
        queued: of this command.

    Returns:
        Whether a task has ended well, which it only does when all is prepared.

    Raises:
        LaunchError: the controller does not answer.
        KeyboardInterrupt: a person no longer waits; the tasks go on.
    """
    shown: list[str] = []

    def ended() -> bool:
        states = [state.state for job, state in queued_jobs().items() if job in queued.jobs]
        counts = ", ".join(f"{states.count(state)} {state.lower()}" for state in sorted(set(states)))
        if shown[-1:] != [counts] and counts:
            shown.append(counts)
            log.info("Job %s: %s", queued.array, counts)
        return not states

    try:
        poll_until(ended)
    except KeyboardInterrupt:
        log.info("The job goes on. Cancel: scancel %s", queued.array)
        raise
    states = ended_jobs(queued.jobs)
    well = [job for job in queued.jobs if states.get(job, JobState()).state == "COMPLETED"]
    if well:
        print(_summary(queued, well), file=sys.stderr)
        return True
    for job in queued.jobs:
        why = read_verdict(queued.folder, job) or states.get(job, JobState()).describe_end()
        log.error("%s: %s", job, why)
    print(_end_of(queued.log_path(queued.jobs[0])), file=sys.stderr)
    return False


def _summary(queued: QueuedPreparation, jobs: Sequence[str]) -> str:
    """What a task has said of what was made: of several the longest, which is that of the maker."""
    found = []
    for job in jobs:
        lines = _lines(queued.log_path(job))
        begins = next((n for n, line in enumerate(lines) if line.startswith(SUMMARY)), 0)
        found.append("\n".join(lines[begins:]))
    return max(found, key=len)


def _end_of(path: Path) -> str:
    return "\n".join(_lines(path)[-LAST_LINES:])


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return [f"{path}: no such file"]
    lines = path.read_text(errors="replace").splitlines()
    return [line for line in lines if not line.startswith("submitit ")]


def run_preparation(config: dict[str, Any]) -> None:
    """Prepare data as a task of a job; never returns.

    Args:
        config: of ``prepare``, resolved.
    """
    prepare_process()
    try:
        status = DONE if hooks.resolve(hooks.PREPARE)(config) else FAILED
    except SystemExit as end:  # a signal
        status = int(end.code or DONE)
    except (ValueError, FileNotFoundError) as error:
        write_verdict(error)
        log.error("%s", error)
        status = FAILED
    except Exception as error:
        write_verdict(error)
        raise
    exit_now(status)
