"""A run's folder kept in step with its place in a store, beside training and never in its way.

A thread looks at the folder now and then: a checkpoint that is whole on the disk is written and sealed, and
only then those that were removed here are removed there. Every moment is one to go on from: what was rolled
back goes first, the record says so next, and the curve is there before the checkpoint that goes on from it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chemscale.objects.address import Address
from chemscale.objects.errors import Damaged, StoreError, Unreachable
from chemscale.objects.lease import RENEW_SECONDS, Lease
from chemscale.objects.run_files import CHECKPOINT, RECORD, age_of, parse_record, read_record
from chemscale.objects.seals import SEAL, drop_sealed, files_of, parse_seal, seal_folder, send_sealed
from chemscale.objects.store import Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often the folder is looked at."""
CURVE_SECONDS = 60.0
"""How often a curve that grew is written, where nothing else is."""
LAST_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between attempts when the run has ended."""
MAX_PAUSE = 300.0
"""Seconds, at most, until a store that did not take something is tried again."""
ERRORS = "error"
"""How the names of files begin that say why an attempt failed."""
FOLDERS = ("architecture", "model")
"""Folders of a run that are written whole or not at all."""


@dataclass
class FolderMirror:
    """One folder and its address.

    Args:
        store: of the address.
        folder: on this disk.
        address: of its mirror.
        keeps_all: whether checkpoints that are not here stay there: of a trunk, which several machines grow.
    """

    store: Store
    folder: Path
    address: Address
    keeps_all: bool = False
    _sent: dict[str, object] = field(default_factory=dict)
    """Of each file and sealed folder how it looked when it was written."""
    _there: dict[str, list[str]] | None = None
    """Objects of each checkpoint, by the name of its seal."""
    _seals: dict[str, str] = field(default_factory=dict)
    """Of each seal that stands there its text: after a roll-back another checkpoint may have its name."""
    _errors: set[str] = field(default_factory=set)
    """Of an attempt that failed; a run that is done has none."""
    _last: float = 0.0

    def sync(self, *, all_of_it: bool = False) -> None:
        """Write what changed, if it is time.

        Args:
            all_of_it: whether it is time for everything.

        Raises:
            StoreError: the store does not take it.
        """
        title = str(self.address) if all_of_it else ""
        if self._there is None:
            self._look()
        files = files_of(self.folder)
        here = {name: path for name, path in files.items() if CHECKPOINT.fullmatch(name)}
        here = {name: path for name, path in here.items() if path.with_suffix(".ckpt").exists()}
        fresh = self._fresh(here)
        done = self._is_done()
        # An earlier checkpoint than the newest here, and not here, was pruned; a later one was rolled back.
        newest = max(map(_step, here), default=0)
        gone = [] if self.keeps_all else [name for name in self._there or () if name not in here]
        if done:  # it rolls back no more, and may have come here without some
            gone = [name for name in gone if _step(name) < min(map(_step, here), default=0)]
        self._drop([name for name in gone if _step(name) > newest])
        plain = {name: path for name, path in files.items() if not _is_sealed(name)}
        self._send_folders(title)
        late = time.monotonic() - self._last > CURVE_SECONDS
        if all_of_it or fresh or late or self._changed(RECORD, plain):
            # A record that says that the run is done stands for all of it: it goes last.
            ended = self._is_done()
            self._send_plain({name: path for name, path in plain.items() if name != RECORD or not ended})
            self._last = time.monotonic()
        for name in fresh:
            self._send_checkpoint(name, here[name], title)
        if max(here, key=_step, default="") in self._seals:
            self._drop([name for name in gone if _step(name) <= newest])
        if done or not self._is_done():  # one that has ended meanwhile waits for its model
            self._send_plain({name: path for name, path in plain.items() if name == RECORD})
        over = [name for name in self._errors if name not in plain]
        self.store.delete([self.address.child(name) for name in over])
        self._errors.difference_update(over)

    def _is_done(self) -> bool:
        return read_record(self.folder / RECORD).get("state") == "done"

    def _look(self) -> None:
        there: dict[str, list[str]] = {}
        entries = self.store.entries(self.address)
        if RECORD in entries:
            theirs = parse_record(self.store.read(self.address.child(RECORD)))
            if age_of(theirs) > age_of(read_record(self.folder / RECORD)):
                raise StoreError(f"{self.address} is further than {self.folder}: nothing is written over it.")
        for name in entries:
            if CHECKPOINT.fullmatch(name) or name.removesuffix(SEAL) in FOLDERS:
                self._seals[name] = self.store.read(self.address.child(name)).decode(errors="replace")
            if CHECKPOINT.fullmatch(name):
                there.setdefault(name, [])
            elif name.startswith(ERRORS):
                self._errors.add(name)
            elif found := re.match(r"((.*/)?step-\d{9})\.ckpt(/|$)", name):
                there.setdefault(found[1] + SEAL, []).append(name)
        self._there = there

    def _fresh(self, here: dict[str, Path]) -> list[str]:
        """Seals of checkpoints to be written: of a run the newest only, which is what it goes on from."""
        missing = []
        for name in sorted(here, key=_step) if self.keeps_all else sorted(here, key=_step)[-1:]:
            with contextlib.suppress(FileNotFoundError):  # pruned meanwhile
                known = self._seals.get(name)
                if known is None or (known != here[name].read_text() and not self.keeps_all):
                    missing.append(name)
        return missing

    def _send_checkpoint(self, name: str, seal: Path, title: str) -> None:
        parent, folder = _parent(self.address, name), seal.parent
        try:
            text = seal.read_text()
            if self.keeps_all and self.store.entry(parent.child(seal.name)) is not None:
                self._seals[name] = text  # by another point, to the same step
                return
            listed = parse_seal(text, parent, seal.name)
            files = {each: folder / each for each in listed}
            send_sealed(self.store, parent, files, seal.name, text, title)
        except FileNotFoundError:
            return  # pruned meanwhile: a newer one is there, or will be
        prefix = name.removesuffix(seal.name)
        assert self._there is not None
        self._there[name] = [prefix + each for each in listed]
        self._seals[name] = text

    def _drop(self, names: Sequence[str]) -> None:
        for name in names:
            assert self._there is not None
            drop_sealed(self.store, self.address, name, self._there[name])
            self._seals.pop(name, None)
            del self._there[name]

    def _send_folders(self, title: str) -> None:
        for name in FOLDERS:
            folder = self.folder / name
            if not folder.is_dir():
                continue
            with contextlib.suppress(FileNotFoundError):  # it is being replaced: the next look finds it
                found = files_of(folder)
                files = {f"{name}/{inside}": path for inside, path in found.items()}
                look = {inside: _look(path) for inside, path in files.items()}
                if files and self._sent.get(name) != look:
                    seal = seal_folder(folder, found)
                    if self._seals.get(name + SEAL) != seal:
                        self._seals.pop(name + SEAL, None)
                        send_sealed(self.store, self.address, files, name + SEAL, seal, title)
                    self._seals[name + SEAL], self._sent[name] = seal, look

    def _changed(self, name: str, files: dict[str, Path]) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return name in files and self._sent.get(name) != _look(files[name])
        return False

    def _send_plain(self, files: dict[str, Path]) -> None:
        for name in sorted(files, key=lambda each: (each != RECORD, each)):
            if self._changed(name, files):
                with contextlib.suppress(FileNotFoundError):
                    look = _look(files[name])
                    self.store.put(files[name], self.address.child(name))
                    self._sent[name] = look
                    if name.startswith(ERRORS):
                        self._errors.add(name)


class Mirror:
    """Keeps folders in step with a store until it is closed; holds the lease meanwhile.

    Args:
        folders: the run's own last, behind what it begins from.
        lease: that is held.
    """

    def __init__(self, folders: Sequence[FolderMirror], lease: Lease):
        self.folders, self.lease = folders, lease
        self.address = folders[-1].address
        self.problem = ""
        """Why the store does not have all; empty where it has."""
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self.lease.keep()
        self._thread.start()

    def close(self, pauses: Sequence[float] | None = None) -> str:
        """Write what is missing, and give the lease back.

        Args:
            pauses: seconds between attempts; None: ``LAST_PAUSES``.

        Returns:
            Why the store does not have all; empty where it has.
        """
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        for pause in (*(LAST_PAUSES if pauses is None else pauses), None):
            self._sync(all_of_it=True)
            if not self.problem or self._lost or pause is None:
                break
            log.warning("%s Tried again in %g s.", self.problem, pause)
            time.sleep(pause)
        if not self._lost:
            with contextlib.suppress(StoreError):
                self.lease.release()
        return self.problem

    def abandon(self) -> None:
        """Give the lease back and write nothing."""
        with contextlib.suppress(StoreError):
            self.lease.release()

    def _run(self) -> None:
        pause = LOOK_SECONDS
        while not self._ended.wait(pause):
            before = self.problem
            self._sync()
            if self._lost:
                log.error("%s Training goes on; nothing more of it is written there.", self.problem)
                return
            pause = min(2 * max(pause, LOOK_SECONDS), MAX_PAUSE) if self.problem else LOOK_SECONDS
            if self.problem and not before:
                log.warning("%s Training goes on; it is tried again.", self.problem)
            elif before and not self.problem:
                log.info("%s is in step again.", self.address)

    def _sync(self, *, all_of_it: bool = False) -> None:
        if self._lost:
            return
        try:
            if holder := self.lease.lost or self.lease.renew(2 * RENEW_SECONDS):
                self._lost = True
                self.problem = f"{self.address}: taken over by {holder}."
                return
            for each in self.folders:
                each.sync(all_of_it=all_of_it)
            self.problem = ""
        except (StoreError, OSError) as error:
            self.problem = str(error)
            if not isinstance(error, Unreachable | Damaged):
                log.debug("mirror", exc_info=True)
        except Exception as error:  # whatever it is, training must not end of it
            self.problem = f"{self.address}: {type(error).__name__}: {error}"
            log.error("%s", self.problem, exc_info=True)


def _step(name: str) -> int:
    found = CHECKPOINT.fullmatch(name)
    assert found is not None
    return int(found["step"])


def _parent(address: Address, name: str) -> Address:
    folder = name.rpartition("/")[0]
    return address.child(folder) if folder else address


def _is_sealed(name: str) -> bool:
    top = name.split("/")[0]
    return (
        top in (*FOLDERS, "checkpoints")
        or CHECKPOINT.fullmatch(name) is not None
        or re.match(r"step-\d{9}\.ckpt(/|$)", name) is not None
    )


def _look(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
