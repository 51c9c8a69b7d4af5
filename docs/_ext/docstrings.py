"""What Sphinx reads wrongly in Google docstrings: a colon in an attribute's, and defaults of dataclasses."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

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
    """Connect to autodoc."""
    app.connect("autodoc-process-docstring", keep_sentences, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", restore_sentences, priority=900)  # after it
    app.connect("autodoc-process-signature", plain_defaults)
    return {"parallel_read_safe": True}
