"""States of jobs: from squeue while they wait or run, from sacct or scontrol when they have ended."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from chemscale.launchers.section import LaunchError

QUERY_SECONDS = 30
LOCAL_PREFIX = "local-"
"""How names of starts on this machine begin, which SLURM does not know of."""

UNSTARTED_ELEMENTS = re.compile(r"(\d+)_\[([^]%]+)(?:%\d+)?\]")
"""Elements of an array that never began are one row of sacct: ``123_[1-3,7%2]``."""

FORGOTTEN_JOB = re.compile(r"Invalid job id|Job \S+ not found")
"""What scontrol says of a job that it does not know (any more), an element that was cancelled before it began
for one."""

ENDED_STATES = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
    "PREEMPTED",
)


@dataclass(frozen=True)
class JobState:
    """One job, as SLURM sees it.

    Args:
        state: RUNNING, PENDING, COMPLETED, …; empty where SLURM has forgotten it.
        exit_code: status and signal of the batch script, ``1:0``.
        node: the nodes that it runs or ran on.
        left: time until its limit.
        reason: why it waits.
    """

    state: str = ""
    exit_code: str = ""
    node: str = ""
    left: str = ""
    reason: str = ""

    @property
    def in_flight(self) -> bool:
        """Whether it waits, runs, or is being queued again."""
        return bool(self.state) and self.state not in ENDED_STATES

    def describe_end(self) -> str:
        """How SLURM says that it ended."""
        if not self.state:
            return "unknown to SLURM"
        return f"{self.state} ({self.exit_code})" if self.exit_code else self.state


def is_local(job: str) -> bool:
    """Whether it names a start on this machine rather than a job of SLURM."""
    return job.startswith(LOCAL_PREFIX)


def require_slurm() -> None:
    """Refuse a machine without SLURM's commands.

    Raises:
        LaunchError: sbatch, squeue, scancel or scontrol are not on the PATH.
    """
    missing = [name for name in ("sbatch", "squeue", "scancel", "scontrol", "srun") if not shutil.which(name)]
    if missing:
        raise LaunchError(
            f"launcher=slurm: {', '.join(missing)} not found on this machine. Launch from a login node, or "
            "try a cluster of your own: chemscale launch cluster up DIR (Debian: apt-get install slurm-wlm)."
        )


def run_command(*arguments: str) -> str:
    """Run a SLURM command and return what it prints.

    Raises:
        LaunchError: it failed; the message holds what it said.
    """
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, check=False, timeout=QUERY_SECONDS, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{arguments[0]}: {error}") from None
    if done.returncode != 0:
        raise LaunchError(f"{' '.join(arguments[:3])}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def queued_jobs() -> dict[str, JobState]:
    """My jobs that wait or run, array elements one by one.

    Raises:
        LaunchError: the controller does not answer.
    """
    found = {}
    for line in run_command("squeue", "--me", "-h", "-r", "-o", "%i|%T|%N|%L|%r").splitlines():
        job, state, node, left, reason = line.split("|", 4)
        found[job] = JobState(state, "", node, left, "" if reason == "None" else reason)
    return found


def ended_jobs(jobs: Iterable[str]) -> dict[str, JobState]:
    """What is known of jobs that left the queue: from accounting, else from the controller's memory.

    Accounting lags behind: one that it still takes for running is asked for at the controller, and is left
    out where that has forgotten it.

    Raises:
        LaunchError: the controller does not answer.
    """
    wanted = [job for job in jobs if not is_local(job)]
    found: dict[str, JobState] = {}
    if not wanted:
        return found
    with contextlib.suppress(LaunchError):  # no accounting: the controller remembers for MinJobAge seconds
        found = {job: state for job, state in _from_accounting(wanted).items() if state.state in ENDED_STATES}
    for job in wanted:
        if job not in found:
            known = _from_controller(job)
            if known is not None:
                found[job] = known
    return found


def _from_accounting(jobs: Sequence[str]) -> dict[str, JobState]:
    roots = sorted({job.split("_")[0] for job in jobs})
    out = run_command("sacct", "-n", "-P", "-X", "-j", ",".join(roots), "-o", "JobID,State,ExitCode,NodeList")
    found = parse_accounting(out)
    return {job: found[job] for job in jobs if job in found}


def parse_accounting(out: str) -> dict[str, JobState]:
    """Parse the rows of ``sacct -n -P -o JobID,State,ExitCode,NodeList``, array elements one by one."""
    found: dict[str, JobState] = {}
    for line in out.splitlines():
        job, state, code, node = line.split("|", 3)
        known = JobState(state.split()[0] if state else "", code, node)
        elements = UNSTARTED_ELEMENTS.fullmatch(job)
        if elements is None:
            found[job] = known
            continue
        for element in _element_numbers(elements[2]):
            found.setdefault(f"{elements[1]}_{element}", known)
    return found


def _element_numbers(listed: str) -> Iterator[int]:
    for part in listed.split(","):
        bounds = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if bounds is not None:  # long lists end in an ellipsis
            yield from range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1, int(bounds[3] or 1))


def _from_controller(job: str) -> JobState | None:
    try:
        line = run_command("scontrol", "show", "job", "-o", job)
    except LaunchError as error:
        if not FORGOTTEN_JOB.search(str(error)):
            raise
        return None
    fields = dict(re.findall(r"(\w+)=(\S*)", line.splitlines()[0] if line else ""))
    node = fields.get("NodeList", "")
    return JobState(fields.get("JobState", ""), fields.get("ExitCode", ""), "" if node == "(null)" else node)


def job_states(jobs: Iterable[str]) -> dict[str, JobState]:
    """States of those jobs that SLURM knows, in the queue or out of it.

    Raises:
        LaunchError: the controller does not answer.
    """
    wanted = list(jobs)
    queued = queued_jobs()
    found = {job: queued[job] for job in wanted if job in queued}
    return found | ended_jobs(job for job in wanted if job not in found)
