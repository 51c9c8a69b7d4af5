"""Our NequIP and MACE beside nequip and mace, step for step: force errors of averaged weights at each tenth.

python benchmarks/recipe.py rmd17_ethanol.npz --peer nequip=PYTHON --peer mace=PYTHON [--out FOLDER]
    [--steps 3000] [--seeds 0 1 2] [--test 200] [--set nequip.width=16 …] [--ours FAMILY:WORD …]
    [--families nequip mace] [--processes 1]

Each peer is an interpreter that has the code (see README.md). All train on the same 950 frames of published
split 1, validate on its other 50 and are tested on the first --test frames of its test part, in batches of 5;
each code runs by its own command (nequip-train, mace_run_train, chemscale.train) with the settings that are
published for rMD17, at equal numbers of layers, channels and radial functions. --set changes a size of a
family for both; --ours adds words to our command (mace:optimizer.lr=0.02), which is then another run.

One process a run, in a folder of its own; a run that has left its result is not repeated, whatever else the
command names, so the same command goes on where it was stopped. Written to --out: results.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import kcal, mol

from chemscale.benchmarking.processes import environment
from chemscale.benchmarking.recipes import snapshots
from chemscale.common.files import write_json
from chemscale.common.logs import show_logs
from chemscale.common.paths import PACKAGE
from chemscale.common.progress import ProgressBar

SCRIPTS = Path(snapshots.__file__).parent
TRAINING, BATCH = 950, 5
SHAPES: dict[str, dict[str, Any]] = {
    "nequip": {
        "width": 32, "layers": 2, "l_max": 2, "parity": True, "cutoff": 4.0,
        "radial": 8, "radial_layers": 2, "radial_width": 64, "cutoff_power": 6,
    },
    "mace": {
        "width": 32, "layers": 2, "l_max": 2, "hidden_l_max": 0, "correlation": 3, "cutoff": 5.0,
        "radial": 8, "radial_layers": 3, "radial_width": 64, "cutoff_power": 5,
    },
}  # fmt: skip
"""Small enough for one core; the published ones are ``model=nequip_rmd17`` and ``model=mace_rmd17``."""
RECIPES: dict[str, dict[str, Any]] = {
    "nequip": {
        "lr": 0.01, "energy": 1.0, "forces": 1000.0, "per_atom": False, "ema": 0.99,
        "factor": 0.8, "patience": 50, "clip": None,
    },
    "mace": {
        "lr": 0.01, "energy": 1.0, "forces": 1000.0, "per_atom": True, "ema": 0.99,
        "factor": 0.8, "patience": 50, "clip": 10.0,
    },
}  # fmt: skip
"""What is published for rMD17, of the peers; ours are ``conf/recipe/``."""
OURS = "chemscale"


def write_frames(npz: Path, folder: Path, test: int) -> tuple[dict[str, str], list[str]]:
    """The frames of published split 1 as extended XYZ, and the symbols of their elements.

    Args:
        npz: rMD17 of one molecule, in kcal/mol.
        folder: where the files are put.
        test: frames of the test part that are used.
    """
    data = np.load(npz)
    first, held_out = data["train_1"], data["test_1"][:test]
    parts = {"train": first[:TRAINING], "validation": first[TRAINING:], "test": held_out}
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        frames = []
        for row in rows:
            frame = ase.Atoms(data["nuclear_charges"], data["coords"][row])
            energy, forces = float(data["energies"][row] * kcal / mol), data["forces"][row] * kcal / mol
            frame.info[snapshots.ENERGY], frame.arrays[snapshots.FORCES] = energy, forces
            frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)  # what nequip reads
            frames.append(frame)
        ase.io.write(folder / f"{name}.extxyz", frames)
    symbols = sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()})
    return {name: str((folder / f"{name}.extxyz").resolve()) for name in parts}, symbols


def work_of(code: str, family: str, seed: int, options: argparse.Namespace, frames: Any) -> dict[str, Any]:
    """What one process is told.

    Args:
        code: chemscale, nequip or mace.
        family: nequip or mace.
        seed: of weights and order.
        options: of the command line.
        frames: files and elements.
    """
    files, elements = frames
    work = {
        "files": files,
        "elements": elements,
        "steps": options.steps,
        "steps_of_epoch": TRAINING // BATCH,
        "seed": seed,
        "threads": 1,
        "test": options.test,
    }
    shape = SHAPES[family] | options.sizes.get(family, {})
    if code == OURS:
        sizes = [f"model.{key}={str(value).lower()}" for key, value in shape.items()]
        words = [word for name, _, word in (w.partition(":") for w in options.ours) if name == family]
        return {**work, "overrides": [f"+recipe={family}_rmd17", *sizes, *words]}
    return {**work, "model": shape, "recipe": {**RECIPES[family], "batch": BATCH}}


def name_of(code: str, family: str, seed: int, options: argparse.Namespace) -> str:
    """Folder of a run."""
    words = "" if code != OURS else "".join(f",{w}" for w in options.ours if w.startswith(f"{family}:"))
    kept = "".join(c if c.isalnum() or c in "=.-," else "-" for c in words)
    return f"{code}-{family}{kept}-{seed}"


def start(folder: Path, code: str, work: dict[str, Any], python: str) -> subprocess.Popen[bytes]:
    """Begin a run in an empty folder.

    Args:
        folder: of the run.
        code: whose script is run.
        work: what it is told.
        python: interpreter.
    """
    if folder.exists():
        subprocess.run(["rm", "-r", str(folder)], check=True)
    folder.mkdir(parents=True)
    write_json(folder / "work.json", work)
    with open(folder / "log", "w") as log:
        return subprocess.Popen(
            [python, str(SCRIPTS / f"{code}_training.py"), "work.json"],
            cwd=folder,
            env=environment(PACKAGE.parent if code == OURS else None, 1),
            stdout=log,
            stderr=log,
        )


def collect(folder: Path, work: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a run that was told the same; None where there is none.

    Args:
        folder: of the run.
        work: what it is to be told.
    """
    try:
        told = json.loads((folder / "work.json").read_text())
        return json.loads((folder / "result.json").read_text()) if told == work else None
    except FileNotFoundError:
        return None


