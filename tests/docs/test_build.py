"""The documentation builds without a warning, no link in it is dead, and its reference leaves nothing out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chemscale.__main__ import VERBS
from chemscale.config.options import groups, option
from tests.helpers.documents.blocks import ROOT
from tests.helpers.documents.links import Links, links_of_html, links_of_markdown, targets


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> Path:
    """Built as its readers' copy is."""
    folder = tmp_path_factory.mktemp("html")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-E",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "docs",
        str(folder),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_no_link_of_the_built_pages_is_dead(html):
    found = links_of_html(html)
    assert found.internal > 1000
    assert not found.dead
    assert not found.malformed


def test_no_link_of_the_markdown_files_is_dead():
    found = links_of_markdown()
    assert found.internal > 20
    assert not found.dead
    assert not found.malformed


def test_a_dead_link_is_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#x">b</a> <img src="c.png"> <a href="#here">h</a><p id="here">'
    )
    (tmp_path / "b.html").write_text('<p id="y">')
    found = links_of_html(tmp_path)
    assert (found.internal, sorted(found.dead)) == (3, ["a.html: b.html#x", "a.html: c.png"])
    links = Links()
    links.add_external("a", "https://example.org/x")
    links.add_external("a", "http:/broken")
    assert links.malformed == ["a: http:/broken"]
    assert targets("[a](b.md#c) `[d](e)` ![f](g.png)\n```\n[h](i)\n```") == ["b.md#c", "g.png"]


@pytest.mark.slow
def test_every_key_and_every_option_is_in_the_reference(html):
    page = (html / "reference" / "configuration.html").read_text()
    for group, names in groups().items():
        for name in names:
            assert f'id="conf-{group}-{name}"'.replace("_", "-").replace(".", "-") in page, f"{group}={name}"
            for key in option(group, name).keys.values():
                assert f">{key.name}<" in page or "_target_" in key.name, key.name


@pytest.mark.slow
def test_every_verb_is_in_the_reference(html):
    page = (html / "reference" / "commands.html").read_text()
    for verb in VERBS:
        assert f'id="chemscale-{verb}"' in page


def test_pages_of_the_reference_are_made_and_not_kept():
    kept = subprocess.run(
        ["git", "ls-files", "docs/reference", "docs/project"], cwd=ROOT, capture_output=True, text=True
    )
    if kept.returncode:
        pytest.skip("not a git checkout")
    assert kept.stdout == ""
