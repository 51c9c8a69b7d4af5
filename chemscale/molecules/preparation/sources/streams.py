"""Files opened to their bytes or their text: compression, archives, byte order marks and encodings."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

import pyarrow as pa

from chemscale.common.files import is_web_page
from chemscale.common.logs import brief
from chemscale.molecules.preparation.sources.files import is_data
from chemscale.molecules.preparation.sources.long_lines import BoundedLines

MAGIC = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\0", "zst": b"\x28\xb5\x2f\xfd", "zip": b"PK"}
NAMES = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": "Zstandard", "zip": "zip"}
MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
DAMAGE = (
    EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, struct.error,
    pa.ArrowException,
)  # fmt: skip
"""What decompressors raise for a file that is cut short or damaged."""


MAX_LINE = 64 << 20
"""Bytes of a line at most; a row of ten is a molecule that is too long, and counted as such."""


class SourceError(ValueError):
    """A file that is not a file of molecules; the message names what was seen and what to do."""


class EmptySourceError(SourceError):
    """A file without a row: of a folder it is passed over."""


@dataclass(frozen=True)
class Entry:
    """A file of molecules, or a member of a zip archive.

    Args:
        path: of the file.
        member: name within the archive; None for a file that is none.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    @property
    def kind(self) -> str:
        """What the suffix says the content is, in lower case, compression left aside."""
        names = [self.path.name] if self.member is None else [self.member, self.path.name]
        for name in names:
            kinds = [s.lower().lstrip(".") for s in PurePosixPath(name).suffixes]
            while kinds and kinds[-1] in MAGIC:
                kinds.pop()
            if kinds:
                return kinds[-1]
        return ""


