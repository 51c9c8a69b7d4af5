"""What compiling needs of a machine: a torch that differentiates twice rightly, and a compiler."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

import torch
from packaging.version import Version

TWICE_FROM = Version("2.13")
"""Torch before this drops second derivatives of compiled functions without a word (pytorch issue 181581)."""


def missing_for_compiling(
    *, cuda: bool, forces: bool, torch_version: str | None = None, headers: Path | None = None
) -> str:
    """Why this machine cannot compile training steps, as a sentence; empty where it can.

    Args:
        cuda: whether for a GPU, through Triton; else through a C++ compiler.
        forces: whether the loss holds forces, whose gradient is a second derivative.
        torch_version: None for the one that is installed.
        headers: folder of ``Python.h``; None for this interpreter's.
    """
    installed = torch_version or torch.__version__
    if forces and Version(Version(installed).base_version) < TWICE_FROM:
        return (
            f"torch {installed} drops second derivatives of compiled functions without a word (pytorch "
            f"issue 181581), and the loss on forces has them: it takes {TWICE_FROM}."
        )
    if cuda and importlib.util.find_spec("triton") is None:
        return "Triton is not installed, through which torch compiles for GPUs."
    named, usual = ("CC", ("gcc", "clang", "cc")) if cuda else ("CXX", ("g++", "clang++", "c++"))
    wanted = (os.environ[named],) if os.environ.get(named) else usual
    if not any(shutil.which(name.split()[0]) for name in wanted):
        return f"there is no {'C' if cuda else 'C++'} compiler here ({', '.join(wanted)})."
    include = headers or Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").exists():
        return f"Python's headers are not here ({include}/Python.h): Debian has them in python3-dev."
    return ""
