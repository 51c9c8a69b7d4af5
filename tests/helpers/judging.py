"""Stands for ``molecules.metrics.background`` as a process: writes a result, or waits until it may."""

import json
import sys
import time
from pathlib import Path

from chemscale.common.files import write_json


def main() -> None:
    path = Path(sys.argv[1])
    raw = json.loads(path.read_text())
    while raw["task"].get("waits") and not Path(raw["task"]["waits"]).exists():
        time.sleep(0.02)
    if raw["task"].get("fails"):
        raise SystemExit("told to fail")
    weights = (path.parent / "weights").read_text()
    write_json(Path(raw["out"]), {"weights": weights, "n": 5, "values": {"valid": 0.5, "fcd": 3.0}})


if __name__ == "__main__":
    main()
