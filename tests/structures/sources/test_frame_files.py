"""Which files of a folder are read: those with frames; the others are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from chemscale.points.data import structure_source
from chemscale.structures.blocks import SourceError
from chemscale.structures.settings import StructureData
from chemscale.structures.sources import frame_files as reading
from chemscale.structures.sources.frame_files import frame_files
from tests.helpers.sources import extxyz, molecule


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    data = tmp_path / "data"
    for path in (data / "a.xyz", data / "sub" / "b.xyz", data / ".hidden.xyz"):
        extxyz(path, [molecule(REF_energy=-1.0)])
    for name in (
        "README",
        "README.md",
        "notes.txt",
        "run.log",
        "slurm-3.out",
        "SHA256SUMS",
        "meta.json",
        "plot.png",
    ):
        (data / name).write_text("{}\n")
    (data / "empty.xyz").touch()
    return data


def test_what_holds_no_frames_is_left_out_of_a_folder_by_name_and_reason(folder: Path) -> None:
    files, left_out = frame_files(str(folder))
    assert [path.name for path in files] == ["a.xyz"]
    assert left_out[:-1] == [
        ".hidden.xyz (hidden)",
        "README (documentation)",
        "README.md (documentation)",
        "SHA256SUMS (documentation)",
        "empty.xyz (empty)",
        "meta.json (no frame that ASE can read)",
        "notes.txt (not of a format that ASE reads)",
        "plot.png (not of a format that ASE reads)",
        "run.log (no frame that ASE can read)",
        "slurm-3.out (no frame that ASE can read)",
        "sub (a folder)",
    ]
    assert (
        left_out[-1] == f"1 file in sub-folders, such as sub/b.xyz: data.path='{folder}/**/*' reads those too"
    )


def test_sub_folders_that_are_not_read_are_not_gone_through_to_their_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "COUNTED", 2)
    for number in range(9):
        (folder / "sub" / f"{number}.dat").write_text("")
    _, left_out = frame_files(str(folder))
    assert left_out[-1].startswith("more than 2 files in sub-folders, such as sub/")


def test_sub_folders_are_read_where_a_folder_has_no_frames_itself(folder: Path) -> None:
    (folder / "a.xyz").unlink()
    files, left_out = frame_files(str(folder))
    assert [path.name for path in files] == ["b.xyz"]
    assert "sub (a folder)" not in left_out
    assert not any("in sub-folders" in reason for reason in left_out)


def test_a_pattern_reads_sub_folders(folder: Path) -> None:
    files, _ = frame_files(f"{folder}/**/*")
    assert [path.name for path in files] == ["a.xyz", "b.xyz"]


def test_a_folder_without_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("words")
    with pytest.raises(SourceError, match=r"no file of frames\. Left out: README\.md \(documentation\)"):
        frame_files(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"data\.path=.*gone"):
        frame_files(str(tmp_path / "gone"))


def test_the_files_that_were_read_and_left_out_are_said(folder: Path) -> None:
    _, source = structure_source(StructureData("structures", path=str(folder)), folder.parent / "stores")
    list(source.blocks())
    assert source.notes[0] == f"Read from {folder}: a.xyz."
    assert source.notes[1].startswith("Left out: .hidden.xyz (hidden), README (documentation)")


def test_files_of_sub_folders_are_said_with_their_folders(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "a.xyz").rename(folder / "other" / "a.xyz")
    _, source = structure_source(StructureData("structures", path=str(folder)), folder.parent / "stores")
    list(source.blocks())
    assert source.notes[0] == f"Read from {folder}: other/a.xyz, sub/b.xyz."
