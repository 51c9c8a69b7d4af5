"""The reader of a file is found by its format, its suffix or its arrays, else refused with the way out."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources import READERS, AseFile, open_source
from chemscale.structures.sources.labels import LabelKeys
from tests.helpers.sources import extxyz, hdf5, molecule, springs


def test_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"data\.path=.*gone\.xyz: there is no such file"):
        open_source(tmp_path / "gone.xyz")


def test_unknown_suffix_and_format_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.foo"
    path.write_text("1 2 3\n")
    with pytest.raises(SourceError, match=r"a\.foo: not of a format that ASE knows.*\.npz \(MD17\)"):
        open_source(path)
    with pytest.raises(SourceError, match=r"data\.format='qm10': choose one of ani1x, "):
        open_source(path, "qm10")


def test_a_file_that_was_cut_off_in_its_compression_is_refused(tmp_path: Path) -> None:
    whole = extxyz(tmp_path / "a.xyz", [molecule(REF_energy=-1.0)]).read_bytes()
    (tmp_path / "b.xyz.gz").write_bytes(gzip.compress(whole)[:20])
    with pytest.raises(SourceError, match=r"b\.xyz\.gz: not of a format that ASE knows"):
        open_source(tmp_path / "b.xyz.gz")


def test_a_reader_without_keys_refuses_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "mine", lambda path, units: AseFile(path, units=units))
    path = extxyz(tmp_path / "a.xyz", [molecule(REF_energy=-1.0)])
    with pytest.raises(SourceError, match=r"data\.format=mine: its reader takes no data\.energy_key"):
        open_source(path, "mine", keys=LabelKeys("energy"))


def test_npz_of_another_layout_names_its_keys(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pos=[1.0], energy=[2.0])
    with pytest.raises(SourceError, match=r"a\.npz: has pos, energy, which is none of the known layouts"):
        open_source(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_text("no zip")
    with pytest.raises(SourceError, match=r"b\.npz: not a readable npz file"):
        open_source(tmp_path / "b.npz")


def test_level_and_split_are_refused_where_there_is_none_to_choose(tmp_path: Path) -> None:
    path = extxyz(tmp_path / "a.xyz", [molecule(REF_energy=-1.0)])
    with pytest.raises(SourceError, match=r"data\.split=1: .*format ase, which publishes no splits"):
        open_source(path, split=1)
    assert open_source(path, level="PBE").level == "PBE"
    positions, energies, _ = springs(3)
    arrays = {"species": np.array([b"H", b"H"]), "coordinates": positions, "energies": energies}
    with pytest.raises(SourceError, match=r"data\.level='hf': .*format ani1, which has one level only"):
        open_source(hdf5(tmp_path / "b.h5", {"x": arrays}), level="hf")


def test_format_overrides_the_suffix(tmp_path: Path) -> None:
    path = extxyz(tmp_path / "a.xyz", [molecule(REF_energy=-1.0)])
    assert isinstance(open_source(path, "ase"), AseFile)
    with pytest.raises(SourceError, match=r"a\.xyz: not a readable HDF5 file"):
        open_source(path, "spice")
