"""What a command and all that it starts use, read from /proc (Linux); for other benchmarks."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Processes:
    """What a process and all that descend from it have used.

    Args:
        root: id of the process.
        cpu: seconds of CPU time of each, as last seen.
        peak: largest sum of proportional set sizes, bytes.
        most: processes at that time.
        peak_private: largest sum of memory that is no page of a file, bytes.
    """

    root: int
    cpu: dict[int, float] = field(default_factory=dict)
    peak: int = 0
    most: int = 0
    peak_private: int = 0

    def look(self) -> None:
        """Read /proc once."""
        parents, cpu = {}, {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it has ended
                parents[int(entry.name)] = int(fields[1])
                cpu[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS
        mine = {self.root}
        while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
            mine |= more
        self.cpu |= {pid: cpu[pid] for pid in mine & cpu.keys()}
        memory, private = map(sum, zip(*map(_proportional, mine), strict=True))
        self.peak_private = max(self.peak_private, private)
        if memory > self.peak:
            self.peak, self.most = memory, len(mine)


def _proportional(pid: int) -> tuple[int, int]:
    """Proportional set size of a process, and what of it is no page of a file, bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    sizes = {line.split()[0]: int(line.split()[1]) << 10 for line in lines[1:]}
    return sizes.get("Pss:", 0), sizes.get("Pss_Anon:", sizes.get("Pss:", 0))


@dataclass
class Usage:
    """Of one command: seconds of wall and of CPU time, memory, and what ``watch`` measured at most."""

    wall: float
    cpu: float
    processes: Processes
    watched: int


def run_measured(
    command: Sequence[str],
    log: Path,
    environment: dict[str, str],
    watch: Callable[[], int] | None = None,
) -> Usage:
    """Run a command and look at its processes ten times a second.

    Args:
        command: and its arguments.
        log: file that gets what it says.
        environment: of the command.
        watch: a number that is looked at every five seconds, such as bytes on disk; None for none.

    Raises:
        SystemExit: the command fails; what it said is the message.
    """
    started, watched, looks = time.perf_counter(), 0, 0
    with open(log, "w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        used = Processes(process.pid)
        while process.poll() is None:
            used.look()
            if watch is not None and looks % 50 == 0:  # thousands of files
                watched = max(watched, watch())
            looks += 1
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"status {process.returncode}\n{log.read_text()}")
    if watch is not None:
        watched = max(watched, watch())
    return Usage(time.perf_counter() - started, sum(used.cpu.values()), used, watched)


def size(folder: Path) -> int:
    """Bytes of all files under a folder; files that vanish meanwhile do not count."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_size
            except OSError:
                continue
    return total
