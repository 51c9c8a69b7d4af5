"""What a run does not need is not waited for."""

import subprocess
import sys

import pytest

POTENTIALS = {"e3nn", "torch_geometric", "matscipy", "ase", "h5py", "chemscale.models.potentials"}


@pytest.mark.slow
def test_a_language_model_waits_for_no_library_of_potentials():
    code = (
        "import sys, hydra\n"
        "from omegaconf import OmegaConf\n"
        "import chemscale.launchers.run, chemscale.points.cost, chemscale.points.language\n"
        "from chemscale.common.paths import CONFIG_DIRECTORY\n"
        "from chemscale.points.build import resolve_config\n"
        "with hydra.initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):\n"
        "    config = resolve_config(hydra.compose('train', ['logger=jsonl']))\n"
        "assert config['model']['family'] == 'chemgpt'\n"
        f"print(sorted({POTENTIALS!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
