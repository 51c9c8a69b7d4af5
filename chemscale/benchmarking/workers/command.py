"""A whole command in turns, each time in an empty folder: wall time from its start to its end."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile

from turns import MIB, Memory, Turns, arguments


class OfCommands(Memory):
    """Memory of the largest process of all commands so far."""

    def peak(self) -> dict[str, float]:
        unit = 1 if sys.platform == "darwin" else 1024
        return {"peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / MIB}


def main() -> None:
    options = arguments(__doc__ or "")
    turns = Turns("cpu", options.warmup)
    turns.memory = OfCommands("cpu")
    turns.ready({})
    while True:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            done = subprocess.run(
                [sys.executable, *options.work["command"]],
                cwd=folder,
                env=dict(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                check=False,
            )
        if done.returncode:
            raise SystemExit(f"the command ended with status {done.returncode}")
        turns.stepped(1.0)


if __name__ == "__main__":
    main()
