"""Which of the processes that share a build are alive, told by files that each writes again and again.

Clocks of machines are not compared. On the same machine the process itself is looked for; of another machine
it is seen whether its count goes on, by the clock of who looks. A wrong verdict costs work that is done
twice, and nothing else: what two processes write of one build are the same bytes, in files that appear whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from pathlib import Path

BEAT_SECONDS = 5.0
"""How often a process says that it is there."""
LEASE_SECONDS = 90.0
"""After how long without a word it is taken for dead: network file systems show old files for a minute."""


class Members:
    """The processes of a build, this one among them until ``close``.

    Args:
        folder: where each keeps a file; it is made.

    Attributes:
        name: of this process, another one at each start.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        host = re.sub(r"[^\w.-]", "-", socket.gethostname())
        self.name = f"{host}-{os.getpid()}-{secrets.token_hex(3)}"
        self._seen: dict[str, tuple[int, float]] = {}
        self._ended = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        self._count = 0
        self._beat()
        threading.Thread(target=self._go_on, daemon=True).start()

    def close(self) -> None:
        """Say no more; what this process had claimed is free to others."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._path(self.name).unlink()

    def others(self) -> int:
        """How many other processes there may be."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return 0
        return sum(name.endswith(".beat") and name != f"{self.name}.beat" for name in names)

    def is_alive(self, name: str) -> bool:
        """Whether a process may still work.

        Args:
            name: that it claimed something under.
        """
        if name == self.name:
            return True
        try:
            beat = json.loads(self._path(name).read_text())
            machine, pid, started, count = (beat[key] for key in ("machine", "pid", "started", "count"))
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError, KeyError):
            machine = pid = started = None
            count = -1  # as long as it cannot be read, it does not go on
        if machine is not None and machine == _machine():
            return _start_time(pid) == started
        now = time.monotonic()
        known, since = self._seen.setdefault(name, (count, now))
        if known != count:
            self._seen[name] = (count, now)
            return True
        return now - since < LEASE_SECONDS

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.beat"

    def _beat(self) -> None:
        self._count += 1
        content = {
            "machine": _machine(),
            "pid": os.getpid(),
            "started": _start_time(os.getpid()),
            "count": self._count,
        }
        temporary = self.folder / f".{self.name}.part"
        with contextlib.suppress(OSError):  # a full disk, or the build is over: others take this one for dead
            temporary.write_text(json.dumps(content))
            if not self._ended.is_set():
                os.replace(temporary, self._path(self.name))

    def _go_on(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            self._beat()


def _machine() -> str | None:
    """Names this machine since it was started, and the numbering of processes in it; None where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _start_time(pid: int) -> int | None:
    """When a process of this machine started, in ticks; None where there is none, or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
