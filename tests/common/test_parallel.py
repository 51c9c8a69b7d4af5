"""Work in processes, called from where users call it."""

import subprocess
import sys

SCRIPT = """
from math import sqrt
from chemscale.common.parallel import ordered_map
print("begin", list(ordered_map(sqrt, [4.0, 9.0, 16.0], 2)))
"""


def test_a_script_without_a_guard_may_ask_for_processes_and_runs_once(tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, tmp_path / "mine.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["begin [2.0, 3.0, 4.0]"]
