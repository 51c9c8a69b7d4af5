"""Data sets that PyTorch Geometric's own classes wrote: units, columns, and what is never run or fetched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import units as ase_units
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.datasets import MD17, QM9

from chemscale.points.data import structure_source
from chemscale.structures.blocks import SourceError
from chemscale.structures.settings import StructureData
from chemscale.structures.sources import open_source
from chemscale.structures.sources.combined import open_sources
from chemscale.structures.sources.labels import LabelKeys
from tests.helpers.sources import KCAL, springs, whole


def md17(root: Path, frames: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    positions, energies, forces = springs(frames)
    raw = root / "ethanol" / "raw"
    raw.mkdir(parents=True)
    np.savez(raw / MD17.file_names["ethanol"], z=[1, 1], R=positions, E=energies[:, None] - 97_000, F=forces)
    assert len(MD17(str(root), "ethanol")) == frames
    return positions, energies, forces


def qm9(root: Path) -> Path:
    """Water and methane by QM9's own class; U0 is -76.4 and -40.5 Hartree."""
    pytest.importorskip("rdkit")
    from rdkit import Chem
    from rdkit.Chem import AllChem

    raw = root / "raw"
    raw.mkdir(parents=True)
    with Chem.SDWriter(str(raw / "gdb9.sdf")) as writer:
        for smiles in ("O", "C"):
            molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
            AllChem.EmbedMolecule(molecule, randomSeed=1)
            writer.write(molecule)
    rows = [[0.0] * 10 + [u0] + [0.0] * 8 for u0 in (-76.4, -40.5)]
    lines = [f"gdb_{i + 1}," + ",".join(map(str, row)) for i, row in enumerate(rows)]
    (raw / "gdb9.sdf.csv").write_text("header\n" + "\n".join(lines) + "\n")
    (raw / "uncharacterized.txt").write_text("\n" * 10)
    assert len(QM9(str(root))) == 2
    return root


def lists(path: Path, frames: list[Any]) -> Path:
    torch.save(frames, path)
    return path


def data(energy: float = -1.0, atoms: int = 2, **more: Any) -> Data:
    positions = torch.arange(3.0 * atoms).reshape(atoms, 3)
    return Data(z=torch.ones(atoms, dtype=torch.long), pos=positions, energy=torch.tensor(energy), **more)


def test_md17_is_read_in_kcal_per_mol_from_its_folder(tmp_path: Path) -> None:
    positions, energies, forces = md17(tmp_path)
    for path in (tmp_path, tmp_path / "ethanol", tmp_path / "ethanol" / "processed" / "data.pt"):
        source = structure_source(StructureData("structures", path=str(path), format="pyg"), tmp_path / "s")[
            1
        ]
        block = whole(source)
        assert np.allclose(block.positions, positions, atol=1e-6)
        assert np.allclose(block.energies, (energies - 97_000) * KCAL, atol=0.01 * KCAL)
        assert np.allclose(block.forces, forces * KCAL, atol=1e-6)
        assert block.rows.tolist() == list(range(5))
    assert "Energies are float32, rounded to 0.008 of their unit." in source.notes


def test_qm9_is_read_by_the_name_of_its_target(tmp_path: Path) -> None:
    path = str(qm9(tmp_path / "qm9"))
    reading = StructureData("structures", path=path, format="pyg")
    source = structure_source(reading, tmp_path / "s")[1]
    blocks = list(source.blocks())
    assert [block.name for block in blocks] == ["H2O", "CH4"]
    assert [block.energies[0] for block in blocks] == pytest.approx(
        [-76.4 * ase_units.Hartree, -40.5 * ase_units.Hartree], rel=1e-6
    )
    assert all(np.isnan(block.forces).all() for block in blocks)
    assert source.notes[:2] == ["Energies: y[7], U0 of QM9.", "The file has energies only: forces are NaN."]
    chosen = StructureData("structures", path=path, format="pyg", energy_key="G_atom")
    source = structure_source(chosen, tmp_path / "s")[1]
    assert any("data.references=none goes with it" in note for note in source.notes)
    with pytest.raises(SourceError, match=r"data\.energy_key=gap: of QM9 choose one of U0, U, H, G"):
        structure_source(
            StructureData("structures", path=path, format="pyg", energy_key="gap"), tmp_path / "s"
        )


