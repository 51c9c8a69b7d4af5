"""How many files a reader passes on three trips through the code, by running them and watching calls.

    python benchmarks/trips.py [--code FOLDER_OF_A_CHECKOUT]

1. a SMILES line to a loss: a corpus is prepared from a file and a ChemGPT is trained on it for one step
2. ``model.width=32`` to a law: a sweep of three widths, its data ready, to the fitted law
3. SIGTERM to a resumed step: a run is told to stop, saves itself, and the same command takes its next step

A file counts where one of its functions was called; what runs when a module is imported does not count. Two
numbers are given: all files of the package that were passed, and those of them outside the package's shared
helpers (``common``). With --code another checkout is watched, for a comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    *("data.count=400", "data.validation_fraction=0.1", "data.prepare_workers=1", "logger=none"),
    *("trainer.accelerator=cpu", "trainer.threads=1", "model.layers=2", "model.heads=4", "batch.tokens=512"),
    "data.block=256",
]
STEP = ["budget.epochs=null", "budget.steps=1", "model.width=16"]
STOPPED = ["budget.epochs=null", "budget.steps=6", "model.width=16", "sweep_name=stopped"]
WATCH = """
import atexit, json, os, runpy, signal, sys, threading
package, out, stop, *command = sys.argv[1:]
seen = set()
def watch(frame, event, argument):
    code = frame.f_code  # bodies of modules and classes are no functions
    if event == "call" and code.co_flags & 1 and not code.co_name.startswith("<"):
        name = frame.f_code.co_filename
        if name.startswith(package):
            seen.add(name)
            if stop and frame.f_code.co_name == "on_train_batch_end":
                os.kill(os.getpid(), signal.SIGTERM)
def write():
    sys.setprofile(None)
    known = set(json.load(open(out))) if os.path.exists(out) else set()
    json.dump(sorted(known | seen), open(out, "w"))
atexit.register(write)
threading.setprofile(watch)
sys.argv = command
sys.setprofile(watch)
runpy.run_module(command[0], run_name="__main__", alter_sys=True)
"""


def run(code: Path, folder: Path, out: Path, *command: str, stop: bool = False) -> None:
    """Run a command of a checkout and add the files that it passed to `out`."""
    environment = os.environ | {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    arguments = [f"{code / 'chemscale'}{os.sep}", str(out), "1" if stop else "", *command]
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode not in ((130,) if stop else (0,)):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")


def trips(code: Path, folder: Path) -> dict[str, list[str]]:
    """The files that each trip passes, from the package."""
    smiles = folder / "molecules.smi"
    train = "chemscale.train"
    run(code, folder, folder / "none.json", train, *SMALL, *STEP, "sweep_name=first")
    starter = next((folder / "corpora").glob("starter-*.smi"))
    smiles.write_text(starter.read_text())
    run(code, folder, folder / "1.json", train, *SMALL[1:], *STEP, "data=smiles", f"data.path={smiles}")
    sweep = ["+sweep=chemgpt_sizes", *SMALL, "budget.tokens=2000", "model.width=16,32,48"]
    run(code, folder, folder / "2.json", train, *sweep)
    run(code, folder, folder / "3.json", train, *SMALL, *STOPPED, stop=True)
    run(code, folder, folder / "3.json", train, *SMALL, *STOPPED)
    start = len(str(code / "chemscale")) + 1
    return {
        title: [name[start:] for name in json.loads((folder / f"{number}.json").read_text())]
        for number, title in (
            (1, "a SMILES line to a loss"),
            (2, "model.width=32 to a law"),
            (3, "SIGTERM to a resumed step"),
        )
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--code", type=Path, default=ROOT, help="a checkout; this one if not given")
    parser.add_argument("--list", action="store_true", help="name the files as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = trips(options.code.resolve(), Path(folder))
    for title, files in found.items():
        own = [name for name in files if not name.startswith("common/")]
        print(f"{title:28s} {len(files):4d} files, {len(own)} outside common/")
        for name in files if options.list else []:
            print(f"    {name}")


if __name__ == "__main__":
    main()
