"""Records of text that name their fields: JSON lines and documents, and molecules of SDF files."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from chemscale.common.logs import brief
from chemscale.molecules.preparation.sources.streams import MAX_LINE, Entry, SourceError, open_text

Row = list[str] | dict[str, str]
"""Cells by number, or by the path of their key."""
MAX_ITEMS = 50
"""Items of a list within a JSON record that can be named."""
FIELD = re.compile(r">.*<([^>]+)>")
PROBED_LINES = 20_000
PROBED_LINE = 1 << 20
"""Characters of a first line by which arrays, which may be one line of any length, are told from records."""
MAX_DOCUMENT = 1 << 30
"""Characters of a JSON document that is neither an array nor lines, and is held whole."""
NAMED = re.compile("smiles|selfies|molecule|structure", re.IGNORECASE)
"""Keys of one record, not names of molecules."""


class JsonFile:
    """JSON lines, an array, or a document that holds a list of records or of columns.

    Nested keys are named by their path, as in ``structure.smiles``.

    Args:
        entry: the file.
        encoding: of its text.
    """

    names: list[str] | None = None

    def __init__(self, entry: Entry, encoding: str):
        self.entry, self.encoding, self.lines = entry, encoding, 0

    def rows(self, column: int | str | None = None) -> Iterator[tuple[int, Row]]:
        """Number from 1 of the line, or of the record in an array or a document, and the record.

        Args:
            column: is not needed.

        Raises:
            SourceError: something is not JSON, or holds no records.
        """
        self.lines = 0
        first, second = self._first_lines()
        value = _parsed(first)
        by_line = value is not None and (second is not None or not isinstance(value, list | dict))
        # Where the second line is JSON and the first is not, the first is named.
        by_line = by_line or (value is None and not _opens(first) and _parsed(second or "") is not None)
        with open_text(self.entry, self.encoding, lines=by_line) as file:
            if by_line:
                yield from self._lines(file)
                return
            items = self._items(file) if _opens(first) else iter(self._document(file))
            for number, item in enumerate(items, start=1):
                yield number, self._flat(item, f"record {number}")

    def _first_lines(self) -> tuple[str, str | None]:
        """The first two lines that are not blank, the first one cut where it is a whole file."""
        with open_text(self.entry, self.encoding, lines=False) as file:
            pieces = iter(lambda: file.readline(PROBED_LINE), "")
            first = next((piece for piece in pieces if piece.strip()), "")
            if len(first) == PROBED_LINE and not _opens(first):
                first += file.readline(MAX_LINE)
            whole = first.endswith("\n")
            return first, next((piece for piece in pieces if piece.strip()), None) if whole else None

    def _flat(self, item: Any, where: str) -> Row:
        try:
            return _flat(item)
        except RecursionError:
            raise SourceError(f"{self.entry}, {where}: nested too deeply for a record.") from None

    def _lines(self, file: IO[str]) -> Iterator[tuple[int, Row]]:
        for number, line in enumerate(file, start=1):
            self.lines = number
            if not line.strip():
                yield number, {}
                continue
            try:
                value = json.loads(line)
            except (json.JSONDecodeError, RecursionError, ValueError) as error:
                raise SourceError(
                    f"{self.entry}, line {number}: not JSON ({brief(error)}); one record a line."
                ) from None
            yield number, self._flat(value, f"line {number}")

    def _items(self, file: IO[str]) -> Iterator[Any]:
        """Items of an array, one after another, in bounded memory."""
        decoder, size, number = json.JSONDecoder(), 1 << 16, 1
        text = file.read(size).lstrip()[1:]
        while True:
            text = text.lstrip(", \t\n") if number > 1 else text.lstrip()
            if text.startswith("]"):
                return
            try:
                item, end = decoder.raw_decode(text)
            except (ValueError, RecursionError) as error:
                more = file.read(max(size, len(text))) if len(text) < MAX_LINE else ""
                if not more:
                    raise SourceError(
                        f"{self.entry}: record {number} of the array is not JSON, or the file was cut short "
                        f"({brief(error)})."
                    ) from None
                text += more
                continue
            if end == len(text) and (more := file.read(size)):
                text += more  # a number may go on
                continue
            yield item
            text, number = text[end:], number + 1

    def _document(self, file: IO[str]) -> list[Any]:
        pieces = iter(lambda: file.read(1 << 20), "")
        text = "".join(itertools.islice(pieces, (MAX_DOCUMENT >> 20) + 1))
        if len(text) > MAX_DOCUMENT:
            raise SourceError(
                f"{self.entry}: one JSON document of more than {MAX_DOCUMENT >> 20} MiB. Write one record a "
                "line, which is read line by line."
            )
        try:
            document = json.loads(text)
            if not isinstance(document, dict):
                raise ValueError(f"a document of {type(document).__name__}, which holds no records")
            return _records(document)
        except (ValueError, RecursionError) as error:
            raise SourceError(
                f"{self.entry}, line {getattr(error, 'lineno', 1)}: not JSON ({brief(error)})."
            ) from None


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # the first also of a number of thousands of digits
        return None


def _opens(line: str) -> bool:
    """Whether a first line begins an array."""
    return line.lstrip().startswith("[")


def _records(document: Any) -> list[Any]:
    """Records of a document: its longest list of records, or a table by columns or by names."""
    if isinstance(document.get("columns"), list) and isinstance(document.get("data"), list):
        return [dict(zip(document["columns"], row, strict=False)) for row in document["data"]]
    lists: list[tuple[str, list[Any]]] = []
    columns = {key: value for key, value in document.items() if _is_list(value, str)}
    _find_lists(document, "", lists)
    if lists:
        prefix, records = max(lists, key=lambda found: len(found[1]))
        for part in reversed(prefix.split(".")):
            records = [{part: record} for record in records]
        return records
    if columns:
        rows = itertools.zip_longest(*columns.values())
        return [dict(zip(columns, row, strict=True)) for row in rows]
    plain = len(document) > 1 and all(map(_is_plain, document.values()))
    if plain and not any(NAMED.search(key) for key in document):
        return [{"key": key, "value": value} for key, value in document.items()]
    inner = [value for value in document.values() if isinstance(value, dict)]
    if len(inner) == len(document):
        if all(all(key.isdigit() for key in value) for value in inner):
            keys = list(dict.fromkeys(key for value in inner for key in value))
            return [{name: value.get(key) for name, value in document.items()} for key in keys]
        return inner
    return [document]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _find_lists(value: Any, path: str, found: list[tuple[str, list[Any]]]) -> None:
    for key, item in value.items():
        below = f"{path}.{key}" if path else str(key)
        if _is_list(item, dict):
            found.append((below, item))
        elif isinstance(item, dict):
            _find_lists(item, below, found)


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and any(isinstance(item, kind) for item in value[:MAX_ITEMS])


def _flat(value: Any) -> Row:
    """Text of a record's fields by the path of their keys; of a bare list by number."""
    if isinstance(value, list):
        return [text_of(item) for item in value]
    if not isinstance(value, dict):
        return [text_of(value)]
    fields: dict[str, str] = {}
    _flatten(value, "", fields)
    return fields


