"""An exported potential runs from C++ without Python, and gives the same energies, forces and stress."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from chemscale.models.potentials import CONFIGS, PotentialError, build, save_potential
from chemscale.points.trained.export import ExportError, export
from chemscale.points.trained.forms import check_form
from chemscale.structures.calculator import ChemscaleCalculator, structure_of
from chemscale.structures.engines.packaged import PackagedPotential
from chemscale.structures.graphs import collate

PROGRAM = Path(__file__).parents[3] / "docs" / "howto" / "cpp" / "evaluate.cpp"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A potential with random weights that matter, with reference energies as those of DFT."""
    torch.manual_seed(0)
    made = build(
        CONFIGS["schnet"](width=8, layers=1, cutoff=4.0),
        (1, 6, 8, 29),
        references=(-13.6, -1036.0, -2046.0, -45000.0),
        scale=3.0,
        dtype=torch.float64,
    )
    for weights in made.network.parameters():
        weights.data += 0.2 * torch.randn_like(weights)
    made.header["data"] = {"electrons": [[0, 1]]}
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_potential(made, folder)
    return folder


@pytest.fixture(scope="module")
def package(saved):
    done = export(saved, saved.parent / "package", form="aoti")
    assert done.difference is not None
    assert any("differ from those" in line for line in done.lines)
    return saved.parent / "package" / "model.pt2"


@pytest.mark.slow
def test_an_exported_program_is_written_and_compared(saved, tmp_path):
    done = export(saved, tmp_path / "program", form="exported")
    assert (tmp_path / "program" / "model.pt2").is_file()
    assert 0 <= done.difference < 1e-9


@pytest.fixture(scope="module")
def program(package):
    """The program of the guide, built against the PyTorch that is here."""
    torch_folder, built = Path(torch.__file__).parent, package.parent / "evaluate"
    command = [
        *(os.environ.get("CXX", "g++"), "-std=c++20", "-O1", str(PROGRAM), f"-I{torch_folder}/include"),
        *(f"-L{torch_folder}/lib", f"-Wl,-rpath,{torch_folder}/lib", "-ltorch", "-ltorch_cpu", "-lc10"),
    ]
    subprocess.run([*command, "-o", str(built)], check=True)
    return built


def structures():
    crystal = bulk("Cu", cubic=True)
    sheared = np.array([[0, 0.3, 0], [0, 0, 0.1], [0.2, 0, 0]])
    crystal.set_cell(crystal.cell.array + sheared, scale_atoms=True)
    crystal.rattle(0.1, seed=1)
    crystal.positions[1] += 3 * crystal.cell.array[0]  # far out of the cell
    slab = bulk("Cu", cubic=True)
    slab.pbc = (True, True, False)
    return {
        "ethanol": molecule("CH3CH2OH"),
        "crystal": crystal,
        "slab": slab,
        "primitive": bulk("Cu"),
        "atom": Atoms("O"),
        "apart": Atoms("OCu", [[0, 0, 0], [0, 0, 9.0]]),
    }


def run(program, package, path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [program, package, path], capture_output=True, text=True, check=False, env=environment
    )
    found = {"energy": [], "force": [], "stress": []}
    for line in done.stdout.splitlines():
        kind, *numbers, _ = line.split()
        found[kind].append([float(number) for number in numbers])
    return done, {kind: np.array(values) for kind, values in found.items()}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="needs a C++ compiler")
