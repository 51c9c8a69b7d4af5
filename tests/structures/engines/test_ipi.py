"""i-PI gets from a potential what the ASE calculator gives, bead for bead."""

import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io import read, write

from chemscale.models.potential import UnknownElementError
from chemscale.structures.engines.ipi import NoServerError, serve
from tests.helpers.engines import ethanol, expected, largest, random_potential, salt

I_PI = shutil.which("i-pi", path=str(Path(sys.executable).parent))
needs_ipi = pytest.mark.skipif(I_PI is None, reason="i-PI is not installed (pip install 'chemscale[ipi]')")

INPUT = """
<simulation verbosity='low'>
  <output prefix='out'>
    <properties stride='1' filename='log' shape='(4)'>
      [step, potential{{electronvolt}}, conserved{{electronvolt}}, virial_cv]
    </properties>
    <checkpoint stride='1' filename='state' overwrite='False'/>
    <trajectory stride='1' filename='force' format='xyz'> forces </trajectory>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>7</seed></prng>
  <ffsocket name='ours' mode='unix' pbc='False'><address>{address}</address></ffsocket>
  <system>
    <initialize nbeads='{beads}'>
      <file mode='xyz' units='angstrom'>start.xyz</file>
      {cell}
      <velocities mode='thermal' units='kelvin'>300</velocities>
    </initialize>
    <forces><force forcefield='ours'/></forces>
    <motion mode='dynamics'>
      <dynamics mode='nve'><timestep units='femtosecond'>0.25</timestep></dynamics>
    </motion>
    <ensemble><temperature units='kelvin'>300</temperature></ensemble>
  </system>
</simulation>
"""
CELL = "<cell mode='manual' units='angstrom'>[{}]</cell>"


def simulate(folder, potential, atoms, *, beads, steps):
    """A real i-PI, served by the potential; how many times it asked."""
    address = f"chemscale-{uuid.uuid4().hex[:12]}"
    box = np.asarray(atoms.cell) if atoms.pbc.any() else 40.0 * np.eye(3)
    cell = CELL.format(", ".join(f"{x:.12f}" for x in box.T.reshape(-1)))  # vectors are columns
    plain = atoms.copy()
    plain.info.clear()
    write(folder / "start.xyz", plain, format="xyz")
    text = INPUT.format(steps=steps, beads=beads, address=address, cell=cell)
    (folder / "input.xml").write_text(text)
    with (
        open(folder / "i-pi.txt", "w") as said,
        subprocess.Popen([I_PI, "input.xml"], cwd=folder, stdout=said, stderr=said) as server,
    ):
        try:
            asked = serve(potential, atoms, unixsocket=address, device="cpu")
            assert server.wait(60) == 0, (folder / "i-pi.txt").read_text()
        finally:
            server.kill()
    return asked


def beads_of(state):
    """(beads, n, 3) positions in Å of a checkpoint, in full precision."""
    shape, body = re.search(r"<q shape='\(([^)]*)\)'>\s*\[(.*?)\]", state.read_text(), re.S).groups()
    beads = int(shape.split(",")[0])
    return np.array([float(x) for x in body.split(",")]).reshape(beads, -1, 3) * units.Bohr


@needs_ipi
@pytest.mark.parametrize(("make", "beads"), [(ethanol, 4), (salt, 1)])
def test_every_bead_has_the_energy_of_the_calculator(tmp_path, make, beads):
    potential = random_potential(size=0.1)
    atoms = make()
    if atoms.pbc.any():  # i-PI wants an upper triangular cell, as a column each
        atoms.set_cell([[5, 0, 0], [1, 4.5, 0], [1, 1, 9.0]], scale_atoms=True)
    asked = simulate(tmp_path, potential, atoms, beads=beads, steps=4)
    assert asked == 5 * beads
    log = np.loadtxt(tmp_path / "out.log")
    states = sorted(tmp_path.glob("out.state_*"), key=lambda path: int(path.name.split("_")[1]))
    assert len(states) == len(log) == 5
    for row, state in zip(log, states, strict=True):
        positions = beads_of(state)
        assert len(positions) == beads
        found = []
        for bead in positions:
            atoms.positions = bead
            found.append(expected(potential, atoms))
        assert row[1] == pytest.approx(np.mean([energy for energy, *_ in found]), abs=2e-6)
    last_stress = found[-1][2]
    last = read(tmp_path / f"out.force_{beads - 1}.xyz", -1)
    assert largest(last.positions * units.Hartree / units.Bohr, found[-1][1]) < 1e-4
    if atoms.pbc.all():
        six = last_stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        wanted = -six / (units.Hartree / units.Bohr**3)
        assert log[-1, 3:] == pytest.approx(wanted, rel=1e-6, abs=1e-10)
    assert np.ptp(log[:, 2]) < 0.1 * np.ptp(log[:, 1])
    assert np.ptp(log[:, 1]) > 1e-4


def test_a_server_that_is_not_there_is_named(tmp_path):
    with pytest.raises(NoServerError, match=r"/tmp/ipi_nobody after 0.3 s: start i-pi"):
        serve(random_potential(), ethanol(), unixsocket="nobody", wait=0.3, device="cpu")


def test_what_the_potential_does_not_know_is_refused_before_anyone_is_asked():
    with pytest.raises(UnknownElementError, match=r"\[11, 17\]"):
        serve(random_potential(elements=(1, 6, 8)), salt(), unixsocket="nobody", wait=60, device="cpu")
