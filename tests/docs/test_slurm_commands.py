"""Commands of the documents that need SLURM, on a real one of this machine."""

import shutil

import pytest

from chemscale.launchers.testbed.cluster import down, up
from chemscale.launchers.testbed.config import Cluster
from tests.helpers.documents.blocks import all_blocks
from tests.helpers.documents.running import execute, plain_environment

pytestmark = pytest.mark.slurm

PROFILE = """\
defaults: [none]
partition: main
setup: [export OMP_NUM_THREADS=1]
"""
"""The reader's cluster."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of a shell on a login node, with a profile of its cluster."""
    if shutil.which("slurmctld") is None:
        pytest.skip("no SLURM here (Debian: apt-get install slurm-wlm)")
    home = tmp_path_factory.mktemp("home")
    profile = home / ".config" / "chemscale" / "site" / "mycluster.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text(PROFILE)
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), nodes=2)
    with pytest.MonkeyPatch.context() as patch:
        up(cluster)
        patch.setenv("SLURM_CONF", str(cluster.conf))
        yield {**plain_environment(home), "SLURM_CONF": str(cluster.conf)}
        down(cluster.folder)


@pytest.mark.parametrize("block", [b for b in all_blocks() if b.marker == "slurm"], ids=str)
def test_a_block_of_commands_runs_on_slurm(block, folder, environment):
    execute(block, folder, environment)
