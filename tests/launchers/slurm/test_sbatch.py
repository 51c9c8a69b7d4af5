"""What sbatch is asked for where a site has a say."""

import pytest

from chemscale.launchers.slurm.resources import Site
from chemscale.launchers.slurm.sbatch import SbatchOptions, without_devices

OURS = {"gpus_per_node": 8, "cpus_per_task": 4, "mem": 100, "time": 60}


@pytest.mark.parametrize(
    ("extra", "gone", "there"),
    [
        ({"cpus-per-task": 2}, ["cpus_per_task"], {"cpus_per_task": 2}),
        ({"no-requeue": True}, ["requeue"], {"no_requeue": True}),
        ({"requeue": False, "exclusive": None}, ["requeue", "exclusive"], {}),
        ({"gres": "gpu:a100:8"}, ["gpus_per_node"], {"gres": "gpu:a100:8"}),
        ({"gres": "scratch:1"}, [], {"gres": "scratch:1", "requeue": True}),
        ({"gpus-per-task": 1}, ["gpus_per_node"], {"gpus_per_task": 1}),
        ({"mem-per-cpu": "4G"}, ["mem"], {"mem_per_cpu": "4G"}),
        ({"open_mode": "truncate"}, ["open_mode"], {"open-mode": "truncate"}),
    ],
)
def test_other_options_of_a_site_win_over_ours(extra, gone, there):
    options = SbatchOptions(dict(OURS), {"requeue": True})
    options.add_site(Site(partition="gpu", extra=extra), after=[])
    assert options.parameters["partition"] == "gpu"
    assert not set(gone) & (set(options.names()) - set(there))
    assert not set(gone) & set(options.parameters)
    assert there.items() <= options.additional.items()


def test_a_dependency_of_the_site_is_added_to_ours():
    options = SbatchOptions()
    options.add_site(Site(extra={"dependency": "singleton"}), after=["1", "2_3"])
    assert options.additional["dependency"] == "afterany:1:2_3,singleton"


def test_the_job_that_fits_the_law_takes_no_gpu_and_no_whole_node():
    extra = {"exclusive": True, "gres": "gpu:8", "gpus-per-task": 1, "gpus": 8, "reservation": "mine"}
    assert without_devices(extra) == {"reservation": "mine"}