def test_a_program_in_cpp_gives_the_numbers_of_python(saved, package, program, tmp_path):
    ours = ChemscaleCalculator(saved, device="cpu")
    for name, atoms in structures().items():
        write(tmp_path / "structure.xyz", atoms, format="extxyz")
        done, found = run(program, package, tmp_path / "structure.xyz")
        assert done.returncode == 0, done.stderr
        energy, forces = ours.get_potential_energy(atoms), ours.get_forces(atoms)
        assert found["energy"][0, 0] == pytest.approx(energy, abs=1e-6), name
        assert name in ("atom", "apart", "primitive") or np.abs(forces).max() > 1e-3
        np.testing.assert_allclose(found["force"], forces, atol=1e-6, err_msg=name)
        assert len(found["stress"]) == (3 if atoms.pbc.all() else 0)
        if atoms.pbc.all():
            stress = ours.get_property("stress", atoms)[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
            assert np.abs(stress).max() > 1e-5
            np.testing.assert_allclose(found["stress"], stress, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="needs a C++ compiler")
def test_that_program_refuses_what_the_potential_does_not_know(package, program, tmp_path):
    write(tmp_path / "silane.xyz", molecule("SiH4"), format="extxyz")
    done, found = run(program, package, tmp_path / "silane.xyz")
    assert done.returncode == 1
    assert "Z = 14 is not known" in done.stderr
    assert not len(found["energy"])
    ion = molecule("H2O")
    ion.info["charge"] = 1
    write(tmp_path / "ion.xyz", ion, format="extxyz")
    done, _ = run(program, package, tmp_path / "ion.xyz")
    assert "knows no charge" in done.stderr
    done, _ = run(program, package, tmp_path / "absent.xyz")
    assert "cannot be read" in done.stderr


@pytest.mark.slow
def test_the_calculator_opens_a_package_and_a_batch_is_computed_one_by_one(saved, package):
    packaged, ours = ChemscaleCalculator(package, device="cpu"), ChemscaleCalculator(saved, device="cpu")
    for atoms in structures().values():
        assert packaged.get_potential_energy(atoms) == pytest.approx(
            ours.get_potential_energy(atoms), abs=1e-8
        )
        np.testing.assert_allclose(packaged.get_forces(atoms), ours.get_forces(atoms), atol=1e-10)
    crystals = [structures()["crystal"], structures()["primitive"]]
    batch = collate([structure_of(atoms).with_neighbours(4.0) for atoms in crystals])
    found, expected = packaged.potential(batch, stress=True), ours.potential(batch, stress=True)
    torch.testing.assert_close(found.energy, expected.energy)
    torch.testing.assert_close(found.forces, expected.forces)
    torch.testing.assert_close(found.stress, expected.stress)
    with pytest.raises(PotentialError, match="cannot be trained"):
        packaged.potential(batch, create_graph=True)
    ion = molecule("H2O")
    ion.info["charge"] = 1
    with pytest.raises(ValueError, match="knows neither charge"):
        packaged.get_potential_energy(ion)
    with pytest.raises(ValueError, match="float64"):
        ChemscaleCalculator(package, device="cpu", dtype=torch.float32)


@pytest.mark.slow
def test_a_package_says_what_it_is_and_a_damaged_one_is_refused(package, tmp_path):
    facts = PackagedPotential(package).facts
    assert facts["elements"] == "1 6 8 29"
    assert (facts["cutoff"], facts["dtype"], facts["units"]) == ("4.0", "float64", "eV Angstrom")
    assert "AOTInductor" in (package.parent / "README.md").read_text()
    damaged = tmp_path / "model.pt2"
    damaged.write_bytes(package.read_bytes()[:-2000])
    with pytest.raises(PotentialError, match="no package"):
        PackagedPotential(damaged)


def test_what_is_no_package_is_refused(tmp_path):
    with pytest.raises(PotentialError, match="no such file"):
        ChemscaleCalculator(tmp_path / "model.pt2", device="cpu")
    (tmp_path / "model.pt2").write_text("weights")
    with pytest.raises(PotentialError, match="no package of AOTInductor"):
        ChemscaleCalculator(tmp_path / "model.pt2", device="cpu")
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as other:
        other.writestr("readme", "of something else")
    with pytest.raises(PotentialError, match=r"model\.pt2"):
        ChemscaleCalculator(tmp_path / "model.pt2", device="cpu")


def test_options_that_do_not_go_together_are_refused_before_anything_is_read(saved, tmp_path):
    with pytest.raises(ExportError, match="choose one of"):
        check_form("torchscript", None)
    with pytest.raises(ExportError, match="--device is for --as aoti and exported"):
        check_form("onnx", None, "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no such GPU"):
            export(saved, tmp_path / "out", form="aoti", device="cuda")
    assert not (tmp_path / "out").exists()


def test_a_machine_without_a_compiler_says_so_and_leaves_nothing(saved, tmp_path, monkeypatch):
    from chemscale.points.trained import potential_forms

    monkeypatch.setattr(potential_forms, "export_structure_graph", lambda potential: None)
    monkeypatch.setenv("CXX", "/nowhere/g++")
    with pytest.raises(ExportError, match=r"no C\+\+ compiler"):
        export(saved, tmp_path / "out", form="aoti")
    assert list(tmp_path.iterdir()) == []


def test_a_package_with_other_numbers_is_not_written(saved, tmp_path, monkeypatch):
    """The comparison is real: a graph of another potential does not pass for this one."""
    from chemscale.models.potentials import load_potential
    from chemscale.points.trained import potential_forms

    def other(path):
        found = load_potential(saved)
        found.scale += 1e-6
        return found

    monkeypatch.setattr(potential_forms, "export_structure_graph", lambda potential: None)
    monkeypatch.setattr(potential_forms, "save_package", lambda program, path, facts: path.write_text(""))
    monkeypatch.setattr(potential_forms, "PackagedPotential", other)
    with pytest.raises(ExportError, match="more than rounding"):
        export(saved, tmp_path / "out", form="aoti")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(potential_forms, "PackagedPotential", lambda path: load_potential(saved))
    assert export(saved, tmp_path / "out", form="aoti").difference == 0
