"""The library that answers for the device: built once, loaded before torch by a process of its own."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("device.cpp")
RUN = f"{__package__}.run"
START = """
import ctypes, runpy, sys
_, torch, device, module, *sys.argv[1:] = sys.argv
for library in (torch, device):
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
"""torch looks for CUDA's hooks when it is imported: the device has to be there before, torch's own library
before that."""


class NoFakeDeviceError(RuntimeError):
    """This machine cannot make the device: no compiler, no headers, or a torch that has CUDA."""


def torch_folder() -> Path:
    """Where torch is installed, without importing it."""
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def build_library(folder: Path | None = None) -> Path:
    """Compile the device for the installed torch, once for each version of both.

    Args:
        folder: where it is kept; a folder of this user below the temporary one if not given.

    Raises:
        NoFakeDeviceError: there is no g++, it fails, or torch is built with CUDA and needs none of this.
    """
    torch = torch_folder()
    if (torch / "lib" / "libtorch_cuda.so").exists():
        raise NoFakeDeviceError("torch is built with CUDA: a fake device is for a CPU build.")
    key = hashlib.sha256(SOURCE.read_bytes() + version("torch").encode()).hexdigest()[:16]
    folder = folder or Path(tempfile.gettempdir()) / f"chemscale-fake-cuda-{os.getuid()}"
    library = folder / f"device-{key}.so"
    if library.exists():
        return library
    compiler = shutil.which("g++")
    if compiler is None:
        raise NoFakeDeviceError("g++ is not installed: the fake CUDA device is a small library in C++.")
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{library.name}.{os.getpid()}"
    command = [compiler, "-O0", "-std=c++20", "-shared", "-fPIC", str(SOURCE), "-o", str(partial)]
    command += [f"-I{torch}/include", f"-I{torch}/include/torch/csrc/api/include"]
    command += [f"-L{torch}/lib", "-ltorch_cpu", "-lc10"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NoFakeDeviceError(f"g++ could not build the fake CUDA device:\n{done.stderr[-2000:]}")
    partial.replace(library)
    return library


def run_cases(names: Sequence[str], folder: Path, *, seconds: float = 1800.0) -> dict[str, Any]:
    """Train each case for a few steps on the device, all in one process.

    Args:
        names: keys of ``cases.CASES``.
        folder: for data and runs.
        seconds: that all of them may take.

    Returns:
        What ``run.py`` writes: by name of the case, a ``report.Report`` as a mapping, or ``error``.

    Raises:
        NoFakeDeviceError: as ``build_library``.
        RuntimeError: the process failed, with the end of its output.
    """
    library = build_library()
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / "fake-cuda.json"
    start = [sys.executable, "-c", START, str(torch_folder() / "lib" / "libtorch_cpu.so"), str(library), RUN]
    done = subprocess.run(
        [*start, str(result), *names],
        env=environment(os.environ),
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    if done.returncode:
        raise RuntimeError(f"The fake CUDA run failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return dict(json.loads(result.read_text()))


def environment(outer: Mapping[str, str]) -> dict[str, str]:
    """Variables of the process: one thread, and no job of a launcher around it.

    Args:
        outer: of this process.
    """
    kept = {key: value for key, value in outer.items() if not key.startswith(("SUBMITIT_", "SLURM_"))}
    return {**kept, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0"}
