"""Reading damaged files in a child process: what it raised, whether it hung, died or took all memory."""

import contextlib
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.fuzzing.mutations import mutate
from tests.helpers.fuzzing.readers import READERS
from tests.helpers.fuzzing.strange_arrays import strange_h5, strange_npz

SECONDS = 20.0
"""In which a small damaged file must be read or refused."""
MEMORY = 2 << 30
"""Bytes beside what the process had."""


@dataclass
class Tally:
    """What became of cases.

    Args:
        cases: that were run.
        read: files that were read, whole or with counted drops.
        refused: files that were refused by an error of the project's own.
        faults: everything else: (seed, case, mutation, what happened).
        messages: one of each kind of refusal.
    """

    cases: int = 0
    read: int = 0
    refused: int = 0
    faults: list = field(default_factory=list)
    messages: Counter = field(default_factory=Counter)


class Hang(BaseException):
    """A file on which a reader works too long."""


def damaged(seed, case, salt):
    """Content of a case, and what was done to it."""
    generator = random.Random(f"{salt}/{seed.reader}/{seed.name}/{case}")
    if case == 0:
        return seed.content, "whole"
    if seed.kind in ("npz", "h5"):
        if generator.random() < 0.6:
            return (strange_npz if seed.kind == "npz" else strange_h5)(generator, seed.content)
        return mutate(generator, seed.content, "binary")
    return mutate(generator, seed.content, seed.kind)


def one(seed, case, salt, folder):
    """Run a case here.

    Returns:
        "read" | "refused" | a fault in words; and the message of a refusal.
    """
    content, how = damaged(seed, case, salt)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in seed.beside:
        (folder / name).write_bytes(text)
    path = folder / seed.name
    path.write_bytes(content)
    read, errors = READERS[seed.reader]
    started = time.monotonic()
    try:
        problem = read(path)
    except errors as error:
        text = str(error)
        if case == 0:
            return how, f"a whole file is refused: {text[:300]}", ""
        if not any(name in text for name in (path.name, path.name.split("-")[0])):
            return how, f"refused without the name of the file: {text[:300]}", ""
        if len(text) > 4000:
            return how, f"a message of {len(text)} characters: {text[:200]}", ""
        return how, "refused", text
    except Hang:
        return how, "hangs: " + "".join(traceback.format_exc().splitlines(keepends=True)[-8:]), ""
    except BaseException as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/chemscale/" in f.filename][-3:]
        last = " > ".join(f"{f.filename.split('/chemscale/')[-1]}:{f.lineno} {f.name}" for f in frames)
        return how, f"{type(error).__name__} at {last}: {str(error)[:300]}", ""
    if case == 0 and problem is None:
        return how, "read", ""
    if time.monotonic() - started > SECONDS:
        return how, "too slow", ""
    return how, problem or "read", ""


def run(seed, cases, salt, folder):
    """Run cases of one file, in children that may die.

    Args:
        seed: the file.
        cases: numbers of them.
        salt: of their randomness.
        folder: for the damaged files.
    """
    tally, left = Tally(), list(cases)
    while left:
        for case, how, what, message in _child(seed, left, salt, folder):
            left.remove(case)
            tally.cases += 1
            if what in ("read", "refused"):
                setattr(tally, what, getattr(tally, what) + 1)
                if message:
                    tally.messages[re.sub(r"\d+", "0", message)[:200]] += 1
            else:
                tally.faults.append((seed, case, how, what))
    return tally


def _child(seed, cases, salt, folder):
    """Outcomes of cases; the last is a death where the child died."""
    end, begin = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        _work(seed, cases, salt, folder, begin)
    os.close(begin)
    done, text, died = 0, b"", False
    while True:
        ready, _, _ = select.select([end], [], [], 3 * SECONDS)
        if not ready:  # stuck where no signal is seen
            os.kill(child, signal.SIGKILL)
        got = os.read(end, 1 << 16)
        text += got
        *lines, text = text.split(b"\n")
        for line in lines:
            done += 1
            yield json.loads(line)
        if not got:
            break
    os.close(end)
    _, status = os.waitpid(child, 0)
    died = os.waitstatus_to_exitcode(status)
    if done < len(cases):
        yield cases[done], damaged(seed, cases[done], salt)[1], f"the process died ({died})", ""


def _work(seed, cases, salt, folder, pipe):
    def ring(*_):
        raise Hang

    with contextlib.suppress(ValueError, OSError):
        held = int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10
        resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, ring)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)  # libraries that complain in C
    try:
        for case in cases:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            outcome = one(seed, case, salt, folder)
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.write(pipe, json.dumps([case, *outcome]).encode() + b"\n")
    finally:
        os._exit(0)
