"""The environment that sbatch is run in."""

from chemscale.launchers.slurm.environment import variables_to_drop


def test_a_job_sees_nothing_of_the_allocation_it_was_submitted_from():
    around = {
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_JOB_ID": "7",
        "SLURM_CPU_BIND": "cores",
        "SBATCH_ACCOUNT": "mine",
        "SBATCH_PARTITION": "debug",
        "MASTER_ADDR": "node1",
        "HOME": "/home/me",
    }
    assert set(variables_to_drop(around, ["partition"])) == {
        "SLURM_JOB_ID",
        "SLURM_CPU_BIND",
        "SBATCH_PARTITION",
        "MASTER_ADDR",
    }
