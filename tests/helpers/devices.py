"""Small points and models of every family, on the device that is asked for."""

from hydra import compose, initialize_config_dir

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.models.allegro import AllegroConfig
from chemscale.models.mace import MACEConfig
from chemscale.models.nequip import NequIPConfig
from chemscale.models.painn import PaiNNConfig
from chemscale.models.schnet import SchNetConfig
from chemscale.models.spookynet import SpookyNetConfig
from chemscale.points.build import read_point
from chemscale.points.run import fit, open_record
from chemscale.records import RunRecord
from chemscale.testing.fake_cuda.cases import structures

FAMILIES = {
    "schnet": SchNetConfig(width=16, layers=2),
    "painn": PaiNNConfig(width=16, layers=2),
    "spookynet": SpookyNetConfig(width=16, layers=2),
    "spookynet-charges": SpookyNetConfig(width=16, layers=2, zbl=True, electrostatics=True),
    "nequip": NequIPConfig(width=8, layers=2, l_max=1),
    "allegro": AllegroConfig(width=16, layers=2, tensors=4, l_max=1),
    "mace": MACEConfig(width=8, layers=2, l_max=1),
}
"""Every family of potentials, small."""

STEPS = 12
COMMON = (
    *("budget.epochs=null", f"budget.steps={STEPS}", "trainer.log_every=1", "trainer.validate_every=6"),
    *("trainer.checkpoint_steps=3", "logger=jsonl", "trainer.threads=1"),
)


def language_point(folder, smiles_file, device, *more):
    """A ChemGPT on the molecules of a file."""
    return point(
        folder,
        device,
        *("data=smiles", f"data.path={smiles_file}", "data.block=256", "data.validation_fraction=0.1"),
        *("data.prepare_workers=1", "model.width=32", "model.layers=2", "model.heads=4", "batch.tokens=1024"),
        *more,
    )


def potential_point(folder, family, device, *more):
    """A potential on made-up molecules."""
    small = ("model.layers=2", "model.width=8")
    return point(
        folder,
        device,
        *("task=potential", f"model={family}", *small, "data=structures", "lint=off", "batch.frames=4"),
        *(f"data.path={structures(folder.parent, frames=40)}", "data.validation_frames=4"),
        *more,
    )


def point(folder, device, *overrides):
    """A point whose runs and data lie in a folder."""
    where = (f"runs={folder}/runs", f"corpora={folder}/corpora", f"structures={folder}/structures")
    tasks = [o for o in overrides if o.startswith("task=")]
    rest = [o for o in overrides if not o.startswith("task=")]
    with initialize_config_dir(config_dir=str(CONFIG_DIRECTORY), version_base=None):
        typed = [*tasks, *COMMON, *where, f"trainer.accelerator={device}", *rest]
        return read_point(compose("train", overrides=typed))


def trained(made):
    """Fit a point in this process; where its run lies."""
    fit(made, open_record(made, []))
    return made.directory


def record_of(directory):
    return RunRecord.load(directory)
