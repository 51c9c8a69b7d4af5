"""What the images hold, as far as their recipe says it without an engine."""

import subprocess

import pytest

from tests.helpers.paths import ROOT


@pytest.fixture
def installed(tmp_path):
    """Packages of Debian that the image's own step asks for; nothing is installed."""

    def ask(**environment: str) -> list[str]:
        programs, asked = tmp_path / "bin", tmp_path / "asked"
        programs.mkdir(exist_ok=True)
        asked.write_text("")
        for name in ("apt-get", "rm", "groupadd", "useradd", "mkdir", "chown"):
            program = programs / name
            program.write_text(f'#!/bin/sh\necho "{name} $*" >> {asked}\n')
            program.chmod(0o755)
        subprocess.run(
            ["/bin/sh", str(ROOT / "docker" / "install.sh"), "runtime"],
            env={"PATH": f"{programs}:/usr/bin:/bin", **environment},
            check=True,
        )
        line = next(line for line in asked.read_text().splitlines() if " install " in line)
        return line.split()[2:]

    return ask


def test_an_image_has_a_compiler_with_its_headers_where_that_is_asked_for(installed):
    compiler = {"g++", "libc6-dev", "python3-dev"}
    assert compiler <= set(installed(COMPILER="yes"))
    assert not compiler & set(installed(COMPILER=""))
    assert not compiler & set(installed())


def test_the_images_for_gpus_have_it_and_keep_torchs_headers():
    for file in ("Dockerfile", "chemscale.def"):
        text = (ROOT / "docker" / file).read_text()
        assert "COMPILER=yes" in text
    assert (ROOT / "docker" / "Dockerfile").read_text().count("ARG COMPILER=yes\n") == 2, "in both stages"
    assert (ROOT / "docker" / "Dockerfile.cpu").read_text().count("ARG COMPILER=\n") == 2