def test_a_list_of_data_needs_its_unit_and_keeps_charges(tmp_path: Path) -> None:
    force = torch.ones(2, 3)
    frames = [data(-1.0 - i, force=force, charge=torch.tensor(1), spin=2, name="x") for i in range(3)]
    frames.append(data(-9.0, atoms=3, force=torch.ones(3, 3)))
    path = lists(tmp_path / "a.pt", frames)
    with pytest.raises(SourceError, match=r"state no units.*data\.units\.energy"):
        list(open_sources([path], {}).blocks())
    source = open_sources([path], {"units": {"energy": "Hartree"}})
    first, second = source.blocks()
    assert first.energies.tolist() == pytest.approx(np.array([-1, -2, -3]) * ase_units.Hartree)
    assert np.allclose(first.forces, ase_units.Hartree)
    assert (first.charges.tolist(), first.spins.tolist()) == ([1, 1, 1], [2, 2, 2])
    assert (second.rows.tolist(), len(second.numbers), second.charges.tolist()) == ([3], 3, [0])


def test_a_data_set_of_any_class_is_read(tmp_path: Path) -> None:
    frames = [
        data(-1.0 - i, atoms=2 + i % 2, edge_index=torch.zeros(2, i, dtype=torch.long)) for i in range(4)
    ]
    InMemoryDataset.save(frames, str(tmp_path / "a.pt"))
    InMemoryDataset.save(frames[:1], str(tmp_path / "one.pt"))
    energies = [
        float(energy)
        for block in open_sources([tmp_path / "a.pt"], {"units": {"energy": "eV"}}).blocks()
        for energy in block.energies
    ]
    assert energies == [-1, -2, -3, -4]
    (block,) = open_sources([tmp_path / "one.pt"], {"units": {"energy": "eV"}}).blocks()
    assert block.energies.tolist() == [-1]


def test_gradients_are_named_and_turned(tmp_path: Path) -> None:
    path = lists(tmp_path / "a.pt", [data(dy=torch.ones(2, 3))])
    reading = {"units": {"energy": "eV", "gradients": True}, "forces_key": "dy"}
    (block,) = open_sources([path], reading).blocks()
    assert np.allclose(block.forces, -1)


class Harm:
    def __reduce__(self) -> Any:
        return os.system, ("touch harmed",)


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = lists(tmp_path / "a.pt", [data(), Harm()])
    with pytest.raises(SourceError, match=r"a\.pt: holds more than tensors.*not unpickled"):
        open_source(path)
    assert not (tmp_path / "harmed").exists()


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ethanol" / "raw").mkdir(parents=True)
    monkeypatch.setattr(MD17, "download", lambda self: pytest.fail("a download"))
    with pytest.raises(SourceError, match=r"no processed file .*, but ethanol.*\. Nothing is downloaded"):
        structure_source(StructureData("structures", path=str(tmp_path), format="pyg"), tmp_path / "s")
    for molecule in ("ethanol", "aspirin"):
        (tmp_path / molecule / "processed").mkdir(parents=True)
        lists(tmp_path / molecule / "processed" / "data.pt", [data()])
    with pytest.raises(SourceError, match=r"several processed files \(aspirin/processed/data\.pt, ethanol"):
        structure_source(StructureData("structures", path=str(tmp_path), format="pyg"), tmp_path / "s")


def test_files_that_do_not_fit_are_refused_by_frame_and_key(tmp_path: Path) -> None:
    whole_file = lists(tmp_path / "whole.pt", [data()]).read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole_file[: len(whole_file) // 2])
    (tmp_path / "text.pt").write_text("no tensors")
    bad = [data(), data(force=torch.ones(3, 3))]
    for frames, keys, message in (
        ([{"a": 1}], None, "no z and no pos"),
        ([data(y=torch.tensor(-2.0))], None, r"y and energy hold different numbers.*data\.energy_key"),
        ([data()], LabelKeys("e"), r"data\.energy_key=e: no Data has it"),
        ([Data(z=torch.ones(1), pos=torch.ones(1, 3))], None, r"no energy or y or E or U0"),
        ([Data(z=torch.ones(1), pos=torch.ones(1, 3), y=torch.ones(4))], None, "y has 4 numbers"),
        ([data(force=torch.ones(3, 3)), *bad], None, r"frame 0: force has shape \(3, 3\)"),
        ([], None, "neither a data set|no frame"),
    ):
        path = lists(tmp_path / "bad.pt", frames)
        with pytest.raises(SourceError, match=message):
            list(
                open_sources([path], {"units": {"energy": "eV"}, "energy_key": keys and keys.energy}).blocks()
            )
    for name in ("cut.pt", "text.pt"):
        with pytest.raises(SourceError, match=rf"{name}: "):
            open_source(tmp_path / name)
