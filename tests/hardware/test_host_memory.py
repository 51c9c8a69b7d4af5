"""Memory that a step frees is there for the next, without new pages from the system."""

import os
import subprocess
import sys

import pytest

from chemscale.hardware.host_memory import keep_freed_memory
from tests.helpers.preloaded import python

COUNT = """
import resource, sys
import torch
from chemscale.hardware.host_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(2):
    torch.ones(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(1 << 24)  # 64 MiB, and gone again
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode, **environment):
    done = subprocess.run(
        [python(), "-c", COUNT, mode], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_large_tensors_come_without_new_pages():
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    assert faults("keep", **plain) < 0.01 * faults("default", **plain)


def test_the_environments_own_settings_are_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()