def _flatten(value: dict[str, Any], path: str, fields: dict[str, str]) -> None:
    for key, item in value.items():
        name = f"{path}{key}"
        if isinstance(item, list) and item and isinstance(item[0], dict | str):
            item = {str(i): part for i, part in enumerate(item[:MAX_ITEMS])}
        if isinstance(item, dict):
            _flatten(item, f"{name}.", fields)
        elif not isinstance(item, list):
            fields[name] = text_of(item)


def text_of(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value)


class SdfFile:
    """Records of an SDF file, or the one of a MOL file, each as its text.

    Args:
        entry: the file.
        encoding: of its text.
        field: a data field whose text is read instead of the structure; None for the structure.
    """

    names: list[str] | None = None

    def __init__(self, entry: Entry, encoding: str, field: str | None = None):
        self.entry, self.encoding, self.field, self.lines = entry, encoding, field, 0
        self._last: list[str] = []

    def rows(self, column: int | str | None = None) -> Iterator[tuple[int, Row]]:
        """Number of the record from 1, and its one cell.

        Args:
            column: is not needed.

        Raises:
            SourceError: the text cannot be read.
        """
        numbers = itertools.count(1)
        with open_text(self.entry, self.encoding) as file:
            lines: list[str] = []
            size = 0
            for line in file:
                self.lines += 1
                size = 0 if not lines else size + len(line)
                if size > MAX_LINE:
                    raise SourceError(
                        f"{self.entry}, line {self.lines}: a record of more than {MAX_LINE >> 20} MiB "
                        "without its end, $$$$. No molecule is as long: this is another kind of file."
                    )
                if line.startswith("$$$$"):
                    yield next(numbers), [self._content(lines)]
                    lines = []
                else:
                    lines.append(line)
            if any(line.strip() for line in lines):
                yield next(numbers), [self._content(lines)]

    def fields(self) -> list[str]:
        """Names of the data fields of the first records."""
        with open_text(self.entry, self.encoding) as file:
            marks = (FIELD.match(line) for line in itertools.islice(file, PROBED_LINES))
            return list(dict.fromkeys(mark[1] for mark in marks if mark))

    def field_of_last(self, name: str) -> str:
        """Text of a data field of the record that was read last; empty where it has none.

        Args:
            name: of the field.
        """
        mark = f"<{name}>"
        for line, value in itertools.pairwise(self._last):
            if line.startswith(">") and mark in line:
                return value.strip()
        return ""

    def _content(self, lines: list[str]) -> str:
        self._last = lines
        return "".join(lines) if self.field is None else self.field_of_last(self.field)
