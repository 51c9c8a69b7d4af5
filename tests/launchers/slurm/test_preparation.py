"""Data prepared by SLURM jobs: the bytes of one process, whatever becomes of a task."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from chemscale.molecules.preparation.build import build_corpus
from tests.helpers.launch import job_field, run, slurm, wait
from tests.helpers.preloaded import python
from tests.helpers.sources import extxyz, molecule

pytestmark = pytest.mark.slurm

SLURM = ["launcher=slurm", "site=loopback"]
TIMES = 60
"""Enough rows for six chunks, and seconds of work."""


def prepare(folder: Path, *arguments: str, status: int = 0) -> str:
    return run(folder, *arguments, status=status, module="chemscale.prepare")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def workers(corpora: Path) -> dict[str, int]:
    """Process ids of tasks that have claimed something, by their names."""
    found = {}
    for claim in corpora.glob("*/.build/sharing/claims/part-*"):
        try:
            owner = os.readlink(claim)
            beat = claim.parents[1] / "members" / f"{owner}.beat"
            found[owner] = json.loads(beat.read_text())["pid"]
        except (OSError, ValueError):
            continue
    return found


def test_four_tasks_of_which_one_is_killed_leave_the_corpus_of_one_process(
    cluster, tmp_path, smiles_file, smiles
):
    rows = tmp_path / "rows.smi"
    rows.write_text(smiles_file.read_text() * TIMES)
    told = prepare(tmp_path, "data=smiles", "data.path=rows.smi", *SLURM, "launcher.nodes=4", "report=true")
    job = told.split("Job ")[1].split()[0]
    assert "4 tasks prepare it together" in told
    assert str(tmp_path / "corpora" / "jobs" / f"{job}*_log.out") in told
    claimed = wait("two tasks at work", lambda: len(w := workers(tmp_path / "corpora")) > 1 and w)
    victim = sorted(claimed)[0]
    os.kill(claimed[victim], signal.SIGKILL)
    alone = build_corpus([rows], tmp_path / "alone", workers=1)
    wait("the tasks ended", lambda: job not in slurm("squeue", "-h", "-r", "-o", "%i"), 120)
    made = next((tmp_path / "corpora").glob("rows-*/manifest.json")).parent
    found = contents(made)
    assert {"report.html", "report.json", "vocabulary.csv"} <= set(found)
    assert {name: found[name] for name in contents(alone.path)} == contents(alone.path)
    logs = {path.name: path.read_text() for path in (tmp_path / "corpora" / "jobs").glob("*_log.out")}
    assert len(logs) == 4
    assert all("has a part in preparing" in text or "is complete" in text for text in logs.values())
    assert sum("Report, made in" in text for text in logs.values()) == 1
    assert {job_field(f"{job}_{n}", "JobState") for n in range(4)} == {"COMPLETED"}, "queued again, too"
    assert [job_field(f"{job}_{n}", "Restarts") for n in range(4)].count("1") == 1


def test_structures_are_one_job_and_a_bad_file_ends_all_tasks_with_what_is_wrong(cluster, tmp_path):
    extxyz(tmp_path / "frames.extxyz", [molecule(0.7 + i / 100, REF_energy=float(i)) for i in range(20)])
    (tmp_path / "bad.smi").write_bytes(b"CCO\nCCN\n" * 3 + b"C\xffC\n")
    waiting = [*SLURM, "launcher.wait=true"]
    asked = {
        "store": ["data=structures", "data.path=frames.extxyz", *waiting],
        "bad": ["data=smiles", "data.path=bad.smi", "launcher.nodes=2", *waiting],
    }
    running = {
        name: subprocess.Popen(
            [python(), "-m", "chemscale.prepare", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, arguments in asked.items()
    }
    told = {name: process.communicate(timeout=120)[0] for name, process in running.items()}
    assert running["store"].returncode == 0, told
    assert "20 frames of" in told["store"]
    assert len(list(tmp_path.glob("structures/frames-*/manifest.json"))) == 1
    assert running["bad"].returncode == 1, told
    assert told["bad"].count("bad.smi, line 7: byte 0xFF is not UTF-8") >= 2
