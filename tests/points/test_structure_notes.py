"""How structures were read is said where they are used, and recorded."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from chemscale.common.sections import ConfigurationError
from chemscale.points.potential import _check_labels
from chemscale.points.shared_data import SharedData
from chemscale.structures.references import ReferenceEnergyError, reference_energies
from chemscale.structures.settings import StructureData
from chemscale.structures.store import FrameStore
from chemscale.tasks.losses import EnergyForceLoss
from tests.helpers.sources import extxyz, molecule


def opened(folder: Path, **data: str) -> FrameStore:
    frames = [molecule(0.7 + i / 100, REF_energy=-1.0, my_charge=1) for i in range(9)] + [molecule()]
    for atoms in frames:
        atoms.arrays["xtb_force"] = np.ones((2, 3))
    path = extxyz(folder / "a.xyz", frames)
    section = StructureData("structures", path=str(path), **data)
    return SharedData().store(section, folder / "structures", "off")


def test_training_says_how_its_structures_were_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):  # made, and found again
        caplog.clear()
        with caplog.at_level(logging.INFO, "chemscale"):
            opened(tmp_path)
        assert "Labels: REF_energy/REF_forces in 9 of 10 frames." in caplog.text
        assert "xtb_force looks like forces: data.forces_key=xtb_force reads it." in caplog.text
        assert "my_charge in 9 frames looks like a total charge" in caplog.text
        assert "1 of 10 frames have no energy, 60 of 60 force components are missing" in caplog.text


def test_the_manifest_says_where_the_labels_stand(tmp_path: Path) -> None:
    store = opened(tmp_path, forces_key="xtb_force")
    manifest = json.loads((store.path / "manifest.json").read_text())
    (labels,) = manifest["labels"]
    assert (labels["energy"], labels["forces"]) == ("REF_energy", "xtb_force")
    assert manifest["kind"] == "extxyz"


def test_training_without_forces_is_refused_with_the_name_of_what_looks_like_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no forces: .*data\.forces_key=xtb_force reads it"):
        _check_labels(opened(tmp_path), EnergyForceLoss())


def test_energies_of_another_name_are_named_where_none_was_read(tmp_path: Path) -> None:
    frames = [molecule(0.7 + i / 100, dft_energy=-1.0) for i in range(9)]
    for atoms in frames:
        atoms.arrays["REF_forces"] = np.ones((2, 3))
    section = StructureData("structures", path=str(extxyz(tmp_path / "a.xyz", frames)))
    store = SharedData().store(section, tmp_path / "structures", "off")
    with pytest.raises(ReferenceEnergyError, match=r"data\.references=none.*data\.energy_key=dft_energy"):
        reference_energies(store, store.part("train"), store.elements, "fit")
