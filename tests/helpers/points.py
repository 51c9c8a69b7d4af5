"""Points that are built without a command line."""

from ase import Atoms
from ase.io import write
from hydra import compose, initialize_config_dir

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.points.build import read_point
from tests.helpers.structures import toy_blocks


def point_in(folder, smiles_file, *more):
    overrides = [
        *("data=smiles", f"data.path={smiles_file}", "data.block=256", "data.validation_fraction=0.1"),
        *("data.prepare_workers=1", "model.width=8", "model.layers=1", "model.heads=2", "batch.tokens=512"),
        *(f"runs={folder}/runs", f"corpora={folder}/corpora", "logger=jsonl", "trainer.accelerator=cpu"),
        *("budget.epochs=null", f"budget.steps={STEPS}", "trainer.log_every=1", "trainer.validate_every=20"),
        *("trainer.checkpoint_steps=5", *more),
    ]
    with initialize_config_dir(config_dir=str(CONFIG_DIRECTORY), version_base=None):
        return read_point(compose("train", overrides=overrides))


def potential_in(folder, *more):
    """A small PaiNN on springs, with an average of its weights."""
    frames = [
        Atoms(block.numbers, positions, info={"REF_energy": energy})
        for block in toy_blocks(20)
        for positions, energy in zip(block.positions, block.energies, strict=True)
    ]
    for atoms, forces in zip(frames, (f for block in toy_blocks(20) for f in block.forces), strict=True):
        atoms.arrays["REF_forces"] = forces
    write(folder / "frames.extxyz", frames)
    overrides = [
        *("task=potential", "model=painn", "data=structures", f"data.path={folder}/frames.extxyz"),
        *("model.width=8", "model.layers=1", "batch.frames=8", "logger=jsonl", "trainer.accelerator=cpu"),
        *(f"runs={folder}/runs", f"structures={folder}/structures", "data.references=minimum_norm"),
        *("budget.epochs=null", f"budget.steps={STEPS}", "trainer.log_every=1", "trainer.validate_every=20"),
        *("trainer.checkpoint_steps=5", "lint=off", *more),
    ]
    with initialize_config_dir(config_dir=str(CONFIG_DIRECTORY), version_base=None):
        return read_point(compose("train", overrides=overrides))


STEPS = 40
