"""The batch script's part: environment of a job, and the one place that queues a point again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from chemscale.launchers.settings import Site

END = r"""
chemscale_end() {
  code=$?
  trap - EXIT
  job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}}
  job=${job:-$SLURM_JOB_ID}
  attempt=$(( ${SLURM_RESTART_COUNT:-0} + 1 ))
  limit=${CHEMSCALE_LIMITS[${SLURM_ARRAY_TASK_ID:-0}]}
  if compgen -G "$CHEMSCALE_JOBS/$job.*.failed" > /dev/null; then
    echo "chemscale: job $job: failed for good, not queued again"
    code=1
  elif [ "$code" -eq 75 ] || [ "$code" -ge 128 ]; then
    # By array and element: the last element has the array's own number, which would show them all.
    state=$(scontrol show job -o "$job" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p')
    if [ "$state" != RUNNING ]; then
      echo "chemscale: job $job: ended with $code while $state, not queued again by chemscale"
    elif [ "$attempt" -ge "$limit" ]; then
      echo "chemscale: job $job: ended with $code at start $attempt of $limit: given up"
    else
      told="chemscale: job $job: ended with $code at start $attempt of $limit:"
      scontrol requeue "$job" && echo "$told queued again" || echo "$told SLURM refused to queue it again"
    fi
  fi
  exit "$code"
}
trap chemscale_end EXIT
trap : TERM
"""
"""75: the point saved itself; 128 and above: a rank was killed. A job being cancelled is not RUNNING."""


def environment_lines(site: Site, code: Path) -> list[str]:
    """Modules, the site's own lines, and the snapshot in front of everything on Python's path."""
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


def point_lines(site: Site, code: Path, folder: Path, limits: Sequence[int]) -> list[str]:
    """What a point's job does before its ranks start.

    Args:
        folder: where logs and verdicts lie, absolute.
        limits: starts that each element of the array may have.
    """
    lines = environment_lines(site, code)
    lines += [
        f"CHEMSCALE_JOBS={shlex.quote(str(folder))}",
        f"CHEMSCALE_LIMITS=({' '.join(str(limit) for limit in limits)})",
        END.strip(),
        'rm -f "$CHEMSCALE_JOBS/${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}'
        '${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}".*.failed',
    ]
    return lines


def python_command(site: Site, default: str) -> str:
    """What starts Python on a node."""
    return " ".join(part for part in (site.container, site.python or shlex.quote(default)) if part)
