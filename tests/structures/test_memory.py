"""A set of structures larger than what may lie in memory."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys, threading, time
from pathlib import Path
import numpy as np
from chemscale.structures.batches import BatchBudget
from chemscale.structures.blocks import Block
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.data_module import StructureDataModule

ATOMS, FRAMES, BLOCKS = 20, 2000, 50

class Large:
    level, units, notes = "toy", "eV, Angstrom", []
    def blocks(self):
        random = np.random.default_rng(0)
        numbers = np.array([6] * 8 + [1] * 12)
        for block in range(BLOCKS):
            positions = random.uniform(0, 8, (FRAMES, ATOMS, 3))
            forces = random.normal(0, 1, positions.shape)
            energies = random.normal(0, 1, FRAMES)
            yield Block(f"m{block}", numbers, positions, energies, forces, np.arange(FRAMES) + block * FRAMES)
    def splits(self):
        return None

def anonymous():
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("RssAnon"))
    return int(line.split()[1]) / 1024

peak, before = 0.0, anonymous()
def watch():
    global peak
    while True:
        peak = max(peak, anonymous() - before)
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()

store = build_store(Large(), Path(sys.argv[1]) / "store", SplitPolicy(validation=0.01))
data = StructureDataModule(store, BatchBudget(frames=32), cutoff=5.0, seed=0)
batches = data.training_batches()
for number in range(40):
    batches[number * 7]
size = sum(f.stat().st_size for f in (Path(sys.argv[1]) / "store").rglob("*") if f.is_file()) / 2**20
print(peak, size)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_a_store_is_built_and_read_in_a_fraction_of_its_size(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True
    )
    peak, size = map(float, done.stdout.split()[-2:])
    assert size > 150
    print(f"{peak:.0f} MiB of memory for {size:.0f} MiB on disk")
    assert peak < size / 4, f"{peak:.0f} MiB of memory for {size:.0f} MiB on disk"
