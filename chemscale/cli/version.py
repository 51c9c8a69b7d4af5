"""``chemscale --version``: what a bug report needs, and nothing that names a person or a machine."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from chemscale import __version__
from chemscale.common.versions import git_revision

PACKAGES = (
    *("torch", "pytorch-lightning", "deepspeed", "numpy", "scipy", "rdkit", "selfies", "tokenizers"),
    *("transformers", "e3nn", "torch-geometric", "vesin", "ase", "tblite", "hydra-core", "omegaconf"),
    *("submitit", "wandb", "pyarrow", "h5py", "safetensors"),
)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PATHS = re.compile(r"(?<![\w.])(?:~|\.{0,2})/(?:[^\s:'\",()]*/)*")


def first_line() -> str:
    """Version and, where the code is a checkout or a snapshot of one, its git revision."""
    revision = git_revision()
    return f"chemscale {__version__}" + (f" ({revision})" if revision else "")


def lines() -> Iterator[str]:
    """The other lines, slow ones last: Python, system, processor, SLURM, packages, GPUs and torch.

    Texts that come from elsewhere lose the folders of their paths, which may hold a name.
    """
    yield _line("Python", f"{platform.python_version()} ({platform.python_implementation()})")
    yield _line("system", _system())
    yield _line("processor", _processor())
    threads = [f"{name}={os.environ[name]}" for name in THREADS if os.environ.get(name, "").isdigit()]
    yield _line("threads", ", ".join(threads) or "no variable set")
    yield _line("SLURM", _first_output_line("sinfo", "--version") or "none")
    for package in PACKAGES:
        yield _line(package, _installed(package))
    yield _line("driver", _driver())
    yield _line("torch sees", _torch())


def _line(name: str, text: str) -> str:
    return f"{name:18s} {text}"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def without_folders(text: str) -> str:
    """A text whose paths are cut to their last part."""
    return PATHS.sub("", text)


def _system() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    libc = " ".join(platform.libc_ver())
    parts = [name, f"{platform.system()} {platform.release()} {platform.machine()}", libc]
    if "APPTAINER_CONTAINER" in os.environ or "SINGULARITY_CONTAINER" in os.environ:
        parts.append("in Apptainer")
    elif Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        parts.append("in a container")
    return ", ".join(part for part in parts if part.strip())


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    return f"{named[1] if named else platform.machine()}, {usable} of {os.cpu_count()} cores usable{memory}"


def _first_output_line(*command: str) -> str:
    """The first line of a program's output, empty where it is absent."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return f"{command[0]} is there and does not answer"
    return without_folders(output.strip().split("\n")[0])


def _driver() -> str:
    """NVIDIA's driver and what it knows of each GPU; torch may see fewer or none."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return "nvidia-ml-py is not installed"
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        gpus = [
            f"{nvml.nvmlDeviceGetName(handle)} {nvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30:.0f} GiB"
            for handle in handles
        ]
        return f"{nvml.nvmlSystemGetDriverVersion()}: {'; '.join(gpus) or 'no GPU'}"
    except nvml.NVMLError as error:
        return f"no NVIDIA driver ({error})"


def _torch() -> str:
    """How torch was built and what it can use; why it cannot be imported, where it cannot."""
    try:
        import torch
    except Exception as error:  # a broken installation is what the report is about
        return f"cannot be imported: {type(error).__name__}: {without_folders(str(error))}"
    if torch.version.cuda is None:
        hip = getattr(torch.version, "hip", None)
        return f"no CUDA: {f'a ROCm {hip} build' if hip else 'a CPU build'}"
    built = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    if not torch.cuda.is_available():
        return f"{built}; no usable GPU"
    nccl = ".".join(str(part) for part in torch.cuda.nccl.version())
    devices = "; ".join(
        f"{torch.cuda.get_device_name(i)} (compute {'.'.join(map(str, torch.cuda.get_device_capability(i)))})"
        for i in range(torch.cuda.device_count())
    )
    return f"{built}, NCCL {nccl}; {devices}"


def show() -> None:
    """Print all of it, the version at once."""
    try:
        print(first_line(), flush=True)
        for line in lines():
            print(line, flush=True)
    except BrokenPipeError:  # `| head -1`: Python must not try once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
