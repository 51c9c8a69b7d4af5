"""Another number of ranks: a ZeRO checkpoint taken apart by parameters, so that any number can read it."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

from chemscale.training.checkpointing.checkpoints import CheckpointError

log = logging.getLogger(__name__)

UNIVERSAL = "universal"


def make_universal(checkpoint: Path, workers: int = 1) -> Path:
    """Write DeepSpeed's universal layout beside the parts of a ZeRO checkpoint, once.

    Args:
        checkpoint: a folder of ``Checkpoints``.
        workers: processes that convert.

    Raises:
        CheckpointError: DeepSpeed's converter failed; its last lines are quoted.
    """
    target = checkpoint / UNIVERSAL
    if target.exists():
        return target
    log.info("%s is converted for another number of ranks.", checkpoint)
    partial = checkpoint / f"{UNIVERSAL}.part"
    shutil.rmtree(partial, ignore_errors=True)
    command = [
        *(sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal"),
        *("--input_folder", str(checkpoint / "checkpoint"), "--output_folder", str(partial)),
        *("--num_extract_workers", str(workers), "--num_merge_workers", str(workers)),
        "--inject_missing_state",
    ]
    # A converter, not a rank: it must not think that it belongs to the job, nor look for a GPU.
    clean = {
        key: value
        for key, value in os.environ.items()
        if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    }
    run = subprocess.run(command, env={**clean, "DS_ACCELERATOR": "cpu"}, capture_output=True, text=True)
    if run.returncode:
        tail = " ".join(run.stderr.strip().splitlines()[-3:])
        raise CheckpointError(f"{checkpoint} could not be converted for another number of ranks: {tail}")
    partial.rename(target)
    return target
