"""Make the pictures of the documentation again, from real runs: ``python docs/figures.py RUNS``.

RUNS is a folder of sweeps as ``train`` leaves them. What is there is drawn; for what is missing the command
that trains it is printed, or carried out with ``--train`` (hours; the data have to be in the working folder).
``--list`` shows the commands alone.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parent
TRAIN = [sys.executable, "-m", "chemscale.train"]


@dataclass(frozen=True)
class Picture:
    """A picture and where it comes from.

    Args:
        name: in ``docs/``.
        sweep: of its runs.
        words: what trains them, beside RUNS.
        figure: the file beside the report of the law; empty for the page of the dashboard.
        width: pixels at most.
    """

    name: str
    sweep: str
    words: str
    figure: str
    width: int


ZINC = "data=smiles data.path=zinc_train.smi.gz logger=jsonl"
PICTURES = (
    Picture(
        "law.png",
        "law",
        f"+sweep=chemgpt_sizes sweep_name=law {ZINC} data.molecules=30000 budget.tokens=1.5e6 "
        "data.validation_molecules=null",
        "loss_vs_parameters.png",
        1116,
    ),
    Picture(
        "joint_law.png",
        "joint_law",
        f"+sweep=chemgpt_joint sweep_name=joint_law {ZINC} model.width=16,24,32,48,64,96 "
        "budget.tokens=5e5,1e6,2e6,4e6,8e6 trainer.validate_every=200",
        "loss_vs_parameters.png",
        840,
    ),
    Picture(
        "ladder.png",
        "ladder",
        "+sweep=symmetry_ladder sweep_name=ladder data=structures data.path=rmd17_ethanol.npz "
        "data.references=minimum_norm data.validation_fraction=0.05 data.frames=25,80,250,800,2500 "
        "budget.steps=2000 trainer.validate_every=2000 batch.frames=5 logger=jsonl",
        "loss_vs_frames.png",
        1188,
    ),
    Picture("dashboard.png", "chemgpt_sizes", "+sweep=chemgpt_sizes logger=jsonl", "", 1280),
)


def draw(picture: Picture, runs: Path) -> Path:
    """One picture into ``docs/``.

    Raises:
        FileNotFoundError: the report has no such figure.
    """
    with tempfile.TemporaryDirectory() as folder:
        if picture.figure:
            found = draw_law(runs / picture.sweep, Path(folder), picture.figure)
        else:
            found = photograph(runs, Path(folder))
        shrink(found, DOCS / picture.name, picture.width)
    return DOCS / picture.name


def draw_law(sweep: Path, folder: Path, figure: str) -> Path:
    """The figure of a law that is fitted to the runs of a sweep once more."""
    from chemscale.analysis.fit import fit_runs

    fit_runs(sweep, out=folder)
    if not (folder / figure).exists():
        there = ", ".join(path.name for path in sorted(folder.glob("*.png")))
        raise FileNotFoundError(f"The law of {sweep} has no {figure}, but {there}.")
    return folder / figure


def photograph(runs: Path, folder: Path) -> Path:
    """The page of the local dashboard in a real browser (needs playwright and chromium)."""
    script, found = DOCS.parent / "benchmarks" / "dashboard.py", folder / "page.png"
    (folder / "runs").symlink_to(runs.resolve())  # the page says where it looked
    subprocess.run([sys.executable, str(script), "--picture", "runs", str(found)], check=True, cwd=folder)
    return found


def shrink(picture: Path, to: Path, width: int) -> None:
    """At most so wide, in 128 colours: a third of the bytes, and nothing that an eye sees."""
    from PIL import Image

    with Image.open(picture) as image:
        small = image.convert("RGB")
        if small.width > width:
            small = small.resize((width, round(small.height * width / small.width)), Image.Resampling.LANCZOS)
        small.quantize(128, dither=Image.Dither.NONE).save(to, optimize=True)


def main() -> int:
    """Make the figures of the documents."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="?", help="folder of sweeps")
    parser.add_argument("--only", action="append", help="name of a picture, such as law.png; repeatable")
    parser.add_argument("--train", action="store_true", help="train what is missing first")
    parser.add_argument("--list", action="store_true", help="print the commands and leave")
    asked = parser.parse_args()
    chosen = [p for p in PICTURES if not asked.only or p.name in asked.only]
    if not chosen:
        parser.error(f"--only: choose of {', '.join(p.name for p in PICTURES)}")
    if asked.list or asked.runs is None:
        for picture in chosen:
            print(f"{picture.name}: python -m chemscale.train {picture.words} runs=RUNS")
        return 0 if asked.list else 2
    missing = 0
    for picture in chosen:
        command = [*TRAIN, *shlex.split(picture.words), f"runs={asked.runs}"]
        if asked.train:
            subprocess.run(command, check=True)
        if not (asked.runs / picture.sweep).is_dir():
            missing += 1
            print(f"{picture.name} needs its runs: {shlex.join(['python', *command[1:]])}")
            continue
        path = draw(picture, asked.runs)
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
