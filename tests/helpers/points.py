"""Points that are built without a command line."""

from hydra import compose, initialize_config_dir

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.points.build import read_point


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


STEPS = 40
