"""Files that a document for contributors names are there."""

import re

import pytest

from tests.helpers.paths import ROOT

FOLDERS = ("chemscale", "tests", "benchmarks", "docs", "docker", "launch", "hydra_plugins")
FILES = {path.as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}


def missing(text: str) -> list[str]:
    """Python files in backticks whose path is the end of no file of the repository."""
    named = re.findall(r"`(?:python )?([\w./-]+\.py)\b", text)
    return [name for name in named if not any(path.endswith(f"/{name}") for path in FILES)]


@pytest.mark.parametrize(
    "name", ["CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md", "docs/potentials.md"]
)
def test_every_file_that_is_named_exists(name):
    assert missing((ROOT / name).read_text()) == []


def test_a_file_that_has_moved_is_found():
    assert missing("`training/keeper.py` and `common/files.py`") == ["training/keeper.py"]
