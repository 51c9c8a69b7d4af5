"""``chemscale --version``: complete, quick to begin, and nobody's name in it."""

import getpass
import os
import platform
import re
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from chemscale import __version__
from chemscale.cli.version import PACKAGES, without_folders
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> list[str]:
    """What is printed where every secret, the user and the home folder have names that would be seen."""
    home = tmp_path_factory.mktemp("home-of-alice-liddell")
    seen = {"HOME": str(home), "USER": "alice-liddell", "LOGNAME": "alice-liddell", "HOSTNAME": "wonderland"}
    secrets = dict.fromkeys(("WANDB_API_KEY", "HF_TOKEN", "OMP_NUM_THREADS"), "s3cr3t-value")
    run = subprocess.run(
        [sys.executable, "-m", "chemscale", "--version"],
        env=os.environ | seen | secrets | {"MKL_NUM_THREADS": "1"},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


def test_the_first_line_is_the_version_and_the_revision(told):
    assert re.fullmatch(rf"chemscale {re.escape(__version__)}( \([0-9a-f]{{40}}\+?\))?", told[0])


def test_every_dependency_that_moves_a_number_is_there(told):
    text = "\n".join(told)
    assert platform.python_version() in text
    assert "torch sees" in text
    assert "MKL_NUM_THREADS=1" in text
    for package in PACKAGES:
        assert re.search(rf"^{package} +\S", text, re.MULTILINE)
    assert re.search(rf"^numpy +{re.escape(version('numpy'))}$", text, re.MULTILINE)


def test_nobody_and_no_machine_is_named(told):
    text = "\n".join(told)
    names = {"s3cr3t", "alice", "wonderland", str(Path.home()), str(ROOT), sys.prefix}
    for name in names | ({socket.gethostname(), getpass.getuser()} - {"root", "debian", "localhost"}):
        assert name not in text


def test_paths_lose_their_folders():
    error = "/home/alice/envs/x/lib/libtorch.so: undefined symbol, ~/alice/b.so and ../alice/c.so"
    assert without_folders(error) == "libtorch.so: undefined symbol, b.so and c.so"
    assert without_folders("NVIDIA A100/PCIe, 3/4") == "NVIDIA A100/PCIe, 3/4"


def test_the_version_comes_before_anything_slow_is_imported():
    """A reader that is gone after the first line is no error."""
    piped = subprocess.run(
        f"{sys.executable} -m chemscale version | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert piped.stdout.startswith(f"chemscale {__version__}")
    assert piped.stderr == ""


def test_a_broken_torch_is_reported_not_raised(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('/home/alice/libc10.so: cannot open')\n")
    run = subprocess.run(
        [sys.executable, "-m", "chemscale", "--version"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-1].endswith("cannot be imported: ImportError: libc10.so: cannot open")
