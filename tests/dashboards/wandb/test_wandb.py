"""What W&B is told of sweeps, offline and by a service, and the workspace that shows it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chemscale.dashboards.wandb.view import LAW_FIGURE, LAW_TABLE, TASKS, workspace
from chemscale.records import find_records
from tests.helpers.preloaded import python
from tests.helpers.runs import wait_for_step
from tests.helpers.wandb_files import offline_runs
from tests.helpers.wandb_service import serve

pytest.importorskip("wandb_workspaces")

COMMON = [
    "budget.steps=20", "trainer.log_every=5", "trainer.validate_every=10", "trainer.accelerator=cpu",
    "trainer.threads=1", "data.prepare_workers=1",
]  # fmt: skip
LANGUAGE = ["model.layers=2", "model.heads=4", "batch.tokens=512", "data.block=256"]
LANGUAGE += ["data.validation_fraction=0.1", "data=smiles"]
NOT_HERE = {
    "truth/mfu_percent", "truth/watts", "compute.joules", "summary:compute.joules",  # of some hardware
    "train/left_out",  # of a step without a finite gradient
}  # fmt: skip
KEY = "0123456789" * 4


def train(folder: Path, *arguments: str, **environment: str) -> str:
    command = [python(), "-m", "chemscale.train", *COMMON, *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory, smiles_file):
    """Three ChemGPTs and a PaiNN, tracked offline as by default."""
    folder = tmp_path_factory.mktemp("tracked")
    path = f"data.path={smiles_file}"
    said = train(folder, "+sweep=chemgpt_sizes", "model.width=8,16,32", *LANGUAGE, path)
    train(folder, "+sweep=painn_data", "data.count=120", "data.frames=40", "model.width=4")
    return folder / "runs", said


def points(runs, sweep):
    return [(record, offline_runs(directory)) for directory, record in find_records(runs[0] / sweep)]


def test_a_point_is_one_run_in_the_group_of_its_sweep(runs):
    for record, (tracked,) in points(runs, "chemgpt_sizes"):
        assert (tracked.run.run_group, tracked.run.job_type) == ("chemgpt_sizes", "point")
        assert (tracked.run.run_id, tracked.run.display_name) == (record.identity, record.name)
        assert tracked.config["model"]["width"] == record.config["model"]["width"]
        assert tracked.summary["parameters"]["matrices"] == record.parameters.matrices
        assert tracked.summary["final"]["nats_per_token"] == record.final.values["nats_per_token"]
        assert tracked.summary["state"] == "done"
        assert tracked.exit_code == 0


@pytest.mark.parametrize(("sweep", "axis"), [("chemgpt_sizes", "tokens"), ("painn_data", "frames")])
def test_metrics_stand_against_data_and_every_row_has_its_flops(runs, sweep, axis):
    for _, (tracked,) in points(runs, sweep):
        assert {tracked.axes[f"{kind}/*"] for kind in ("train", "validation", "truth")} == {axis}
        assert [row["_step"] for row in tracked.rows] == [row["step"] for row in tracked.rows]
        assert all(row[axis] > 0 and row["flops"] > 0 for row in tracked.rows)


def plotted(view) -> set[str]:
    """Every metric and summary key that a panel of a view names."""
    found = set()
    for section in view._to_model().model_dump(by_alias=True)["spec"]["section"]["panelBankConfig"][
        "sections"
    ]:
        for panel in section["panels"]:
            config = panel["config"]
            keys = [*(config.get("metrics") or []), *(config.get("mediaKeys") or [])]
            keys += [config.get(axis) for axis in ("xAxis", "yAxis")]
            found |= {key for key in keys if key}
    return found


@pytest.mark.parametrize(("task", "sweep"), [("language", "chemgpt_sizes"), ("potential", "painn_data")])
def test_every_panel_shows_what_runs_log(runs, task, sweep):
    _, (tracked,) = points(runs, sweep)[0]
    (law,) = offline_runs(runs[0] / sweep / "law")
    logged = {key for row in tracked.rows for key in row} | {"/".join(k.split("/")[:2]) for k in law.summary}
    for key, value in tracked.summary.items():
        inner = value if isinstance(value, dict) else {}
        for name in (key, *(f"{key}.{name}" for name in inner)):
            logged |= {name, f"summary:{name}"}
    view = workspace("team", "chemscale", sweep, (task,))
    wanted = plotted(view)
    assert wanted - logged == NOT_HERE
    assert f"summary:final.{TASKS[task].losses[0][0]}" in wanted
    columns = view.runset_settings.pinned_columns
    assert sum(column in logged for column in columns) >= 10


def test_the_law_is_an_artifact_of_the_sweep_with_its_numbers(runs):
    folder, said = runs
    law = json.loads((folder / "chemgpt_sizes" / "law" / "law.json").read_text())
    (tracked,) = offline_runs(folder / "chemgpt_sizes" / "law")
    assert (tracked.run.run_group, tracked.run.job_type) == ("chemgpt_sizes", "law")
    assert tracked.summary["law.parameters.beta"] == law["parameters"]["beta"]
    kept = {a.type: [e.path for e in a.manifest.contents] for a in tracked.artifacts}["law"]
    assert {"law.json", "report.html", "points.csv"} <= set(kept)
    assert any(key.startswith((LAW_FIGURE, LAW_TABLE)) for key in tracked.summary)
    assert "wandb sync" in said


@pytest.mark.slow
def test_an_interrupted_point_goes_on_as_the_same_run(tmp_path, smiles_file):
    one = ["model.width=8", *LANGUAGE, f"data.path={smiles_file}"]
    train(tmp_path, *one, "pause=0.5")
    train(tmp_path, *one)
    ((directory, record),) = find_records(tmp_path / "runs")
    first, second = offline_runs(directory)
    assert first.run.run_id == second.run.run_id == record.identity
    steps = [row["_step"] for tracked in (first, second) for row in tracked.rows]
    assert steps == sorted(set(steps))
    assert steps[-1] == 20


@pytest.mark.slow
def test_a_service_is_told_the_same_and_a_restart_continues_the_run(tmp_path, smiles_file):
    one = ["model.width=8", *LANGUAGE, f"data.path={smiles_file}", "logger.wandb.mode=online"]
    with serve() as service:
        place = {"WANDB_BASE_URL": service.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}
        train(tmp_path, *one, "pause=0.5", **place)
        train(tmp_path, *one, **place)
        ((_, record),) = find_records(tmp_path / "runs")
        (identity,) = service.runs
        assert identity == record.identity
        told = service.runs[identity]
        assert {call["groupName"] for call in told if call.get("groupName")} == {"single"}
        assert any(json.loads(call.get("config") or "{}").get("model") for call in told)
        steps = [row["_step"] for row in service.rows[identity]]
        assert steps == sorted(set(steps))
        assert steps[-1] == 20
        assert service.summaries[identity]["state"] == "done"
        assert not any(
            KEY in path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()
        )


def dashboard(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [python(), "-m", "chemscale.dashboard", "wandb", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_the_workspace_is_created_once_and_then_brought_up_to_date():
    with serve() as service:
        place = {"WANDB_BASE_URL": service.url, "WANDB_API_KEY": KEY}
        for _ in range(2):
            done = dashboard("team/chemscale", "--sweep", "chemgpt_sizes", **place)
            assert done.returncode == 0, done.stderr
        assert (len(service.views), service.saves) == (1, 2)
        (view,) = service.views.values()
        sections = json.loads(view["spec"])["section"]["panelBankConfig"]["sections"]
        assert [s["name"] for s in sections if s["panels"]] == [
            "Law",
            "Points",
            "Curves",
            "Health",
            "Hardware",
        ]
        assert "chemgpt_sizes" in json.dumps(json.loads(view["spec"])["section"]["runSets"])

        lost = dashboard("team/another", **place)
        assert lost.returncode == 2
        assert "team/another" in lost.stderr
        assert "Traceback" not in lost.stderr


def test_a_workspace_needs_no_account_where_it_is_only_written(tmp_path):
    out = tmp_path / "view.json"
    done = dashboard("team/chemscale", "--out", str(out), WANDB_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text())["displayName"] == "chemscale"
    assert "exists" in dashboard("team/chemscale", "--out", str(out)).stderr
    assert "ENTITY/PROJECT" in dashboard("chemscale").stderr


@pytest.mark.slow
def test_a_killed_run_leaves_no_gap_and_no_step_twice(tmp_path, smiles_file):
    one = ["model.width=8", *LANGUAGE, f"data.path={smiles_file}", *COMMON[2:]]
    one += [
        "budget.steps=600",
        "trainer.log_every=1",
        "trainer.validate_every=50",
        "trainer.checkpoint_steps=30",
    ]
    command = [sys.executable, "-m", "chemscale.train", *one]
    killed = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              start_new_session=True)  # fmt: skip
    wait_for_step(tmp_path, 100)
    os.killpg(killed.pid, signal.SIGKILL)  # W&B's own process too, as a power cut does
    killed.wait()
    ((directory, _),) = find_records(tmp_path / "runs")
    saved = max(int(path.stem.removeprefix("step-")) for path in directory.glob("checkpoints/*.ckpt"))
    (first,) = offline_runs(directory)
    assert first.rows[-1]["_step"] >= saved  # what a checkpoint has passed was in W&B before
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300).returncode == 0
    rows = [row for tracked in offline_runs(directory) for row in tracked.rows]
    assert [row["_step"] for row in rows] == list(range(1, 601))
    assert len(offline_runs(directory)) == 2
