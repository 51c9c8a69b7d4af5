"""The command prepare, given to several processes, and what it refuses before anything is queued."""

import os
import signal
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from chemscale.common.exit_status import START_AGAIN
from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.common.sections import ConfigurationError
from chemscale.config.check import UnknownKeyError, check_keys
from chemscale.launchers.section import LaunchError, preparation_launcher
from chemscale.launchers.slurm.environment import Allocation
from chemscale.launchers.slurm.sbatch import without_gpus
from chemscale.molecules.preparation import build as building
from chemscale.points.preparation import check_preparation, is_molecules, prepare
from tests.helpers.sources import extxyz, molecule


def config(*overrides: str) -> dict:
    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        composed = compose("prepare", list(overrides))
    check_keys(composed, "prepare")
    return OmegaConf.to_container(composed, resolve=True)


def _frames(path: Path) -> Path:
    return extxyz(path, [molecule(0.7 + i / 100, REF_energy=float(i)) for i in range(3)])


def launcher(*overrides: str):
    found = config("data.source=starter", *overrides)
    return preparation_launcher(found, can_share=is_molecules(found))


def test_a_signal_ends_a_process_that_shares_and_leaves_nothing_claimed(smiles_file, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "CHUNK_ROWS", 10)
    given = config(
        "data=smiles", f"data.path={smiles_file}", f"corpora={tmp_path}", "shared=true",
        "data.prepare_workers=1", "report=true",
    )  # fmt: skip
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function = building.standardize_chunk

            def slow(chunk):
                time.sleep(0.1)
                return function(chunk)

            building.standardize_chunk = slow
            prepare(given)
        except SystemExit as end:
            status = end.code
        finally:
            os._exit(status)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*/.build/part-*.npy")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == START_AGAIN
    sharing = next(tmp_path.glob("*/.build/sharing"))
    assert list((sharing / "claims").iterdir()) == []
    assert list((sharing / "members").iterdir()) == []
    before = signal.getsignal(signal.SIGTERM)
    assert prepare(given)
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(list(tmp_path.glob("*/report.html"))) == 1


def test_slurm_says_who_a_process_is_and_with_whom_it_was_started():
    assert Allocation.of({}) == Allocation(1, "", None, None, True)
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "4"}
    first, second = (Allocation.of(step | {"SLURM_PROCID": n}) for n in "01")
    assert (first.tasks, first.name, first.is_first) == (4, "7.0", True)
    assert (second.tasks, second.name, second.is_first) == (4, "7.1", False)
    assert first.session == second.session
    assert Allocation.of({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8"}).tasks == 1, "the shell of an allocation"
    batch = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_NODEID": "0"}
    assert Allocation.of(batch).tasks == 1, "a batch script"
    element = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "1"}
    one = Allocation.of(element | {"SLURM_NTASKS": "1", "SLURM_CPUS_PER_TASK": "1"})
    assert (one.tasks, one.name, one.cores, one.is_first) == (1, "8_1", 1, False)
    other = Allocation.of(element | {"SLURM_JOB_ID": "10", "SLURM_ARRAY_TASK_ID": "0"})
    assert other.session == one.session
    assert other.is_first
    assert Allocation.of(element | {"SLURM_RESTART_COUNT": "1"}).session != one.session


def test_what_preparation_has_no_use_for_is_refused_by_its_key():
    assert launcher("launcher=slurm", "launcher.nodes=4", "launcher.cpus_per_rank=8").nodes == 4
    assert launcher().name == "local"
    with pytest.raises(LaunchError, match=r"launcher\.gpus_per_node=8: preparing data uses no GPU"):
        launcher("launcher=slurm", "launcher.gpus_per_node=8")
    with pytest.raises(LaunchError, match=r"launcher\.gpu=h100"):
        launcher("launcher=slurm", "launcher.gpu=h100")
    with pytest.raises(LaunchError, match="shared=true on each of them"):
        launcher("launcher.nodes=4")
    with pytest.raises(LaunchError, match=r"launcher\.parallel=2: on this machine data\.prepare_workers"):
        launcher("launcher.parallel=2")
    with pytest.raises(LaunchError, match="a store of structures is prepared by one task"):
        launcher("data=structures", "data.path=a.xyz", "data.source=structures", "launcher=slurm",
                 "launcher.nodes=2")  # fmt: skip
    with pytest.raises(UnknownKeyError, match=r"launcher\.minutes"):
        launcher("launcher=slurm", "+launcher.minute=5")


def test_what_a_job_would_refuse_is_refused_before_it_is_queued(tmp_path, smiles_file):
    check_preparation(config("data=smiles", f"data.path={smiles_file}"))
    with pytest.raises(FileNotFoundError, match="no such file, folder or pattern"):
        check_preparation(config("data=smiles", f"data.path={tmp_path / 'none.smi'}"))
    with pytest.raises(FileNotFoundError):
        check_preparation(config("data=structures", f"data.path={tmp_path / 'none.xyz'}"))
    for source, file in (("smiles", smiles_file), ("structures", _frames(tmp_path / "some.extxyz"))):
        with pytest.raises(FileNotFoundError, match=r"data\.exclude=nowhere: no such file"):
            check_preparation(config(f"data={source}", f"data.path={file}", "data.exclude=nowhere"))
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(ConfigurationError, match="prepared by one process"):
        check_preparation(config("data=structures", f"data.path={tmp_path / 'a.xyz'}", "shared=true"))


def test_gpus_that_a_site_asks_for_are_left_out():
    asked = {"gres": "gpu:4", "gpus-per-task": 1, "gpu-bind": "none", "mem_per_gpu": 8}
    kept = {"reservation": "mine", "exclusive": True, "gres": "scratch:1"}
    assert without_gpus(asked) == {}
    assert without_gpus(kept) == kept
