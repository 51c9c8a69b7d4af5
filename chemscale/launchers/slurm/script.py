"""Lines of batch scripts: the environment of a job, and the one place that queues a point again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from chemscale.common.exit_status import START_AGAIN
from chemscale.launchers.slurm.resources import Site

REQUEUE_TRAP = r"""
chemscale_end() {
  code=$?
  trap - EXIT
  job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}}
  job=${job:-$SLURM_JOB_ID}
  attempt=$(( ${SLURM_RESTART_COUNT:-0} + 1 ))
  limit=${CHEMSCALE_LIMITS[${SLURM_ARRAY_TASK_ID:-0}]}
  [ -z "${CHEMSCALE_MPS:-}" ] || { echo quit | nvidia-cuda-mps-control; rm -rf "$CUDA_MPS_PIPE_DIRECTORY"; }
  if [ "$CHEMSCALE_BUNDLED" = 0 ] && compgen -G "$CHEMSCALE_JOBS/$job.*.failed" > /dev/null; then
    echo "chemscale: job $job: failed for good, not queued again"
    code=1
  elif [ "$code" -eq "$CHEMSCALE_START_AGAIN" ] || [ "$code" -ge 128 ]; then
    # By array and element: the last element has the array's own number, which would show them all.
    state=$(scontrol show job -o "$job" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p')
    if [ "$state" != RUNNING ]; then
      echo "chemscale: job $job: ended with $code while $state, not queued again by chemscale"
    elif [ "$attempt" -ge "$limit" ]; then
      echo "chemscale: job $job: ended with $code at start $attempt of $limit: given up"
    else
      end="chemscale: job $job: ended with $code at start $attempt of $limit:"
      scontrol requeue "$job" && echo "$end queued again" || echo "$end SLURM refused to queue it again"
    fi
  fi
  exit "$code"
}
trap chemscale_end EXIT
trap : TERM
"""
"""Runs when the script ends. 128 and above: a rank was killed. A job being cancelled is not RUNNING.

Of points that share a job each knows whether it has ended (``slurm.bundle``): the job is queued again for the
others.
"""

SHARING_LINES = [
    """
if command -v nvidia-cuda-mps-control > /dev/null && [ -z "${CUDA_MPS_PIPE_DIRECTORY:-}" ] &&
    [ ! -e /tmp/nvidia-mps/control ]; then
  export CUDA_MPS_PIPE_DIRECTORY=/tmp/chemscale-mps-$SLURM_JOB_ID
  export CUDA_MPS_LOG_DIRECTORY=$CUDA_MPS_PIPE_DIRECTORY
  mkdir -p "$CUDA_MPS_PIPE_DIRECTORY"
  if nvidia-cuda-mps-control -d; then
    export CHEMSCALE_MPS=1
  else
    rm -rf "$CUDA_MPS_PIPE_DIRECTORY"
    unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
  fi
fi
[ -n "${CUDA_MPS_PIPE_DIRECTORY:-}" ] || echo "chemscale: no MPS here, points take turns on their GPU"
""".strip()
]
"""Start NVIDIA's multi-process service for the GPU of a job, by which its points compute at the same time."""


def environment_lines(site: Site, code: Path) -> list[str]:
    """Lines that load modules and put the snapshot in front of everything on Python's path.

    Args:
        site: whose own lines come with them.
        code: the snapshot.
    """
    lines = [f"module load {' '.join(shlex.quote(name) for name in site.modules)}"] if site.modules else []
    lines += list(site.setup)
    lines += [
        f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}",
        # Else the directory that the job starts in is searched first: a checkout hides the snapshot.
        "export PYTHONSAFEPATH=1",
        # Where sbatch is told to export nothing, srun would give the ranks nothing of all this either.
        "export SLURM_EXPORT_ENV=ALL",
        # Newer srun does not take it from sbatch by itself.
        "export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}",
        "export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}",
    ]
    return lines


def point_lines(
    site: Site, code: Path, folder: Path, limits: Sequence[int], *, bundled: bool = False
) -> list[str]:
    """Lines of a point's job before its ranks start.

    Args:
        site: modules and lines of its own.
        code: the snapshot.
        folder: where logs and verdicts lie, absolute.
        limits: starts that each element of the array may have.
        bundled: whether its tasks are points of their own, whose verdicts hold when the job is queued again.
    """
    lines = environment_lines(site, code)
    lines += [
        f"CHEMSCALE_JOBS={shlex.quote(str(folder))}",
        f"CHEMSCALE_LIMITS=({' '.join(str(limit) for limit in limits)})",
        f"CHEMSCALE_START_AGAIN={START_AGAIN}",
        f"CHEMSCALE_BUNDLED={int(bundled)}",
        REQUEUE_TRAP.strip(),
        ('[ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] || ' if bundled else "")
        + 'rm -f "$CHEMSCALE_JOBS/${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}'
        '${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}".*.failed',
    ]
    return lines


def python_command(site: Site, default: str) -> str:
    """The command that starts Python on a node.

    Args:
        site: may name an image and a Python of its own.
        default: path of the Python that submits.
    """
    return " ".join(part for part in (site.container, site.python or shlex.quote(default)) if part)
