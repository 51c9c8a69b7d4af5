"""Who does which task of a build: one process all of them, or each of several what no other has claimed.

A claim is a symbolic link to the name of its process: made in one step or refused, on every file system of a
cluster. There is no plan of who does what: whoever is free takes the next task that is neither done nor
claimed, so that processes may begin late, be slower, or go. What a dead process had claimed is taken over.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import TypeVar

from chemscale.common.files import read_regular, write_json
from chemscale.common.parallel import ordered_map
from chemscale.molecules.corpus import MANIFEST, CorpusError
from chemscale.molecules.preparation.sharing.members import Members

log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

FINISH = "finish"
"""The task of making the corpus of what all have left."""
POLL_SECONDS = 1.0
"""How often a process that has nothing to do looks whether others are done."""
SAID_EVERY = 30.0
"""Seconds between lines of a log on what is waited for."""
ALONE_ERRORS = (BrokenExecutor, MemoryError)
"""What ends one process and need not end the others: its machine is taken away, or has too little memory."""


def is_listed(path: Path) -> bool:
    """Whether a file is there now: a network file system may answer from what it saw some time ago, but not
    to who opens the folder.

    Args:
        path: of the file.
    """
    try:
        return path.name in os.listdir(path.parent)
    except OSError:
        return False


class CompleteError(Exception):
    """Another process has made the corpus meanwhile: there is nothing left to do."""


class Alone:
    """A build that is one process's own.

    Attributes:
        joined: whether it had a part in the build: the corpus was not complete.
        finished: whether it has made the corpus of what all have left.
        done: tasks that it did.
    """

    joined = finished = False
    done = 0

    def begin(self, folder: Path, target: Path) -> None:
        """Join the build.

        Args:
            folder: of the build.
            target: of the corpus.
        """

    def claim(self, name: str) -> bool:
        """Whether this process does a task.

        Args:
            name: of the task.
        """
        return True

    def release(self, name: str) -> None:
        """Let go of a task that is done."""

    def holds(self, name: str) -> bool:
        """Whether a task that this process has claimed is still its own: it may have been taken for dead.

        Args:
            name: of the task.
        """
        return True

    def check(self) -> None:
        """See whether there is still something to do.

        Raises:
            CompleteError: another process has made the corpus.
            CorpusError: another process has failed in a way that would meet this one too.
        """

    def wait(self, what: str) -> None:
        """Let others work for a moment; raises as ``check``.

        Args:
            what: is waited for.
        """

    def staging(self, target: Path) -> Path:
        """Folder for files of a corpus before its manifest is written: here its own.

        Asked for once each time that ``FINISH`` was claimed.

        Args:
            target: of the corpus.
        """
        return target

    def give_up(self, target: Path, error: Exception) -> None:
        """Remove a build that can never become a corpus.

        Args:
            target: of the corpus.
            error: that says why.
        """
        shutil.rmtree(target)

    def fail(self, error: Exception) -> None:
        """Let others know that this process has failed."""

    def end(self) -> None:
        """Leave the build."""


class Shared(Alone):
    """A build that other processes have a part in.

    Args:
        title: of this process, for people.
        session: the start of all of them, whose failure concerns this one; None where that is not known.
    """

    def __init__(self, title: str, session: str | None = None):
        self.title, self.session = title, session
        self._folder = self._target = Path()
        self._members: Members | None = None
        self._held: set[str] = set()
        self._said = 0.0

    def begin(self, folder: Path, target: Path) -> None:
        self.joined = True
        self._folder, self._target = folder / "sharing", target
        self._held.clear()
        (self._folder / "claims").mkdir(parents=True, exist_ok=True)
        if (note := self._failure()) and (self.session is None or note.get("session") != self.session):
            self._note.unlink(missing_ok=True)  # of an earlier start
        self._members = Members(self._folder / "members")
        others = self._members.others()
        log.info("%s has a part in preparing %s, beside %d that have begun.", self.title, target, others)

    def claim(self, name: str) -> bool:
        path = self._folder / "claims" / name
        for _ in range(2):
            try:
                os.symlink(self._me.name, path)
            except FileExistsError:
                if not self._steal(path):
                    return False
                continue
            self._held.add(name)
            return True
        return False

    def release(self, name: str) -> None:
        self._held.discard(name)
        if self.holds(name):  # else it is another's by now
            with contextlib.suppress(OSError):
                (self._folder / "claims" / name).unlink()

    def holds(self, name: str) -> bool:
        try:
            return os.readlink(self._folder / "claims" / name) == self._me.name
        except OSError:
            return False

    def check(self) -> None:
        if (self._target / MANIFEST).exists():
            raise CompleteError
        if note := self._failure():
            raise CorpusError(f"{note.get('message')} ({note.get('who')} met this; all end with it.)")

    def wait(self, what: str) -> None:
        self.check()
        now = time.monotonic()
        if now - self._said > SAID_EVERY:
            self._said = now
            log.info("Waiting for %s of other processes.", what)
        time.sleep(POLL_SECONDS)

    def staging(self, target: Path) -> Path:
        # Its own: one that was taken for dead may still write, and its shards would be cut under others.
        left = list(self._folder.glob("corpus-*"))
        if self.holds(FINISH):  # else one of them may be of who took it over
            for path in left:
                owner = path.name.removeprefix("corpus-").rpartition(".")[0]
                if owner == self._me.name or not self._me.is_alive(owner):
                    shutil.rmtree(path, ignore_errors=True)
        folder = self._folder / f"corpus-{self._me.name}.{secrets.token_hex(3)}"
        folder.mkdir()
        return folder

    def give_up(self, target: Path, error: Exception) -> None:
        self.fail(error)
        keep = self._folder.parent
        for path in [*target.iterdir(), *keep.iterdir()]:
            if path in (keep, self._folder):
                continue  # others must be able to read the note
            # Others that have not read it yet still write and remove files.
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def fail(self, error: Exception) -> None:
        if not isinstance(error, (CompleteError, *ALONE_ERRORS)) and self._failure() is None:
            with contextlib.suppress(OSError):
                write_json(self._note, {"message": str(error), "who": self.title, "session": self.session})

    def end(self) -> None:
        if self._members is None:
            return
        log.info("%s did %d pieces of the work (chunks, runs, buckets).", self.title, self.done)
        for name in sorted(self._held):
            self.release(name)
        self._members.close()
        self._members = None

    @property
    def _me(self) -> Members:
        assert self._members is not None, "begin() first"
        return self._members

    @property
    def _note(self) -> Path:
        return self._folder / "failed.json"

    def _failure(self) -> dict[str, str] | None:
        """What a process that failed has left; None where none has."""
        try:
            note = json.loads(read_regular(self._note))
        except (OSError, ValueError):
            return None
        return note if isinstance(note, dict) else None

    def _steal(self, path: Path) -> bool:
        """Take away the claim of a process that is dead, if it is; whether it may be claimed now."""
        try:
            owner = os.readlink(path)
        except FileNotFoundError:
            return True  # released meanwhile
        if owner == self._me.name:  # a network file system may repeat what it has done already
            path.unlink(missing_ok=True)
            return True
        if self._me.is_alive(owner):
            return False
        taken = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(FileNotFoundError):  # another was faster
            if os.readlink(path) != owner:
                return False
            os.rename(path, taken)
            taken.unlink()
            log.info("%s: %s is gone, this process takes it over.", path.name, owner)
        return True


def _nothing(_: object) -> None:
    """For a caller that does not ask."""


def map_claimed(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    work: Alone,
    name: Callable[[Task], str],
    passed_over: Callable[[Task], None] = _nothing,
) -> Iterator[Result]:
    """Run the tasks that this process can claim; each claim is let go when its task is done.

    Args:
        function: of one task, as for ``ordered_map``.
        tasks: that are not done, drawn one by one.
        workers: processes.
        work: of this process in the build.
        name: of a task.
        passed_over: called with each task that another process has claimed.

    Yields:
        The result of each task that it claimed, in order.
    """
    held: collections.deque[str] = collections.deque()

    def claimed() -> Iterator[Task]:
        for task in tasks:
            work.check()
            if work.claim(name(task)):
                held.append(name(task))
                yield task
            else:
                passed_over(task)

    for result in ordered_map(function, claimed(), workers):
        work.done += 1
        work.release(held.popleft())
        yield result


def map_until_done(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    work: Alone,
    name: Callable[[Task], str],
    is_done: Callable[[Task], bool],
    passed_over: Callable[[Task], None] = _nothing,
) -> Iterator[Result]:
    """Run tasks of a stage until all of them are done, here or by others.

    Args:
        function: of one task, as for ``ordered_map``.
        tasks: of the stage.
        workers: processes.
        work: of this process in the build.
        name: of a task.
        is_done: whether what a task leaves is there.
        passed_over: called once with each task that was done or is claimed by another process.

    Yields:
        Results of the tasks that this process did.
    """
    missing = list(tasks)
    while missing:
        yield from map_claimed(
            function, _not_done(missing, is_done, passed_over), workers, work, name, passed_over
        )
        passed_over = _nothing
        missing = [task for task in missing if not is_done(task)]
        if missing:
            more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
            work.wait(f"{name(missing[0])}{more}")


def _not_done(
    tasks: Iterable[Task], is_done: Callable[[Task], bool], passed_over: Callable[[Task], None]
) -> Iterator[Task]:
    for task in tasks:
        if is_done(task):
            passed_over(task)
        else:
            yield task
