"""Links of the built pages and of Markdown files: ``python -m tests.helpers.documents.links [HTML FOLDER]``.

Internal links and images have to lead to a file, and to an anchor in it. External ones are listed, and their
form is looked at; where there is a network ``sphinx-build -b linkcheck docs docs/_build/linkcheck`` follows
them.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from tests.helpers.documents.blocks import ROOT, documents


@dataclass
class Links:
    """What was found: numbers of internal links, dead ones with where they stand, external addresses."""

    internal: int = 0
    dead: list[str] = field(default_factory=list)
    external: set[str] = field(default_factory=set)
    malformed: list[str] = field(default_factory=list)

    def sort(self, where: str, target: str) -> SplitResult | None:
        """Count a link; its parts where it leads to a file of ours, None where it leads outside."""
        if "://" in target or target.startswith("mailto:"):
            self.add_external(where, target)
            return None
        self.internal += 1
        return urlsplit(target)

    def add_external(self, where: str, address: str) -> None:
        """An address of another host."""
        self.external.add(address)
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and re.fullmatch(r"[\w.-]+\.[a-z]{2,}(:\d+)?", parts.netloc)
        if not known and not re.fullmatch(r"mailto:[^@\s]+@[\w.-]+\.[a-z]{2,}", address):
            self.malformed.append(f"{where}: {address}")


def links_of_html(folder: Path) -> Links:
    """Of every page below a folder of HTML."""
    found = Links()
    for page in sorted(folder.rglob("*.html")):
        soup = BeautifulSoup(page.read_text(), "html.parser")
        where = str(page.relative_to(folder))
        for tag, attribute in (("a", "href"), ("img", "src"), ("link", "href"), ("script", "src")):
            for element in soup.find_all(tag):
                target = str(element.get(attribute) or "")
                if not target or target.startswith(("data:", "javascript:")):
                    continue
                parts = found.sort(where, target)
                if parts is None:
                    continue
                there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                there = there / "index.html" if there.is_dir() else there
                anchor = unquote(parts.fragment)
                if not there.exists() or (anchor and there.suffix == ".html" and anchor not in ids(there)):
                    found.dead.append(f"{where}: {target}")
    return found


@cache
def ids(page: Path) -> frozenset[str]:
    """Anchors of a page of HTML."""
    soup = BeautifulSoup(page.read_text(), "html.parser")
    return frozenset(
        str(element.get(key)) for key in ("id", "name") for element in soup.find_all(attrs={key: True})
    )


def links_of_markdown() -> Links:
    """Of the documents as they lie in the repository, where they are read too."""
    found = Links()
    for name in documents():
        path = ROOT / name
        for target in targets(path.read_text()):
            parts = found.sort(name, target)
            if parts is None:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if there.is_relative_to(ROOT / "docs" / "reference"):  # made when the documentation is built
                continue
            anchors = ("", *(headings(there) if there.suffix == ".md" and there.exists() else ()))
            if not there.exists() or (there.suffix == ".md" and parts.fragment not in anchors):
                found.dead.append(f"{name}: {target}")
    return found


def targets(text: str) -> list[str]:
    """Of links and images of a Markdown text, code left out."""
    inline = [child for token in MarkdownIt("commonmark").parse(text) for child in token.children or ()]
    found = [str(token.attrs.get("href") or token.attrs.get("src") or "") for token in inline]
    return [target for target in found if target]


@cache
def headings(path: Path) -> frozenset[str]:
    """Anchors of the headings of a Markdown file, as those who show it make them."""
    tokens = MarkdownIt("commonmark").parse(path.read_text())
    titles = [tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"]
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)


def main() -> int:
    """Print what was found; status 1 if a link is dead or malformed."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "_build" / "html"
    both = {"built pages": links_of_html(folder), "Markdown files": links_of_markdown()}
    for what, found in both.items():
        print(
            f"{what}: {found.internal} internal links and images, {len(found.dead)} dead; "
            f"{len(found.external)} external, {len(found.malformed)} malformed"
        )
        for line in [*found.dead, *found.malformed]:
            print(f"  {line}")
    for address in sorted({address for found in both.values() for address in found.external}):
        print(address)
    return int(any(found.dead or found.malformed for found in both.values()))


if __name__ == "__main__":
    sys.exit(main())
