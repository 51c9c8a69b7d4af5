"""Outputs of codes as they come: which energy, which steps, which files of a run."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from ase import units as ase_units

from chemscale.points.data import structure_source
from chemscale.structures.blocks import Block, SourceError
from chemscale.structures.settings import StructureData
from chemscale.structures.sources import open_source
from tests.helpers.sources import whole

HARTREE, BOHR = ase_units.Hartree, ase_units.Bohr


def outcar(steps: list[tuple[float, bool]], finished: bool = True) -> str:
    """Two hydrogen atoms: the distance of each step, and whether its electrons converged."""
    text = " POTCAR:    PAW_PBE H 15Jun2001\n POTCAR:    PAW_PBE H 15Jun2001\n"
    text += "   ions per type =               2\n   ISPIN  =      1    spin polarized calculation?\n"
    for number, (x, converged) in enumerate(steps, 1):
        text += f"----------- Iteration {number:6}(   1)  -----------\n"
        if converged:
            text += "------- aborting loop because EDIFF is reached -------\n"
        text += "      direct lattice vectors                 reciprocal lattice vectors\n"
        for row in np.diag([8.0, 8.0, 8.0]):
            text += "".join(f"{value:13.9f}" for value in (*row, *(row / 64))) + "\n"
        text += " POSITION                                       TOTAL-FORCE (eV/Angst)\n ------\n"
        text += f" 0.0 0.0 0.0   {x} 0.0 0.0\n {x} 0.0 0.0   {-x} 0.0 0.0\n ------\n"
        text += "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  -------\n"
        text += f"  free  energy   TOTEN  =       {-6 - x:.8f} eV\n\n"
        text += f"  energy  without entropy=  {-5 - x:.8f}  energy(sigma->0) =  {-5.5 - x:.8f}\n"
    return text + (" General timing and accounting informations for this job:\n" if finished else "")


def vasprun(x: float, iterations: int, finished: bool = True) -> str:
    """One step of two hydrogen atoms with so many electronic iterations, of four at most."""
    basis = '<varray name="basis"><v> 8 0 0</v><v> 0 8 0</v><v> 0 0 8</v></varray>'
    positions = f'<varray name="positions"><v> 0 0 0</v><v> {x / 8} 0 0</v></varray>'
    structure = f"<crystal>{basis}</crystal>{positions}</structure>"
    energy = f'<energy><i name="e_fr_energy"> {-6 - x}</i><i name="e_wo_entrp"> {-5 - x}</i>'
    energy += f'<i name="e_0_energy"> {-5.5 - x}</i></energy>'
    step = f"<scstep>{energy}</scstep>\n"
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n<kpoints>\n'
    text += '<varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray>\n'
    text += "</kpoints>\n<parameters>\n"
    text += '<i type="int" name="NELM">     4</i>\n</parameters>\n<atominfo>\n<atoms> 2 </atoms>\n'
    text += '<array name="atoms"><set><rc><c>H </c><c> 1</c></rc><rc><c>H </c><c> 1</c></rc></set></array>\n'
    text += f'</atominfo>\n<structure name="initialpos">{structure}\n<calculation>\n{step * iterations}'
    text += f"<structure>{structure}\n"
    text += f'<varray name="forces"><v> {x} 0 0</v><v> {-x} 0 0</v></varray>\n{energy}\n</calculation>\n'
    return text + ("</modeling>\n" if finished else "")


ORCA = """
                                 *****************
                                 * O   R   C   A *
                                 *****************
Number of atoms                             ...      2
---------------------------------
CARTESIAN COORDINATES (ANGSTROEM)
---------------------------------
  H      0.000000    0.000000    0.000000
  H      0.740000    0.000000    0.000000

 Total Charge           Charge          ....    1
{failure}
-------------------------   --------------------
FINAL SINGLE POINT ENERGY        -1.100000000000
-------------------------   --------------------
{gradient}
                             ****ORCA TERMINATED NORMALLY****
"""
GRADIENT = """
------------------
CARTESIAN GRADIENT
------------------

   1   H   :   -0.010000000    0.000000000    0.000000000
   2   H   :    0.010000000    0.000000000    0.000000000
"""

GAUSSIAN = """ Entering Gaussian System, Link 0=g16
                          Input orientation:
 ---------------------------------------------------------------------
 Center     Atomic      Atomic             Coordinates (Angstroms)
 Number     Number       Type             X           Y           Z
 ---------------------------------------------------------------------
      1          1           0        0.000000    0.000000    0.000000
      2          1           0        0.740000    0.000000    0.000000
 ---------------------------------------------------------------------
{failure} SCF Done:  E(RB3LYP) =  -1.17000000     A.U. after    7 cycles
{forces} Normal termination of Gaussian 16 at Sun Nov 29 20:00:00 2026.
"""
FORCES = """ -------------------------------------------------------------------
 Center     Atomic                   Forces (Hartrees/Bohr)
 Number     Number              X              Y              Z
 -------------------------------------------------------------------
      1        1           0.020000000    0.000000000    0.000000000
      2        1          -0.020000000    0.000000000    0.000000000
 -------------------------------------------------------------------
