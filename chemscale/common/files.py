"""Files and folders that a reader sees whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_PAGE = re.compile(rb"\s*(<!--.*?-->\s*|<\?xml[^>]*\?>\s*)*<(!doctype html|html|head|body)\b", re.I | re.S)
READ_LIMIT = 256 << 20
"""Bytes: more than any record, law or ledger has."""


@contextlib.contextmanager
def atomic_path(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """A temporary path beside `path`, for a writer that takes a path; renamed to it at the end.

    Where what is within it raises, the temporary file goes and `path` stays as it was.

    Args:
        path: where the file is to stand; its folder is made.
        overwrite: whether a file that is there is replaced.

    Raises:
        FileExistsError: `overwrite` is false and `path` exists, even if it came there meanwhile.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: some libraries choose a format by it.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=f".part{path.suffix}")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        if overwrite:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)  # unlike a rename, it never replaces a file
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w", *, overwrite: bool = True) -> Iterator[IO[Any]]:
    """An open file that becomes `path` when the block ends, flushed to the disk first; see ``atomic_path``.

    Args:
        mode: ``w`` (UTF-8) or ``wb``.
    """
    encoding = None if "b" in mode else "utf-8"
    whole = atomic_path(path, overwrite=overwrite)
    with whole as temporary, open(temporary, mode, encoding=encoding) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty folder ``<path>.part`` that takes the place of `path` when the block ends.

    What an earlier, killed writer left there is removed first; where what is within raises, it goes at once.
    A reader may find no folder for the moment between the removal of an old one and the renaming.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk is to have its room again
        raise
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)


@contextlib.contextmanager
def naming_place(path: Path) -> Iterator[None]:
    """Name a place in errors of the file system that name none: a full disk is met by a write, not by a path.

    Args:
        path: that is written below.

    Raises:
        OSError: as it was raised, with the place.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as ``.npy``, so that it is there whole or not at all.

    NumPy's own writer to a file says nothing of a full disk but how many numbers it has written.
    """
    import numpy as np  # who only fetches files has no need of it

    content = io.BytesIO()
    np.save(content, array)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def open_regular(path: Path) -> IO[bytes]:
    """Open a file of bytes for reading, and nothing else: a pipe, a socket or a device may never answer.

    Args:
        path: of the file; links are followed.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    # Asked before it is opened, since opening a device may do something, and after: it may be another now.
    _refuse_irregular(os.stat(path), path)
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _refuse_irregular(os.fstat(file), path)
    except OSError:
        os.close(file)
        raise
    return os.fdopen(file, "rb")


def read_regular(path: Path, limit: int = READ_LIMIT) -> bytes:
    """The bytes of a regular file.

    Args:
        path: of the file.
        limit: bytes above which it is taken for something else.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger than that.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit >> 20} MiB", str(path))
    return content


def _refuse_irregular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def is_web_page(begin: bytes) -> bool:
    """Whether a file is a page of the web: what servers answer in place of a file, under its name.

    Args:
        begin: its first bytes.
    """
    return _PAGE.match(begin.removeprefix(b"\xef\xbb\xbf")) is not None


def read_manifest(path: Path) -> dict[str, Any]:
    """The JSON object of a file.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it holds something else.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("no object of names and values")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it.

    NaN and infinities become null: the file stays JSON that every reader accepts.
    """
    with atomic_write(Path(path)) as file:
        json.dump(_finite(content), file, indent=1, default=str)


def _finite(content: Any) -> Any:
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content


def _umask() -> int:
    # Read where the system tells it: os.umask would set it for all threads for a moment.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o022