def entries(path: Path) -> list[Entry]:
    """The files of molecules in a file: itself, or the members of a zip archive.

    Args:
        path: of the file.

    Raises:
        SourceError: there is no such file, or an archive that cannot be read.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file.")
    with open(path, "rb") as raw:
        begin = raw.read(4)
    if begin[:2] != MAGIC["zip"] and path.suffix.lower() != ".zip":
        return [Entry(path)]
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (*DAMAGE, UnicodeDecodeError) as error:
        raise _damaged(path, "zip", error) from None
    if not all(info.filename for info in infos):
        raise _damaged(path, "zip", "a member without a name")
    if any(info.filename == "[Content_Types].xml" for info in infos):
        raise SourceError(f"{path}: an office document. Save the sheet as CSV.")
    chosen = [info for info in infos if not info.is_dir() and is_data(PurePosixPath(info.filename))]
    if not chosen:
        raise SourceError(f"{path}: a zip archive without a file of molecules.")
    for info in chosen:
        if info.flag_bits & 1:
            raise SourceError(f"{path}: {info.filename} is encrypted. Unpack the archive first.")
    return [Entry(path, info.filename) for info in sorted(chosen, key=lambda info: info.filename)]


def _damaged(where: object, kind: str, error: object) -> SourceError:
    return SourceError(
        f"{where}: not a readable {NAMES.get(kind, kind)} file ({brief(error)}). It may have been cut "
        "short when it was copied: fetch it again. No row of it is used."
    )


@contextmanager
def open_bytes(entry: Entry) -> Iterator[io.BufferedReader]:
    """Content of a file with every compression taken off.

    Damage that shows while the content is read is refused too.

    Args:
        entry: the file.

    Raises:
        SourceError: the file is cut short or damaged, or another archive.
    """
    with ExitStack() as stack:
        kind = ""
        try:
            if entry.member is None:
                stream = stack.enter_context(open(entry.path, "rb"))
                suffix = entry.path.suffix.lower().lstrip(".")
            else:
                kind = "zip"
                archive = stack.enter_context(zipfile.ZipFile(entry.path))
                member = stack.enter_context(_opened(archive, entry))
                stream = io.BufferedReader(cast(io.RawIOBase, member))
                suffix = PurePosixPath(entry.member).suffix.lower().lstrip(".")
            while found := _compression(stream, suffix, entry):
                kind, suffix = found, ""
                stream = io.BufferedReader(cast(io.RawIOBase, _decompressed(stream, found)), 1 << 20)
            if stream.peek(512)[257:262] == b"ustar":
                raise SourceError(f"{entry}: a tar archive. Unpack it and give the folder.")
            yield stream
        except DAMAGE as error:
            if not kind:
                raise
            raise _damaged(entry, kind, error) from None


def _opened(archive: zipfile.ZipFile, entry: Entry) -> IO[bytes]:
    """The member of an archive that is read."""
    assert entry.member is not None
    try:
        return archive.open(entry.member)
    except UnicodeDecodeError as error:  # its name is written a second time before its content
        raise _damaged(entry, "zip", error) from None


def _compression(stream: io.BufferedReader, suffix: str, entry: Entry) -> str | None:
    begin = stream.peek(8)
    for kind, magic in MAGIC.items():
        if kind != "zip" and begin.startswith(magic):
            return kind
    if begin.startswith(b"PK\x03\x04"):
        raise SourceError(f"{entry}: a zip archive within an archive. Unpack it first.")
    if suffix in MAGIC and suffix != "zip" and begin:
        raise _damaged(entry, suffix, "it does not begin as one; rename it if it is not compressed")
    return None


def _decompressed(stream: io.BufferedReader, kind: str) -> object:
    if kind == "gz":
        return gzip.GzipFile(fileobj=stream)
    if kind == "bz2":
        return bz2.BZ2File(stream)
    if kind == "xz":
        return lzma.LZMAFile(stream)
    return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")


def text_encoding(entry: Entry, encoding: str | None) -> str:
    """Encoding of a text file: what is given, else what its byte order mark says, else UTF-8.

    Args:
        entry: the file.
        encoding: that is given; None for none.

    Raises:
        SourceError: the file is binary.
    """
    with open_bytes(entry) as stream:
        begin = stream.peek(4096)[:4096]
    marked = next((name for mark, name in MARKS.items() if begin.startswith(mark)), None)
    if is_web_page(begin):
        raise SourceError(
            f"{entry}: a page of the web, which the server sent in place of the file. Fetch it again, or "
            "save the table itself."
        )
    if encoding is not None:
        same = encoding.lower().replace("_", "-").replace("utf8", "utf-8")
        return "utf-8-sig" if same == "utf-8" else encoding
    if marked is not None:
        return marked
    if b"\0" in begin:
        for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            half = begin[offset::2]
            if len(half) > 8 and half.count(0) > 0.9 * len(half) > begin[1 - offset :: 2].count(0):
                raise SourceError(f"{entry}: this looks like UTF-16. Say so with data.encoding={name}.")
        odd = sum((byte < 32 and byte not in b"\t\n\v\f\r") or byte == 127 for byte in begin)
        if odd > 0.3 * len(begin) or not _utf8(begin):
            raise SourceError(f"{entry}: a binary file, not a file of molecules.")
    return "utf-8-sig"


def _utf8(begin: bytes) -> bool:
    try:
        begin[: max(0, len(begin) - 4)].decode()
    except UnicodeDecodeError as error:
        return error.end >= len(begin) - 8
    return True


@contextmanager
def open_text(entry: Entry, encoding: str, *, lines: bool = True) -> Iterator[IO[str]]:
    r"""Text of a file whose lines end with ``\n``, ``\r\n`` or ``\r`` and with nothing else.

    Args:
        entry: the file.
        encoding: of the text.
        lines: whether it is read by lines, none of which may then have more than ``MAX_LINE`` bytes.

    Raises:
        SourceError: a line is not of the encoding or too long, or the file is damaged.
    """
    try:
        with open_bytes(entry) as stream:
            # What holds the text must live as long as it, and closes nothing.
            yield io.TextIOWrapper(_bounded(entry, stream) if lines else stream, encoding=encoding)
    except UnicodeError:
        raise SourceError(_undecodable(entry, encoding)) from None


def _bounded(entry: Entry, stream: IO[bytes]) -> IO[bytes]:
    def error(line: int) -> SourceError:
        return SourceError(
            f"{entry}, line {line}: more than {MAX_LINE >> 20} MiB without an end of the line. No row of a "
            "table is as long: this is another kind of file, or its ends of lines were lost."
        )

    return cast("IO[bytes]", BoundedLines(stream, MAX_LINE, error))


def _undecodable(entry: Entry, encoding: str) -> str:
    """Name the first line that is not of an encoding."""
    shown = encoding.removesuffix("-sig").upper()
    out = "Name the encoding of the file with data.encoding=cp1252 (Windows), latin-1 or utf-16."
    if encoding.startswith(("utf-16", "utf-32")):
        return f"{entry}: not {shown}. {out}"
    with open_bytes(entry) as stream:
        for number, line in enumerate(io.TextIOWrapper(_bounded(entry, stream), "latin-1"), start=1):
            try:
                line.encode("latin-1").decode(encoding)
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                seen = line.strip()[max(0, error.start - 30) : error.start + 30]
                return f"{entry}, line {number}: byte 0x{byte:02X} is not {shown} (in {seen!r}). {out}"
    return f"{entry}: not {shown}. {out}"
