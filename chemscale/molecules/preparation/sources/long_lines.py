"""A stream of bytes whose lines have an end: a bomb, or a binary file, would be one line of any size."""

from __future__ import annotations

import io
from typing import IO, Any

CHUNK = 1 << 17
"""Bytes that a text is decoded in at a time."""


class BoundedLines(io.BufferedIOBase):
    """The bytes of a stream, for `io.TextIOWrapper`, until one line has too many of them.

    Args:
        stream: of bytes.
        most: bytes of a line.
        error: makes the error of what number of a line, from 1, is too long.
    """

    def __init__(self, stream: IO[bytes], most: int, error: Any):
        self._stream, self._most, self._error = stream, most, error
        self._lines, self._since = 0, 0

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1) -> bytes:
        """Some bytes, as `io.BufferedReader.read1`."""
        content: bytes = self._stream.read1(CHUNK)  # type: ignore[attr-defined]
        last = max(content.rfind(b"\n"), content.rfind(b"\r"))
        if last < 0:
            self._since += len(content)
            if self._since > self._most:
                raise self._error(self._lines + 1)
        else:
            self._lines += content.count(b"\n")
            self._since = len(content) - last
        return content

    def read(self, size: int | None = -1) -> bytes:
        """All that is left, a piece at a time."""
        return b"".join(iter(self.read1, b"")) if size is None or size < 0 else self.read1(size)
