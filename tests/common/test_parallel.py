"""Work in processes, called from where users call it."""

import subprocess
import sys

from chemscale.common.parallel import process_pool

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


def test_all_processes_of_a_pool_start_before_its_first_task_so_that_none_outlives_another():
    with process_pool(3) as pool:
        assert pool.submit(int, "1").result() == 1
        assert len(pool._processes) == 3
