"""Freed memory is kept for the next step."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import torch
from chemscale.hardware.host_memory import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed_memory()


def step():  # 120 MB that stand together until the end, as activations do
    return [torch.ones(500_000) for _ in range(60)]


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


for _ in range(3):
    step()
before = faults()
for _ in range(10):
    step()
print(faults() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_steps_that_allocate_the_same_again_take_fewer_page_faults():
    found = {
        how: int(subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, check=True).stdout)
        for how in ("plain", "keep")
    }
    assert found["keep"] < found["plain"] / 5
