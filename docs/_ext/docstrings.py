"""Sections of docstrings as napoleon reads them: a line of its own for each name.

The house writes ``size: bytes. name: of what`` in one line where both are short.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from sphinx.application import Sphinx

SECTION = re.compile(r"^(Args|Raises):$")


def split_names(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """In place: parameters, and errors, that share a line get lines of their own."""
    try:
        known = set(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        known = set()
    found: list[str] = []
    section = ""
    for line in lines:
        if match := SECTION.match(line):
            section = match[1]
        elif line and not line.startswith(" "):
            section = ""
        if section == "Args" and line.startswith("    ") and known:
            names = "|".join(map(re.escape, sorted(known)))
            line = re.sub(rf"(?<=[.;)]) +((?:{names})): ", r"\n    \1: ", line)
        elif section == "Raises":
            line = re.sub(r"(?<=\.) +([A-Z]\w*(?:Error|Exception)): ", r"\n    \1: ", line)
        found += line.split("\n")
    lines[:] = found


_SENTENCES: dict[str, list[str]] = {}


def keep_sentences(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in the docstring of an attribute for its type."""
    if what in ("attribute", "property", "data"):
        _SENTENCES[name] = list(lines)


def restore_sentences(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The docstring of an attribute as it was."""
    if name in _SENTENCES:
        lines[:] = _SENTENCES.pop(name)


def plain_defaults(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A dataclass shows a default that is made for each instance as something that is no Python."""
    return (signature.replace("<factory>", "...") if signature else signature), returns


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", split_names, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", keep_sentences, priority=101)
    app.connect("autodoc-process-docstring", restore_sentences, priority=900)  # after it
    app.connect("autodoc-process-signature", plain_defaults)
    return {"parallel_read_safe": True}
