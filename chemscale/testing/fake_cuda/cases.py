"""What is run on the device that is not there: every architecture, several sizes, precisions and options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

ATOMS = 15
"""Atoms of every made-up molecule: 64 of them are the 960 atoms of ``gpu_review``'s estimates."""
FRAMES = 288
STEPS = 3
"""Of a run: the first makes the optimizer's state, the second is counted, the last one logs and validates."""


@dataclass(frozen=True)
class Case:
    """A run of a few steps.

    Args:
        overrides: of its configuration, beside those that all cases have.
        language: whether molecules are read as text.
        crystals: whether the structures are periodic.
    """

    overrides: tuple[str, ...] = ()
    language: bool = False
    crystals: bool = False


def chemgpt(width: int, precision: str, tokens: int = 8192, *more: str) -> Case:
    """A ChemGPT of the paper's family, 24 layers and 16 heads unless told otherwise."""
    own = (f"model.width={width}", f"precision={precision}", f"batch.tokens={tokens}", *more)
    return Case(own, language=True)


def potential(model: str, *more: str, frames: int = 64, crystals: bool = False) -> Case:
    """A potential of a file in ``conf/model``."""
    return Case(("task=potential", f"model={model}", f"batch.frames={frames}", *more), crystals=crystals)


ANY_ERROR = "force_error_limit=1e9"
"""Precisions are counted here, not judged."""

CASES: dict[str, Case] = {
    "chemgpt-sweep-w16": chemgpt(16, "32", 2048, "model.layers=8", "model.heads=8"),
    "chemgpt-w16-bf16": chemgpt(16, "bf16-mixed"),
    "chemgpt-w16-32": chemgpt(16, "32"),
    "chemgpt-w128-bf16": chemgpt(128, "bf16-mixed"),
    "chemgpt-w128-16": chemgpt(128, "16-mixed"),
    "chemgpt-w128-32": chemgpt(128, "32"),
    "chemgpt-w128-tf32": chemgpt(128, "tf32"),
    "chemgpt-w128-recompute": chemgpt(128, "bf16-mixed", 8192, "trainer.checkpoint_activations=true"),
    "chemgpt-w128-accumulate": chemgpt(128, "bf16-mixed", 8192, "batch.accumulate=2"),
    "chemgpt-w128-t65536": chemgpt(128, "bf16-mixed", 65536),
    "chemgpt-w256-bf16": chemgpt(256, "bf16-mixed"),
    "chemgpt-w256-t65536": chemgpt(256, "bf16-mixed", 65536),
    "chemgpt-w1024-bf16": chemgpt(1024, "bf16-mixed"),
    "chemgpt-w2048-bf16": chemgpt(2048, "bf16-mixed"),
    "schnet": potential("schnet"),
    "schnet-rmd17": potential("schnet_rmd17"),
    "painn": potential("painn"),
    "painn-rmd17": potential("painn_rmd17"),
    "painn-rmd17-b5": potential("painn_rmd17", frames=5),
    "painn-rmd17-tf32": potential("painn_rmd17", "precision=tf32"),
    "painn-16": potential("painn", "precision=16-mixed", ANY_ERROR),
    "painn-bf16": potential("painn", "precision=bf16-mixed", ANY_ERROR),
    "painn-crystals": potential("painn", crystals=True),
    "painn-accumulate": potential("painn", "batch.accumulate=2"),
    "painn-energies": potential("painn", "loss.forces=0", "ema=null"),
    "spookynet": potential("spookynet"),
    "spookynet-local": potential("spookynet", "model.nonlocal_attention=false"),
    "spookynet-physics": potential("spookynet", "model.zbl=true", "model.electrostatics=true"),
    "nequip": potential("nequip"),
    "nequip-rmd17": potential("nequip_rmd17"),
    "nequip-16": potential("nequip", "precision=16-mixed", ANY_ERROR),
    "allegro": potential("allegro"),
    "allegro-rmd17": potential("allegro_rmd17"),
    "allegro-bf16": potential("allegro", "precision=bf16-mixed", ANY_ERROR),
    "mace": potential("mace"),
    "mace-rmd17": potential("mace_rmd17"),
    "mace-crystals": potential("mace", crystals=True),
}


def common(case: Case, folder: Path) -> list[str]:
    """Overrides of a case: its own, where its data lie, and a cadence that logs the last step alone.

    Args:
        case: to be run.
        folder: for data and runs.
    """
    shared = [
        *("budget.epochs=null", f"budget.steps={STEPS}", "logger=jsonl", f"runs={folder}/runs"),
        *("trainer.log_every=1000", "trainer.validate_every=1000", "trainer.checkpoint_seconds=1e9"),
        *(
            "data.workers=0",
            "trainer.threads=1",
            "trainer.compile=false",
            "schedule=constant",
            "optimizer.lr=1e-3",
        ),
    ]
    if case.language:
        shared += ["data=smiles", f"data.path={molecules(folder)}", "data.validation_molecules=64"]
        shared += [f"corpora={folder}/corpora", "data.prepare_workers=1"]
    else:
        shared += ["data=structures", f"data.path={structures(folder, case.crystals)}", "lint=off"]
        shared += [f"structures={folder}/structures", "data.validation_frames=16"]
    return [*[o for o in case.overrides if o.startswith("task=")], *shared, *case.overrides]


def molecules(folder: Path, count: int = 1000) -> Path:
    """A file of made-up chains of about 40 symbols; the same for every version of NumPy and RDKit.

    Args:
        folder: where it is written.
        count: of molecules.
    """
    path = folder / "chains.smi"
    if not path.exists():
        draw = np.random.Generator(np.random.PCG64(17))
        lengths = np.clip(draw.normal(40, 12, count), 5, 120).astype(int)
        atoms = np.array(["C", "C", "C", "C", "N", "O", "S", "CC(F)", "CC(Cl)", "CC(=O)"])
        path.write_text("".join(f"C{''.join(draw.choice(atoms, n))}C\n" for n in lengths))
    return path


def structures(folder: Path, crystals: bool = False, frames: int = FRAMES) -> Path:
    """A file of made-up molecules, or of crystals, with labels at random.

    Args:
        folder: where it is written.
        crystals: whether they stand in periodic cells.
        frames: of the file.
    """
    import ase
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    path = folder / f"{'crystals' if crystals else 'clouds'}.extxyz"
    if path.exists():
        return path
    draw = np.random.Generator(np.random.PCG64(5))
    made = []
    for _ in range(frames):
        atoms = ase.Atoms(
            draw.choice([1, 6, 7, 8], ATOMS),
            cloud(draw, 5.6 if crystals else 5.2),
            cell=np.eye(3) * 5.6 if crystals else None,
            pbc=crystals,
        )
        labels = {"energy": float(draw.normal()), "forces": draw.normal(size=(ATOMS, 3))}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        made.append(atoms)
    ase.io.write(path, made, format="extxyz")
    return path


def cloud(draw: np.random.Generator, size: float, apart: float = 1.0) -> np.ndarray:
    """(ATOMS, 3) positions in a cube, none nearer to another than `apart`.

    Args:
        draw: of random numbers.
        size: of the cube, Å.
        apart: Å.
    """
    kept: list[np.ndarray] = []
    while len(kept) < ATOMS:
        new = draw.uniform(0, size, 3)
        if all(np.linalg.norm(new - old) > apart for old in kept):
            kept.append(new)
    return np.array(kept)