"""


def read(path: Path) -> tuple[Block, list[str]]:
    source = open_source(path)
    return whole(source), source.notes


@pytest.mark.parametrize("name", ["OUTCAR", "OUTCAR.1", "run3_OUTCAR", "OUTCAR.gz"])
def test_an_outcar_of_any_name_gives_its_free_energy(tmp_path: Path, name: str) -> None:
    text = outcar([(0.7, True), (0.8, True)]).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    block, notes = read(tmp_path / name)
    assert block.energies.tolist() == [-6.7, -6.8]
    assert block.forces[:, 0, 0].tolist() == [0.7, 0.8]
    assert notes[0] == "Labels: free_energy/forces of the calculator in 2 frames."


def test_steps_that_did_not_converge_have_no_labels(tmp_path: Path) -> None:
    (tmp_path / "OUTCAR").write_text(outcar([(0.7, True), (0.8, False), (0.9, True)]))
    block, notes = read(tmp_path / "OUTCAR")
    assert np.isnan(block.energies).tolist() == [False, True, False]
    assert np.isnan(block.forces[1]).all()
    assert "1 frames (the first: 1) did not reach self-consistency: their labels were not read." in notes
    (tmp_path / "vasprun.xml").write_text(vasprun(0.7, 4))
    with pytest.raises(SourceError, match="no frame has an energy or forces"):
        read(tmp_path / "vasprun.xml")
    (tmp_path / "vasprun.xml").write_text(vasprun(0.7, 3))
    block, notes = read(tmp_path / "vasprun.xml")
    assert block.energies.tolist() == [-6.7]
    assert not any("self-consistency" in note for note in notes)


def test_an_output_that_was_cut_off_gives_its_whole_steps_and_says_so(tmp_path: Path) -> None:
    text = outcar([(0.7, True), (0.8, True)])
    (tmp_path / "OUTCAR").write_text(text[: text.rindex("TOTAL-FORCE") + 40])
    block, notes = read(tmp_path / "OUTCAR")
    assert block.energies.tolist() == [-6.7]
    assert "The output ends before its run does: what stands in it whole was read." in notes
    (tmp_path / "OUTCAR").write_text(text[:100])
    with pytest.raises(SourceError, match=r"OUTCAR, frame 0: ASE cannot read it as vasp-out"):
        read(tmp_path / "OUTCAR")
    (tmp_path / "OUTCAR").write_text(text)
    assert not any("ends before" in note for note in read(tmp_path / "OUTCAR")[1])


def test_each_step_of_a_run_is_read_once(tmp_path: Path) -> None:
    for number, x in enumerate((0.7, 0.8)):
        folder = tmp_path / "runs" / str(number)
        folder.mkdir(parents=True)
        (folder / "OUTCAR").write_text(outcar([(x, True)]))
        (folder / "vasprun.xml").write_text(vasprun(x, 3))
        (folder / "INCAR").write_text("NELM = 4\n")
        (folder / "POSCAR").write_text("H2\n1\n8 0 0\n0 8 0\n0 0 8\nH\n2\nCartesian\n0 0 0\n0.7 0 0\n")
    data = StructureData("structures", path=f"{tmp_path}/runs/**/*")
    source = structure_source(data, tmp_path / "s")[1]
    blocks = list(source.blocks())
    assert [block.name for block in blocks] == ["0/vasprun/H2", "1/vasprun/H2"]
    assert [block.energies[0] for block in blocks] == [-6.7, -6.8]
    (left_out,) = [note for note in source.notes if note.startswith("Left out")]
    assert "OUTCAR (vasprun.xml is of the same run)" in left_out
    assert "POSCAR (positions without labels beside OUTCAR)" in left_out
    data = StructureData("structures", path=f"{tmp_path}/runs/*/OUTCAR")
    assert whole(structure_source(data, tmp_path / "s")[1]).energies.tolist() == [-6.7, -6.8]


def test_orca_outputs_are_found_by_content_with_or_without_forces(tmp_path: Path) -> None:
    path = tmp_path / "molecule.out"
    path.write_text(ORCA.format(failure="", gradient=GRADIENT))
    block, _ = read(path)
    assert block.energies[0] == pytest.approx(-1.1 * HARTREE)
    assert block.forces[0, 0, 0] == pytest.approx(0.01 * HARTREE / BOHR)
    path.write_text(ORCA.format(failure="", gradient=""))
    block, notes = read(path)
    assert np.isnan(block.forces).all()
    assert "No forces were read." in notes
    path.write_text(ORCA.format(failure="     ERROR: SCF NOT CONVERGED AFTER 125 CYCLES", gradient=GRADIENT))
    with pytest.raises(SourceError, match="no frame has an energy or forces"):
        read(path)
    path.write_text(ORCA.format(failure="", gradient="").replace("ORCA TERMINATED NORMALLY", ""))
    with pytest.raises(SourceError, match=r"molecule\.out, frame 0: ASE cannot read it as orca-output"):
        read(path)


def test_gaussian_logs_are_read_and_failures_are_not(tmp_path: Path) -> None:
    path = tmp_path / "molecule.log"
    path.write_text(GAUSSIAN.format(failure="", forces=FORCES))
    block, notes = read(path)
    assert block.energies[0] == pytest.approx(-1.17 * HARTREE)
    assert block.forces[0, 0, 0] == pytest.approx(0.02 * HARTREE / BOHR)
    assert not any("ends before" in note for note in notes)
    path.write_text(
        GAUSSIAN.format(failure=" >>>>>>>>>> Convergence criterion not met.\n", forces=FORCES).replace(
            "Normal", "Error"
        )
    )
    with pytest.raises(SourceError, match="no frame has an energy or forces"):
        read(path)


def test_outputs_among_other_files_are_found_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.out").write_text(ORCA.format(failure="", gradient=GRADIENT))
    (folder / "b.log").write_text(GAUSSIAN.format(failure="", forces=FORCES))
    (folder / "slurm-1.out").write_text("srun: error\n")
    source = structure_source(StructureData("structures", path=str(folder)), tmp_path / "s")[1]
    assert whole(source).energies.tolist() == pytest.approx([-1.1 * HARTREE, -1.17 * HARTREE])
    assert any("slurm-1.out (no frame that ASE can read)" in note for note in source.notes)
