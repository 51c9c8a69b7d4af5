"""GPUs of this machine, divided among points that run at the same time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence

from chemscale.launchers.section import LaunchError
from chemscale.launchers.settings import PointJob


def assign_gpus(
    jobs: Sequence[PointJob], parallel: int, ranks: int, per_gpu: int = 1
) -> list[list[str]] | None:
    """Divide the visible GPUs among slots, each of which runs one point at a time.

    Args:
        jobs: points to be run.
        parallel: points at once that have GPUs of their own.
        ranks: of the point that has most.
        per_gpu: points that share these.

    Returns:
        The GPUs of each of ``parallel · per_gpu`` slots, the first ``parallel`` of which lie apart; None
        where no GPU is used.

    Raises:
        LaunchError: more are asked for than there are.
    """
    if not any(job.on_gpus for job in jobs):
        return None
    found = visible_gpus()
    if not found:
        return None
    if parallel * ranks > len(found):
        raise LaunchError(
            f"launcher.parallel={parallel} points on launcher.gpus_per_node={ranks} GPUs each need "
            f"{parallel * ranks} GPUs, this machine shows {len(found)}. Lower one of them, or set "
            "trainer.accelerator=cpu."
        )
    return [found[slot * ranks : (slot + 1) * ranks] for slot in range(parallel)] * per_gpu


def visible_gpus() -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    return parse_gpu_list(listing.stdout)


def parse_gpu_list(listing: str) -> list[str]:
    """Identifiers in ``nvidia-smi -L``: of every GPU, or of its MIG instances where it is divided."""
    found: list[str] = []
    for kind, identifier in re.findall(r"UUID: ((?:MIG|GPU))-([^)\s]+)", listing):
        if kind == "MIG" and found and found[-1].startswith("GPU-"):
            found.pop()  # the line before is the GPU that it is a part of
        found.append(f"{kind}-{identifier}")
    return found
