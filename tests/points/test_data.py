"""Processes that begin together and need the same data get the same data."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.helpers.preloaded import python

PREPARE = ["-m", "chemscale.prepare", "data.prepare_workers=1"]


def together(folder: Path, count: int, *arguments: str) -> list[str]:
    """What `count` processes say that are started at once."""
    command = [python(), *PREPARE, *arguments]
    running = [
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(count)
    ]
    said = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0] * count, said
    return said


@pytest.mark.slow
def test_a_corpus_that_many_want_at_once_is_made_once_and_whole(tmp_path):
    said = together(tmp_path, 4, "data=starter", "data.count=400", "data.validation_fraction=0.1")
    assert sum("Preparing corpora/starter-400-" in text for text in said) == 1
    (manifest,) = tmp_path.glob("corpora/*/manifest.json")
    assert json.loads(manifest.read_text())["counts"]["kept"] == 400
    assert all("400 rows: " in text for text in said)


def test_finished_data_are_read_where_nothing_can_be_written(tmp_path):
    arguments = ("data=starter", "data.count=400", "data.validation_fraction=0.1")
    together(tmp_path, 1, *arguments)
    for lock in tmp_path.glob("corpora/.*.lock"):
        lock.unlink()
    (tmp_path / "corpora").chmod(0o555)
    together(tmp_path, 1, *arguments)
    assert not list(tmp_path.glob("corpora/.*.lock"))
