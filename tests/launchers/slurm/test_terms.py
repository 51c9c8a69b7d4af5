"""What sbatch is asked for where a site has a say, and a ledger that several commands write."""

import pytest

from chemscale.launchers.ledger import Submission, load
from chemscale.launchers.local import LocalRunner
from chemscale.launchers.section import LaunchError
from chemscale.launchers.settings import Site
from chemscale.launchers.slurm.submit import all_or_nothing, options, without_devices
from tests.helpers.launch import job, launch

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
    settings, other = options(OURS, {"requeue": True}, Site(partition="gpu"), extra, [])
    assert settings["partition"] == "gpu"
    assert not set(gone) & ((set(settings) | set(other)) - set(there))
    assert not set(gone) & set(settings)
    assert there.items() <= other.items()


def test_a_dependency_of_the_site_is_added_to_ours():
    _, other = options({}, {}, Site(), {"dependency": "singleton"}, ["1", "2_3"])
    assert other["dependency"] == "afterany:1:2_3,singleton"


def test_the_job_that_fits_the_law_takes_no_gpu_and_no_whole_node():
    extra = {"exclusive": True, "gres": "gpu:8", "gpus-per-task": 1, "gpus": 8, "reservation": "mine"}
    assert without_devices(extra) == {"reservation": "mine"}


def test_status_of_a_sweep_that_slurm_began_and_this_machine_goes_on_with(tmp_path):
    root = tmp_path / "runs" / "x"
    ledger = Submission(root, "local", [], "law", "", "", finish_jobs=["9"])
    ledger.put(job()).jobs.extend(["5_0", "local-1-id-1"])
    ledger.sweep = ["id"]
    assert ledger.newest_jobs() == {}
    assert ledger.has_slurm_jobs()
    ledger.save()
    assert "local-1-id-1" in launch(tmp_path, "status", str(root))


def test_ids_of_jobs_that_cannot_be_cancelled_are_not_lost(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    ledger = Submission(tmp_path, "slurm", [], None, "", "")
    entry = ledger.put(job())

    def queue_and_fail():
        with all_or_nothing(ledger, [job()]):
            entry.jobs.append("5_0")
            raise LaunchError("refused")

    with pytest.raises(LaunchError, match="refused"):
        queue_and_fail()
    assert entry.jobs == ["5_0"]


def test_a_start_on_this_machine_leaves_what_other_commands_wrote_into_the_ledger(tmp_path):
    ledger = Submission(tmp_path, "slurm", ["train"], "law", "", str(tmp_path), finish_jobs=["9"])
    entry = ledger.put(job())
    ledger.save()
    runner = LocalRunner.__new__(LocalRunner)
    runner.ledger = ledger
    later = load(tmp_path)
    later.points["id"].jobs.append("12_0")
    later.points["other"] = later.put(job())
    later.finish_jobs.append("13")
    later.save()
    entry.jobs.append("local-1-id-1")
    runner.note("id")
    found = load(tmp_path)
    assert found.points["id"].jobs == ["12_0", "local-1-id-1"]
    assert (found.finish_jobs, found.points["other"].jobs) == (["9", "13"], ["12_0"])
