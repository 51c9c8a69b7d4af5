"""Make the data of ``tests/compatibility/v0_1_0``, with the code of version 0.1.0.

Run it with the interpreter and the code of that version (a checkout of the commit before the packages were
rearranged), from an empty folder::

    PYTHONPATH=$OLD $OLD/.venv/bin/python tests/compatibility/make.py points OUT

`points` writes ``points.json``: for many command lines the resolved configuration of every point and its
identity with a fixed hash of the data. It is text, to be read in a diff: each configuration is stored as its
differences from the first one of its family.

`runs` writes what runs left: ``paused/`` a ChemGPT and a PaiNN stopped half-way with their checkpoints,
``whole/`` the same two without a break (records, metrics and models), ``reference.json`` what the two models
compute, ``records/`` a record of the other families, and ``ledgers/`` of local ranks and of SLURM.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

from inputs import SHORT, SMALL, differences, put_inputs  # beside this script

DATA_HASH = "0" * 64
"""Stands for the hash of the prepared data, which depends on the releases of RDKit and SELFIES."""

MOLECULES = ("data.count=400",)
FRAMES = ("data=starter_structures", "data.count=60")
LANGUAGE = [
    "",
    "+sweep=chemgpt_sizes",
    "+sweep=chemgpt_joint model.width=16,64",
    "+sweep=chemgpt_hparams batch.tokens=512,4096",
    "+sweep=paper_chemgpt data.path=starter-400.smi data.molecules=100,300 model.width=16,32",
    "+sweep=chemgpt_sizes budget.epochs=1 model.width=16",
    "+sweep=chemgpt_sizes budget.epochs=0.5,1.0 model.width=16",
    "+sweep=chemgpt_sizes budget.steps=10,20 model.width=16",
    "+sweep=chemgpt_sizes budget.tokens=20000 model.width=16",
    "+sweep=chemgpt_sizes budget.tokens=2e4,4e4 model.width=16",
    "+sweep=chemgpt_sizes budget.molecules=500 model.width=16",
    "+sweep=chemgpt_sizes budget.flops=1e9 model.width=16",
    "+sweep=chemgpt_joint budget.tokens=1e4,2e4 model.width=16 schedule.warmup=2 seed=0,1",
    "budget.epochs=1",
    "budget.epochs=1.0",
    "budget.steps=10",
    "budget.tokens=2e4",
    "budget.molecules=500",
    "budget.flops=1e9",
    "precision=32",
    "precision='32'",
    "precision=bf16-mixed",
    "trainer.precision=32",
    "trainer.clip=1",
    "trainer.clip=1.0",
    "trainer.clip=null",
    "batch.accumulate=2",
    "batch.tokens=4096 batch.accumulate=4",
    "batch.per_gpu=512",
    "batch.per_gpu=auto model.layers=1 model.width=16",
    "trainer.checkpoint_activations=true",
    "schedule=cosine",
    "schedule=constant schedule.warmup=5",
    "schedule.cooldown=0.5 schedule.floor=0",
    "optimizer=adam optimizer.lr=1e-3",
    "optimizer.lr=0.001 optimizer.betas=[0.9,0.95]",
    "optimizer.lr=1 optimizer.weight_decay=0",
    "seed=1",
    "model=chemgpt_4.7m",
    "model=chemgpt_19m",
    "data.molecules=100 data.validation_molecules=5",
    "data.block=256 data.stereo=strip data.salts=drop",
    "data=smiles data.path=starter-400.smi data.smiles_column=null",
    "logger=none",
    "logger=[jsonl,tensorboard]",
    "trunk=true schedule.warmup=2 trainer.validate_every=5",
    "pause=0.2 point_name=mine sweep_name=ours runs=elsewhere",
    "+variables.width=32 model.width=${variables.width}",
    "strategy=ddp launcher.gpus_per_node=2 trainer.accelerator=cpu",
    "strategy=zero2 launcher.gpus_per_node=2 trainer.accelerator=cpu batch.accumulate=2",
    "launcher=slurm launcher.nodes=2 launcher.gpus_per_node=2 trainer.accelerator=cpu strategy=zero1",
    "trainer.validate_every=5 trainer.checkpoint_steps=10 trainer.checkpoint_seconds=1.5 trainer.threads=1",
    "trainer.health.roll_backs=0 trainer.log_every=1",
    "+recipe=chemgpt_1.2b data.path=starter-400.smi trainer.accelerator=cpu batch.per_gpu=512"
    " trainer.checkpoint_activations=true",
]
POTENTIAL = [
    "+sweep=schnet_data data.frames=20,40",
    "+sweep=painn_data data.frames=20,40",
    "+sweep=spookynet_data data.frames=20,40",
    "+sweep=nequip_data data.frames=20",
    "+sweep=allegro_data data.frames=20",
    "+sweep=mace_data data.frames=20",
    "+sweep=painn_sizes model.width=8,16",
    "+sweep=painn_sizes model=mace model.width=8 model.layers=2",
    "+sweep=painn_hparams data.frames=40 budget.frames=400 batch.frames=4,8 optimizer.lr=1e-3,3e-3",
    "+sweep=symmetry_ladder data.frames=20",
    "+sweep=painn_data data.frames=20 budget.epochs=2",
    "+sweep=painn_data data.frames=20 budget.frames=100",
    "+sweep=painn_data data.frames=20 budget.atoms=1e3",
    "+sweep=painn_data data.frames=20 budget.flops=1e10",
    "task=potential",
    "task=potential model=painn budget.epochs=2",
    "task=potential model=painn budget.steps=7",
    "task=potential model=painn budget.frames=100",
    "task=potential model=painn budget.atoms=1e3",
    "task=potential model=painn budget.flops=1e10",
    "task=potential model=painn precision=32 trainer.clip=1",
    "task=potential model=painn batch.accumulate=2",
    "task=potential model=painn batch.frames=null batch.atoms=60",
    "task=potential model=painn batch.frames=10 batch.per_gpu=5",
    "task=potential model=painn schedule=plateau",
    "task=potential model=painn loss.energy=1 loss.forces=10",
    "task=potential model=painn loss.energy=1.0 optimizer.amsgrad=true",
    "task=potential model=painn data.references=minimum_norm data.frames=5 lint=off",
    "task=potential model=painn data.split_by=molecule data.test_fraction=0.1",
    "task=potential model=painn trunk=true schedule.warmup=2 trainer.validate_every=5 budget.steps=20",
    "task=potential model=painn launcher.gpus_per_node=2 trainer.accelerator=cpu batch.frames=4",
    "task=potential model=schnet_rmd17",
    "task=potential model=painn_rmd17",
    "task=potential model=nequip_rmd17",
    "task=potential model=nequip_3bpa",
    "task=potential model=allegro_rmd17",
    "task=potential model=mace_rmd17",
]


def command_lines() -> list[list[str]]:
    """Overrides as they are typed, quotes of the shell left out."""
    language = [[*line.split(), *(() if "data.path" in line else MOLECULES)] for line in LANGUAGE]
    return language + [[*FRAMES, *line.split()] for line in POTENTIAL]


def make_points(out: Path) -> None:
    """Compose, read and identify every point, in an empty folder that the small files are put into."""
    from chemscale.configuration import read_point
    from chemscale.errors import CONFIG_DIRECTORY
    from chemscale.sweeps.points import expand
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from chemscale.sweeps.identity import identity

    put_inputs(Path.cwd())
    bases: dict[str, dict] = {}
    commands = []
    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        for typed in command_lines():
            points = []
            if any(word.startswith("+sweep=") for word in typed):
                first = [w.split(",")[0] for w in typed]
                sweeper = compose("train", first, return_hydra_config=True).hydra.sweeper
                axes, listed = OmegaConf.to_container(sweeper.axes), OmegaConf.to_container(sweeper.points)
                lists = expand(typed, axes, listed)
            else:
                lists = [typed]
            for overrides in lists:
                point = read_point(compose("train", overrides), overrides)
                base = bases.setdefault(point.config["model"]["family"], point.config)
                points.append(
                    {
                        "overrides": overrides,
                        "family": point.config["model"]["family"],
                        "identity": identity(point.config, DATA_HASH),
                        "name": point.name,
                        "steps": point.steps,
                        **differences(base, point.config),
                    }
                )
            commands.append({"typed": typed, "points": points})
            print(len(points), *typed, flush=True)
    document = {"data_hash": DATA_HASH, "bases": bases, "commands": commands}
    out.mkdir(parents=True, exist_ok=True)
    (out / "points.json").write_text(json.dumps(document, indent=1) + "\n")


FAMILIES = {
    "schnet": ("model=schnet",),
    "spookynet": ("model=spookynet",),
    "nequip": ("model=nequip", "model.l_max=1"),
    "allegro": ("model=allegro", "model.l_max=1"),
    "mace": ("model=mace", "model.l_max=1"),
}
LEDGER = ["+sweep=chemgpt_sizes", *SMALL["language"], *SHORT, "budget.steps=2", "launcher.gpus_per_node=2"]


def maker() -> str:
    """Who made this processor: its libraries add floats in another order on another one's."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("vendor_id"))


