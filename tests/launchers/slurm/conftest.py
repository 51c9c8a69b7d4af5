"""A real SLURM of three nodes for the tests of this folder."""

import shutil

import pytest

from chemscale.launchers.testbed.cluster import down, running, up
from chemscale.launchers.testbed.config import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if shutil.which("slurmctld") is None:
        pytest.skip("no SLURM here (Debian: apt-get install slurm-wlm)")
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        made = Cluster(folder, nodes=3)
        up(made)
        patch.setenv("SLURM_CONF", str(made.conf))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield made
        assert down(folder)
        assert not running(folder)
