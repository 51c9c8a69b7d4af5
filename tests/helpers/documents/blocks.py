"""The commands of the documents: fenced blocks, and the comment before each that says how CI treats it.

- ``<!-- needs: WHAT -->``: not executed; what it would need.
- ``<!-- ci: WORDS -->``: executed with WORDS added: those of the form key=value to ``train``, ``prepare`` and
  ``launch submit``, other ones to every other verb. Between bars stand words for each command in turn.
- ``<!-- slurm: WORDS -->``: the same, where CI has a real SLURM (``pytest -m slurm``).
- ``<!-- file: NAME -->``: a file that the reader is told to write; written.
- none: executed word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from markdown_it import MarkdownIt

from tests.helpers.paths import ROOT

FIRST = (
    "docs/tutorial.md",
    "README.md",
    "docs/howto/own-molecules.md",
    "docs/howto/own-dft-data.md",
    "docs/laws.md",
)
"""Read in this order, then all others by name."""
MADE = ("docs/reference", "docs/project", "docs/_build")
COMMANDS = ("bash", "python")
MARKER = re.compile(r"<!--\s*(needs|ci|slurm|file):\s*(.*?)\s*-->\s*$", re.DOTALL)
VERB = re.compile(r"(?:python -m chemscale\.|\bchemscale )([a-z]+)(?: (submit)\b)?")
TAKES_KEYS = ("train", "prepare")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Args:
        path: of the document, from the root. line: of its first fence, from 1.
        marker: needs, ci, slurm, file or empty. said: what the marker says.
    """

    path: str
    line: int
    language: str
    text: str
    marker: str
    said: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"

    @property
    def is_command(self) -> bool:
        return self.language in COMMANDS and self.marker != "file"

    @property
    def is_executed(self) -> bool:
        return self.is_command and self.marker != "needs"

    def lines(self) -> list[str]:
        """Commands of a shell block, continued lines joined; a Python block is one."""
        if self.language == "python":
            return [self.text]
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [s for line in joined.splitlines() if (s := line.strip()) and not s.startswith("#")]

    def script(self) -> str:
        """What is executed."""
        if self.language != "bash":
            return self.text
        lines = self.lines()
        words = self.said.split("|") if self.marker in ("ci", "slurm") else [""]
        if len(words) == 1:
            words = [fitting(line, words[0]) for line in lines]
        return "".join(f"{with_words(line, more)}\n" for line, more in zip(lines, words, strict=True))


def fitting(line: str, words: str) -> str:
    """Of words for all commands of a block those that this one takes."""
    found = VERB.search(line)
    takes_keys = found is not None and (found[1] in TAKES_KEYS or found[2] == "submit")
    return " ".join(word for word in words.split() if bool(re.match(r"[\w.+@]+=", word)) == takes_keys)


def with_words(line: str, words: str) -> str:
    """A command with the words that make it small, before its comment.

    Raises:
        ValueError: several commands in one line, which would leave it open where the words belong.
    """
    if not words.split() or not VERB.search(line):
        return line
    command, comment = re.fullmatch(r"(.*?)(\s+#.*)?", line).groups(default="")  # type: ignore[union-attr]
    if re.search(r"[|;&>]", command):
        raise ValueError(f"{line}: one command a line where words are added")
    return " ".join([command, *words.split()]) + comment


@cache
def documents() -> tuple[str, ...]:
    """Markdown files of the repository, in the order in which their commands are executed."""
    found = [p.relative_to(ROOT).as_posix() for p in ROOT.glob("*.md")]
    for folder in ("docs", "launch", "benchmarks", "docker"):
        found += [p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob("*.md")]
    found = [name for name in found if not name.startswith(MADE)]
    return (*FIRST, *sorted(set(found) - set(FIRST)))


def blocks_of(path: str, text: str) -> Iterator[Block]:
    """Blocks of a document, those in lists too."""
    before = None
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "fence" and token.map:
            marker, said = "", ""
            if before is not None and before.map[1] == token.map[0]:  # type: ignore[index]
                match = MARKER.search(before.content.strip())
                marker, said = (match[1], " ".join(match[2].split())) if match else ("", "")
            language = (token.info.split() or [""])[0]
            yield Block(path, token.map[0] + 1, language, token.content, marker, said)
        before = token if token.type == "html_block" else None


@cache
def all_blocks() -> tuple[Block, ...]:
    """Of all documents."""
    return tuple(block for name in documents() for block in blocks_of(name, (ROOT / name).read_text()))