def train(*overrides: str) -> None:
    """``python -m chemscale.train`` in this process."""
    command = importlib.import_module("chemscale.train")
    sys.argv = ["chemscale train", *overrides]
    command.main()


def make_runs(out: Path) -> None:
    """Train in an empty folder, and keep what is small."""
    put_inputs(Path.cwd())
    for name, small in SMALL.items():
        train(*small, *SHORT, f"sweep_name={name}", "runs=whole")
        train(*small, *SHORT, f"sweep_name={name}", "runs=paused", "pause=0.5")
    for name, family in FAMILIES.items():
        options = [o for o in SMALL["potential"] if not o.startswith("model=")]
        train(*options, *family, *SHORT, "budget.steps=2", f"sweep_name={name}", "runs=families")
    for folder in ("whole", "paused"):
        kept = shutil.ignore_patterns(
            ".lock", "law", "planned.json", *(["*.ckpt", "*.sha256"] if folder == "whole" else [])
        )
        shutil.copytree(folder, out / folder, ignore=kept)
    for record in sorted(Path("families").rglob("record.json")):
        target = out / "records" / record.parent.parent.name / record.parent.name
        target.mkdir(parents=True)
        shutil.copy(record, target)
    (out / "reference.json").write_text(json.dumps(reference(Path("whole")), indent=1) + "\n")
    make_ledgers(out)


