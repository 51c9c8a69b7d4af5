"""Several points on one GPU: which slot has which, and the service that lets their kernels run together."""

import os
from pathlib import Path

import pytest

from chemscale.launchers.local.gpus import assign_gpus
from chemscale.launchers.local.sharing import CONTROL, LOGS, PIPES, SharingService
from chemscale.launchers.section import LaunchError, LauncherSettings
from chemscale.records import State
from tests.helpers.launch import job, records, run, sweep
from tests.helpers.runs import rows


@pytest.fixture
def control(tmp_path, monkeypatch):
    """A stand-in of the daemon's control program, and the file where it writes what it was asked."""
    seen = tmp_path / "asked"

    def make(status: int = 0) -> Path:
        program = tmp_path / CONTROL
        program.write_text(
            "#!/bin/sh\n"
            f'echo "$* | $(cat) | $CUDA_VISIBLE_DEVICES | ${PIPES}" >> {seen}\n'
            f"[ {status} = 0 ] || echo no permission >&2\n"
            f"exit {status}\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.delenv(PIPES, raising=False)
        return seen

    return make


def test_the_first_slots_lie_on_different_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    slots = assign_gpus([job()], 2, 1, per_gpu=3)
    assert slots == [["GPU-a"], ["GPU-b"]] * 3


def test_two_points_a_gpu_need_half_the_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    assert assign_gpus([job()], 1, 1, per_gpu=2) == [["GPU-a"], ["GPU-a"]]
    with pytest.raises(LaunchError, match="need 2 GPUs, this machine shows 1"):
        assign_gpus([job()], 2, 1)


def test_points_of_several_ranks_do_not_share_a_gpu():
    with pytest.raises(LaunchError, match=r"launcher\.per_gpu=4.*one rank, and this one has 2"):
        LauncherSettings("local", gpus_per_node=2, per_gpu=4)
    assert LauncherSettings("local", parallel=2, per_gpu=4).points_at_once == 8
    assert not LauncherSettings("local", per_gpu=2).in_process


def test_the_service_runs_while_points_do_and_only_on_their_gpus(control):
    asked = control()
    with SharingService([["GPU-a"], ["GPU-b"], ["GPU-a"]], 2) as service:
        folder = service.folder
        assert folder.is_dir()
        told = service.environment(["GPU-b"])
        assert told == {PIPES: str(folder), LOGS: str(folder), "CUDA_VISIBLE_DEVICES": "GPU-b"}
    assert asked.read_text().splitlines() == [
        f"-d |  | GPU-a,GPU-b | {folder}",
        f" | quit | {os.environ.get('CUDA_VISIBLE_DEVICES', '')} | {folder}",
    ]
    assert not folder.exists()


def test_numbers_of_gpus_are_those_that_the_daemon_gives(control):
    control()
    with SharingService([["2"], ["5"]], 2) as service:
        assert service.environment(["5"])["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize(
    ("gpus", "per_gpu"), [([["GPU-a"]], 1), ([], 4), ([["MIG-a"]], 4)], ids=["alone", "no GPU", "slice"]
)
def test_nothing_is_started_where_nothing_can_be_shared(control, gpus, per_gpu):
    asked = control()
    with SharingService(gpus, per_gpu) as service:
        assert service.environment(["GPU-a"]) == {}
    assert not asked.exists()


def test_a_daemon_of_the_machine_is_left_alone(control, monkeypatch):
    asked = control()
    monkeypatch.setenv(PIPES, "/run/mps")
    with SharingService([["GPU-a"]], 4) as service:
        assert service.environment(["GPU-a"]) == {}
    assert not asked.exists()


def test_points_take_turns_where_the_daemon_does_not_start(control, caplog):
    control(status=1)
    with SharingService([["GPU-a"]], 4) as service:
        assert service.environment(["GPU-a"]) == {}
    assert "no permission. Points take turns" in caplog.text


@pytest.mark.slow
def test_points_that_share_have_the_losses_and_the_law_of_points_alone(tmp_path, smiles_file, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = sweep(smiles_file, "model.width=8,16,24", "budget.steps=20")
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    for folder, more in ((shared, ["launcher.per_gpu=3"]), (alone, [])):
        folder.mkdir()
        run(folder, *arguments, *more)
    found, twins = (records(folder / "runs") for folder in (shared, alone))
    assert {r.state for r in found.values()} == {State.DONE}
    for width, record in found.items():
        assert record.identity == twins[width].identity
        place = Path("runs/chemgpt_sizes") / record.identity
        assert rows(shared / place) == rows(alone / place)
    laws = [(folder / "runs/chemgpt_sizes/law/law.json").read_text() for folder in (shared, alone)]
    assert laws[0].replace(" launcher.per_gpu=3", "") == laws[1]  # but for the command that made it
