"""Pages that are made when the documentation is built: the reference, and documents from beside ``docs/``.

They are written below ``docs/reference`` and ``docs/project``, which git ignores.
"""

from __future__ import annotations

import re
from pathlib import Path

import commands_page
import configuration_page
import python_pages
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
OUTSIDE = {
    "launch/README.md": "project/launching",
    "CONTRIBUTING.md": "project/contributing",
    "CHANGELOG.md": "project/changelog",
    "benchmarks/README.md": "project/benchmarks",
    "SECURITY.md": "project/security",
    "README.md": "index",
}
"""Documents of the repository, and the pages that show them; the first page is written by hand."""
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)


def relink(text: str, source: Path, page: str) -> str:
    """Point the links of a Markdown file to files outside ``docs/`` at the pages that show them.

    Args:
        text: of the file.
        source: the file.
        page: the page that it is shown as, from ``docs/``.
    """
    ups = "../" * page.count("/")

    def turned(match: re.Match[str]) -> str:
        opening, target, anchor, closing = match.groups(default="")
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        there = (source.parent / target).resolve()
        if not there.exists() and not there.is_relative_to(DOCS):
            return match[0]  # a dead link stays one, and the build fails by it
        if there.is_relative_to(DOCS):
            found = f"{ups}{there.relative_to(DOCS).as_posix()}"
        elif (inside := there.relative_to(ROOT).as_posix()) in OUTSIDE:
            found = f"{ups}{OUTSIDE[inside]}.md"
        else:
            return f"{opening}{ups}../{inside}{anchor}{closing}"
        return f"{opening}{found}{anchor}{closing}"

    pieces, last = [], 0
    for fence in FENCED.finditer(text):  # code stays as it is
        pieces += [LINK.sub(turned, text[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*pieces, LINK.sub(turned, text[last:])])


def write_pages(app: Sphinx) -> None:
    """Write what is made; files that did not change keep their time, so that they are not read again."""
    made = {"reference/configuration.md": configuration_page.page()}
    made["reference/commands.md"] = commands_page.page()
    made |= {f"reference/{name}": text for name, text in python_pages.pages().items()}
    for name, page in OUTSIDE.items():
        source = ROOT / name
        if page != "index" and source.exists():
            made[f"{page}.md"] = relink(source.read_text(), source, page)
    for folder in ("reference", "project"):
        for old in (DOCS / folder).rglob("*.md"):
            if old.relative_to(DOCS).as_posix() not in made:
                old.unlink()
    for name, text in made.items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def relink_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Point links of written pages to the README and its like at the pages that show them."""
    if not docname.startswith(("project/", "reference/")):
        source[0] = relink(source[0], DOCS / f"{docname}.md", docname)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to the build."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", relink_source)
    return {"parallel_read_safe": True}