def run_all(runs: list[tuple[str, str, int]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every run's result, those that are there already not repeated.

    Args:
        runs: code, family and seed of each.
        options: of the command line.

    Raises:
        SystemExit: a run that ended without a result; those before it are kept.
    """
    frames = write_frames(options.npz, options.out / "frames", options.test)
    found: dict[int, dict[str, Any]] = {}
    running: dict[int, subprocess.Popen[bytes]] = {}
    works = [work_of(*run, options, frames) for run in runs]
    folders = [options.out / name_of(*run, options) for run in runs]
    waiting = []
    for index, (folder, work) in enumerate(zip(folders, works, strict=True)):
        result = collect(folder, work)
        if result is None:
            waiting.append(index)
        else:
            found[index] = result
    with ProgressBar("Trainings", len(runs), "runs") as bar:
        bar.advance(len(found))
        try:
            while waiting or running:
                while waiting and len(running) < options.processes:
                    index = waiting.pop(0)
                    code = runs[index][0]
                    python = sys.executable if code == OURS else options.peers[code]
                    running[index] = start(folders[index], code, works[index], python)
                index = next(iter(running))
                running.pop(index).wait()
                result = collect(folders[index], works[index])
                if result is None:
                    raise SystemExit(f"{folders[index].name} left no result: see {folders[index] / 'log'}.")
                found[index] = result
                bar.advance(1)
        finally:
            for process in running.values():
                process.kill()
    return [{"run": run, **found[index]} for index, run in enumerate(runs)]


def table(results: list[dict[str, Any]], family: str) -> list[str]:
    """Lines of a Markdown table: force errors at each tenth, and ours over theirs.

    Args:
        results: of all runs.
        family: of the table.
    """
    curves = {
        code: [r["forces_mae"] for r in results if r["run"][0] == code and r["run"][1] == family]
        for code in (OURS, family)
    }
    steps = next(r["steps"] for r in results if r["run"][1] == family)
    lines = [f"| {family}, steps | ours, meV/Å | theirs, meV/Å | ours / theirs |", "|---|---|---|---|"]
    for tenth, step in enumerate(steps):
        ours, theirs = ([curve[tenth] for curve in curves[code]] for code in (OURS, family))
        lines.append(f"| {step:,} | {spread(ours)} | {spread(theirs)} | {ratio(ours, theirs)} |")
    return lines


def spread(values: list[float]) -> str:
    """Mean of some seeds, and the least and largest of them."""
    if not values:
        return ""
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Mean of ours over mean of theirs, and the extremes that pairs of seeds have."""
    if not (ours and theirs):
        return ""
    low, high = min(ours) / max(theirs), max(ours) / min(theirs)
    return f"{statistics.mean(ours) / statistics.mean(theirs):.2f} ({low:.2f} to {high:.2f})"


def read_options() -> argparse.Namespace:
    """The command line, its sizes and peers as mappings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("npz", type=Path)
    parser.add_argument("--peer", action="append", default=[], help="nequip=PYTHON or mace=PYTHON")
    parser.add_argument("--families", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--set", nargs="+", default=[], help="FAMILY.KEY=VALUE, of both codes")
    parser.add_argument("--ours", nargs="+", default=[], help="FAMILY:WORD, of our command alone")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("recipe"))
    options = parser.parse_args()
    options.peers = dict(peer.split("=", 1) for peer in options.peer)
    if unknown := set(options.peers) - set(SHAPES):
        parser.error(f"--peer {', '.join(sorted(unknown))}: choose nequip=PYTHON or mace=PYTHON.")
    options.sizes = {}
    for word in options.set:
        key, _, value = word.partition("=")
        family, _, name = key.partition(".")
        if name not in SHAPES.get(family, {}):
            parser.error(f"--set {word}: no such size; {family} has {', '.join(SHAPES.get(family, {}))}.")
        options.sizes.setdefault(family, {})[name] = json.loads(value)
    return options


def main() -> None:
    show_logs()
    options = read_options()
    runs = [
        (code, family, seed)
        for seed in options.seeds
        for family in options.families
        for code in (OURS, family)
        if code == OURS or code in options.peers
    ]
    results = run_all(runs, options)
    write_json(options.out / "results.json", {"sizes": options.sizes, "runs": results})
    for family in options.families:
        print("\n".join(table(results, family)), end="\n\n")


if __name__ == "__main__":
    main()
