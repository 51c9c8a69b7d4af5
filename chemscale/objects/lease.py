"""Who writes a folder of a store: one machine at a time, told by small objects that only one can create.

A lock of a file system is freed by the system when its holder dies; an object stays. A holder therefore
writes its lease anew now and then, and one that was not written anew while somebody watched it for a while
belongs to the dead. No two clocks are compared.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chemscale.objects.address import Address
from chemscale.objects.errors import Missing, StoreError
from chemscale.objects.store import Store

log = logging.getLogger(__name__)

RENEW_SECONDS = 30.0
"""A holder writes its lease anew this often."""
DEAD_SECONDS = 120.0
"""A lease that was not written anew for so long, while somebody watched, is nobody's."""
LOOK_SECONDS = 5.0
"""How often the watcher looks."""


@dataclass
class Lease:
    """The right to write below an address: objects ``ADDRESS.lease-000001``, each created once.

    Who takes a dead lease over creates the next number; the holder of an older number sees it and has lost.

    Args:
        store: that has them.
        address: what they are called, without the ending.
        dead_after: seconds without renewal after which a lease is taken over.
    """

    store: Store
    address: Address
    dead_after: float = DEAD_SECONDS
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    number: int = 0
    """Of the lease that is held; 0 for none."""
    lost: str = ""
    """Who took it over while it was kept; empty as long as it is held."""
    _keeping: bool = False
    _renewals: int = 0
    _renewed: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def acquire(self, *, wait: bool = False) -> str:
        """Take the lease, that of a process of this machine that is gone included.

        Args:
            wait: watch one that may be dead, and take it over if it is.

        Returns:
            Empty where it is held now, else who holds it.

        Raises:
            StoreError: the store does not answer.
        """
        while True:
            number, content = self._newest()
            if not number or _is_gone(content) or (wait and self._has_died(number, content)):
                if number and self._newest() != (number, content):
                    continue  # it was given back, taken over or renewed: two must not create two numbers
                if self._create(number + 1):
                    self._remove_up_to(number)
                    return ""
                continue
            return _describe(content)

    def renew(self, every: float = RENEW_SECONDS) -> str:
        """Say that the holder is alive, if that is due.

        Args:
            every: seconds after which it is.

        Returns:
            Empty where the lease is still held, else who holds it now.

        Raises:
            StoreError: the store does not answer; the lease may be held or not.
        """
        with self._writing:
            return self._renew(every)

    def _renew(self, every: float) -> str:
        if not self.number or _now() - self._renewed < every:
            return ""
        number, content = self._newest()
        if number != self.number or content.get("token") != self.token:
            return _describe(content) if number else "nobody (its lease was removed)"
        self._renewals += 1
        self.store.write(self._object(self.number), self._content())
        self._renewed = _now()
        return ""

    def keep(self) -> None:
        """Renew the lease in a thread until it is released or lost, however long anything else takes."""
        if self._keeping:
            return
        self._keeping = True

        def run() -> None:
            while not ended.wait(RENEW_SECONDS / 4):
                try:
                    self.lost = self.renew(RENEW_SECONDS)
                except StoreError as error:
                    log.debug("%s", error)
                except Exception:  # whatever it is, who does not renew loses the lease
                    log.debug("%s", self.address, exc_info=True)
                if self.lost:
                    return

        ended = self._ended = threading.Event()
        threading.Thread(target=run, name="lease", daemon=True).start()

    def release(self) -> None:
        """Give the lease back, unless somebody else has it.

        Raises:
            StoreError: the store does not answer.
        """
        self._ended.set()
        self._keeping = False
        _held.discard(self.token)
        with self._writing:  # a renewal that is under way would write it anew
            held, self.number = self.number, 0
            number, content = self._newest()
            if held and number == held and content.get("token") == self.token:
                self._remove_up_to(number)

    def _create(self, number: int) -> bool:
        created = self.store.create(self._object(number), self._content())
        # An answer may be lost and asked for again; and some stores write in any case.
        mine = self._read(number).get("token") == self.token
        if created and not mine:
            log.debug("%s was written by two.", self._object(number))
        if mine:
            self.number, self._renewed = number, _now()
            _held.add(self.token)
        return mine

    def _has_died(self, number: int, content: dict[str, Any]) -> bool:
        """Watch a lease; whether it was not written anew for long enough."""
        log.info(
            "%s is written by %s. Seeing for up to %.0f s whether that one is alive …",
            self.address,
            _describe(content),
            self.dead_after,
        )
        until = time.monotonic() + self.dead_after
        while time.monotonic() < until:
            time.sleep(min(LOOK_SECONDS, self.dead_after / 4))
            now, found = self._newest()
            if now != number:
                return not now
            if found != content:
                return False
        log.warning("%s: %s is taken for dead.", self.address, _describe(content))
        return True

    def _newest(self) -> tuple[int, dict[str, Any]]:
        head = f"{self.address.name}.lease-"
        names = [name for name in self.store.names(self.address.parent) if name.startswith(head)]
        numbers = [int(name.removeprefix(head)) for name in names if name.removeprefix(head).isdigit()]
        number = max(numbers, default=0)
        content = self._read(number) if number else {}
        return (number, content) if content or not number else (number, {"host": "unknown"})

    def _read(self, number: int) -> dict[str, Any]:
        try:
            found = json.loads(self.store.read(self._object(number)))
        except (Missing, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _object(self, number: int) -> Address:
        return self.address.parent.child(f"{self.address.name}.lease-{number:06d}")

    def _content(self) -> bytes:
        content = {
            "host": os.uname().nodename,
            "boot": _boot(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
            "token": self.token,
            "renewals": self._renewals,
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        return json.dumps(content).encode()

    def _remove_up_to(self, number: int) -> None:
        head = f"{self.address.name}.lease-"
        for name in self.store.names(self.address.parent):
            end = name.removeprefix(head)
            if name.startswith(head) and end.isdigit() and int(end) <= number:
                self.store.delete([self.address.parent.child(name)])


def _now() -> float:
    """Seconds that go on while the machine is suspended: another may have taken the lease over meanwhile."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _describe(content: dict[str, Any]) -> str:
    pid, host, written = (content.get(key, "?") for key in ("pid", "host", "written"))
    return f"pid {pid} on {host}, last heard of at {written}"


_held: set[str] = set()
"""Tokens of the leases that this process holds; one that it gave back may stand, if the store was silent."""


def _is_gone(content: dict[str, Any]) -> bool:
    """Whether a lease is of a process of this very machine that has ended, or has given it back."""
    if content.get("boot") != _boot() or content.get("host") != os.uname().nodename or not _boot():
        return False
    if content.get("pid") == os.getpid() and content.get("token") not in _held:
        return True
    return _started(content.get("pid")) != content.get("started")


def _boot() -> str:
    """Tells this machine, since it was started, from every other."""
    try:
        # Containers of one machine share the id of the boot, and not the numbers of processes.
        namespace = os.readlink("/proc/self/ns/pid")
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {namespace}"
    except OSError:
        return ""


def _started(pid: object) -> str:
    """When a process of this machine was started, in ticks; empty where there is none."""
    try:
        return Path(f"/proc/{int(str(pid))}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, ValueError, IndexError):
        return ""
