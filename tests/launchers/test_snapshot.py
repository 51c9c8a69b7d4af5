"""The copy of the code that jobs run."""

import os
import subprocess
import sys

from chemscale.launchers.snapshot import take_snapshot

WHERE = "from importlib.util import find_spec; print(find_spec('chemscale.train').origin)"


def test_a_snapshot_is_named_by_its_content_and_says_what_it_is_of(tmp_path):
    first, again = take_snapshot(tmp_path), take_snapshot(tmp_path)
    assert first == again
    assert (first / "REVISION").read_text().strip()
    assert (first / "launch" / "site" / "none.yaml").exists()
    assert not list(first.rglob("*.pyc"))
    found = subprocess.run(
        [sys.executable, "-c", WHERE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(first), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(first / "chemscale" / "train.py")
