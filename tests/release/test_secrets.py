"""Nothing of the environment that is secret reaches what a run leaves: people share runs."""

import gzip
import json
import os
import secrets
import subprocess
from pathlib import Path

import pytest

from chemscale.cli.version import lines
from chemscale.launchers.slurm.resources import Site
from chemscale.launchers.slurm.script import REQUEUE_TRAP, environment_lines
from tests.helpers.preloaded import python

SECRETS = (
    "WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN", "GITHUB_TOKEN", "GITLAB_TOKEN", "OPENAI_API_KEY", "COMET_API_KEY",
    "MLFLOW_TRACKING_PASSWORD", "AZURE_STORAGE_KEY", "GOOGLE_API_KEY", "SLURM_JWT", "DATABASE_PASSWORD",
    "CHEMSCALE_TEST_SECRET",
)  # fmt: skip


def guarded() -> dict[str, str]:
    """A secret in every variable that is known to hold one. W&B wants 40 hexadecimal digits."""
    return {name: secrets.token_hex(20) for name in SECRETS}


def leaks(folder: Path, values: dict[str, str]) -> list[str]:
    """Variables whose value stands in a file under `folder`, compressed or not, and the file."""
    found = []
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        found += [f"{name} in {path}" for name, value in values.items() if value.encode() in content]
    return found


def test_a_leak_would_be_seen(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"key=0123456789"))
    (tmp_path / "b.bin").write_bytes(b"\0\1ABCDEF\0")
    assert len(leaks(tmp_path, {"A": "0123456789", "B": "ABCDEF", "C": "other"})) == 2


@pytest.mark.slow
def test_a_point_on_several_ranks_leaves_no_secret(tmp_path, smiles_file):
    """Records, curves, W&B's files, the ledger of launching, logs and pickles of jobs, the model.

    A profile's lines may hold what nobody else should read, whatever its comments say: they are no part of a
    record, and lie beside the sweep only where jobs are started from.
    """
    values, own = guarded(), secrets.token_hex(20)
    (tmp_path / "profiles" / "site").mkdir(parents=True)
    (tmp_path / "profiles" / "site" / "mine.yaml").write_text(f"setup: ['export KEY={own}']\n")
    command = [
        *(python(), "-m", "chemscale.train", "model.width=8", "model.layers=2", "model.heads=2"),
        *("batch.tokens=1024", "data.block=128", "trainer.accelerator=cpu", "budget.steps=4"),
        *(
            "data=smiles",
            f"data.path={smiles_file}",
            "data.validation_fraction=0.1",
            "data.prepare_workers=1",
        ),
        *("logger=wandb", "launcher.gpus_per_node=2", "site=mine"),
    ]
    added = values | {"WANDB_MODE": "offline", "CHEMSCALE_CONFIG": str(tmp_path / "profiles")}
    run = subprocess.run(command, env=os.environ | added, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    kinds = {path.name for path in tmp_path.rglob("*")}
    assert {"record.json", "metrics.jsonl", "submission.json", "wandb"} <= kinds
    assert leaks(tmp_path, values) == []
    assert not [name for name, value in values.items() if value in run.stdout + run.stderr]
    (record,) = tmp_path.rglob("record.json")
    assert "site" not in json.loads(record.read_text())["config"]
    assert leaks(record.parent, {"KEY": own}) == []


def test_batch_scripts_and_the_version_hold_no_secret(tmp_path, monkeypatch):
    values = guarded()
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    text = "\n".join([*environment_lines(Site(), tmp_path), REQUEUE_TRAP, *lines()])
    assert not [name for name, value in values.items() if value in text]