def reference(runs: Path) -> dict:
    """What the trained models compute, and on what."""
    import numpy as np
    import torch
    from ase import Atoms
    from chemscale.molecules.tokenizer import SelfiesTokenizer

    from chemscale.models.chemgpt_hf import load_pretrained
    from chemscale.structures.calculator import ChemscaleCalculator

    folder = next(runs.glob("language/*/model"))
    tokenizer = SelfiesTokenizer.load(folder)
    ids = [tokenizer.bos_id, *tokenizer.encode("[C][C][=Branch1][C][=O][O]")]
    with torch.no_grad():
        logits = load_pretrained(folder).dense(torch.tensor([ids]))
    atoms = Atoms("OH2", positions=[(0.0, 0.0, 0.12), (0.0, 0.76, -0.48), (0.0, -0.76, -0.48)])
    atoms.calc = ChemscaleCalculator(next(runs.glob("potential/*/model")), dtype=torch.float64)
    return {
        "made_with": {"maker": maker(), "cpu": torch.backends.cpu.get_cpu_capability()},
        "selfies": "[C][C][=Branch1][C][=O][O]",
        "ids": ids,
        "logits": np.asarray(logits)[0].tolist(),
        "symbols": "OH2",
        "positions": atoms.positions.tolist(),
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces().tolist(),
    }


def make_ledgers(out: Path) -> None:
    """Of a sweep on two local ranks, and the same points as if SLURM had been given them."""
    from chemscale.sweeps.launchers.submission import load

    train(*LEDGER, "model.width=8,16", "sweep_name=ranks")
    ledger = load(Path("runs/ranks"))
    (out / "ledgers" / "local").mkdir(parents=True)
    shutil.copy("runs/ranks/jobs/submission.json", out / "ledgers" / "local")
    ledger.launcher, ledger.finish_jobs, ledger.code = "slurm", ["1003"], "/home/user/.cache/chemscale/code"
    for number, identity in enumerate(ledger.sweep):
        ledger.points[identity].jobs = [str(1001 + number)]
    ledger.save()
    (out / "ledgers" / "slurm").mkdir(parents=True)
    shutil.copy("runs/ranks/jobs/submission.json", out / "ledgers" / "slurm")


if __name__ == "__main__":
    {"points": make_points, "runs": make_runs}[sys.argv[1]](Path(sys.argv[2]).resolve())
