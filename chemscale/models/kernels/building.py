"""Libraries in C++ of ours: compiled once on a machine, checked, loaded. It needs no torch."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from chemscale.common.files import atomic_path
from chemscale.common.locks import make_once
from chemscale.common.paths import cache_folder

log = logging.getLogger(__name__)

SECONDS = 120
"""A compiler that takes longer is given up."""


def find_compiler() -> list[str] | None:
    """Path and arguments: CXX may hold some, as in ``ccache g++``; None where there is none, or no Linux."""
    if not sys.platform.startswith("linux"):
        return None
    named = os.environ.get("CXX", "").split()
    for name, *arguments in [named] if named else [["g++"], ["clang++"], ["c++"]]:
        if path := shutil.which(name):
            return [path, *arguments]
    return None


def made_or_loaded(
    compiler: Sequence[str],
    source: Path,
    flags: Sequence[str],
    declare: Callable[[ctypes.CDLL], None],
    is_right: Callable[[ctypes.CDLL], bool],
) -> ctypes.CDLL:
    """The library for a source, compiler and processor; other processors of a cluster have their own.

    It is kept only once it loads and computes rightly, and is made again where the file is not as it was.

    Args:
        compiler: with its first arguments.
        source: one file.
        flags: of the compiler.
        declare: writes down what the functions take; raises AttributeError where one is missing.
        is_right: whether they compute rightly.

    Raises:
        OSError: it cannot be made, loaded or believed.
        subprocess.SubprocessError: the compiler failed.
    """
    version = _run([*compiler, "--version"])
    what = "\0".join([source.read_text(), *compiler, version, *flags, _processor()])
    folder = cache_folder() / "kernels"
    path = folder / f"{source.stem}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.so"
    with contextlib.suppress(FileNotFoundError):
        if not _is_whole(path):
            path.unlink()
    with make_once(path, folder) as mine:
        if not mine:
            return _loaded(path, declare, is_right)
        log.info("Compiling %s for this CPU, once: some seconds.", source.name)
        with atomic_path(path) as partial:
            _run([*compiler, *flags, str(source), "-o", str(partial)])
            library = _loaded(partial, declare, is_right)
            with open(partial, "ab") as file:
                file.write(hashlib.sha256(partial.read_bytes()).digest())
        return library


def reason_of(error: Exception) -> str:
    """What a compiler or the system said, for people."""
    return str(getattr(error, "stderr", None) or error).strip()


def _run(command: Sequence[str]) -> str:
    """What a command prints."""
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=True, timeout=SECONDS
    ).stdout


def _is_whole(path: Path) -> bool:
    """Whether a library ends with the digest of the rest: a shortened one would end the process."""
    content = path.read_bytes()
    return content[-32:] == hashlib.sha256(content[:-32]).digest()


def _loaded(
    path: Path, declare: Callable[[ctypes.CDLL], None], is_right: Callable[[ctypes.CDLL], bool]
) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    try:
        declare(library)
    except AttributeError as error:
        raise OSError(str(error)) from None
    if not is_right(library):
        raise OSError(f"{path} computes wrong numbers")
    return library


def _processor() -> str:
    """Name and instruction sets of the first processor."""
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    return platform.machine() + "".join(x for x in lines if x.startswith(("model name", "flags", "Features")))
