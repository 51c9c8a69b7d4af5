"""The hash of a large file is remembered for as long as nobody touches the file."""

import hashlib
import os

import pytest

from chemscale.common.hashes import remembered
from chemscale.common.hashes.remembered import file_sha256


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("CHEMSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "MIN_BYTES", 1)
    path = tmp_path / "molecules.smi"
    path.write_text("CCO\nCCN\n")
    return path


@pytest.fixture
def settled(monkeypatch):
    """As if files had been left alone for long: no test can set back when an inode was changed."""
    monkeypatch.setattr(remembered, "SETTLED", -60.0)


def right(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def notes(tmp_path):
    return list((tmp_path / "cache").rglob("*.json"))


def test_a_file_that_nobody_touched_is_not_read_again(file, settled, monkeypatch):
    expected = right(file)
    assert file_sha256(file) == expected

    def refuse(*_):
        raise AssertionError("read again")

    monkeypatch.setattr(remembered, "_read", refuse)
    assert file_sha256(file) == expected
    monkeypatch.chdir(file.parent)
    assert file_sha256(file.relative_to(file.parent)) == expected


def test_a_file_whose_name_is_no_utf8_is_remembered_too(file, settled, monkeypatch):
    other = file.with_name(os.fsdecode(b"m\xfcll.smi"))
    os.rename(file, other)
    found = file_sha256(other)
    monkeypatch.setattr(remembered, "_read", None)
    assert file_sha256(other) == found


def test_other_content_of_the_same_size_and_time_is_noticed(file, settled):
    first, before = file_sha256(file), os.stat(file)
    file.write_text("CCO\nCCF\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_sha256(file) == right(file) != first
    other = file.with_name("other")
    other.write_text("CCO\nCCI\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert file_sha256(file) == right(file)


def test_who_does_not_believe_what_is_remembered_reads_the_file(file, settled, tmp_path):
    file_sha256(file)
    (note,) = notes(tmp_path)
    note.write_text(note.read_text().replace(right(file), "0" * 64))
    assert file_sha256(file) == "0" * 64
    assert file_sha256(file, believed=False) == right(file)
    assert file_sha256(file) == right(file)


def test_the_hash_of_a_file_that_was_written_just_now_is_not_believed_later(file, tmp_path):
    assert file_sha256(file) == right(file)
    assert notes(tmp_path) == []


def test_a_small_file_leaves_no_note(file, settled, tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "MIN_BYTES", 1 << 20)
    assert file_sha256(file) == right(file)
    assert notes(tmp_path) == []


@pytest.mark.parametrize("content", ["", "[1]", '{"file": null, "sha256": "0"}', "{", "null"])
def test_a_damaged_note_is_written_anew(file, settled, tmp_path, content):
    assert file_sha256(file) == right(file)
    (note,) = notes(tmp_path)
    note.write_text(content)
    assert file_sha256(file) == right(file)
    assert right(file) in note.read_text()


def test_without_a_place_for_notes_files_are_read(file, settled, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHEMSCALE_CACHE", str(tmp_path / "file"))
    assert file_sha256(file) == right(file)
