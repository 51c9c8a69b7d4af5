"""Digests of large files: remembered while a file stays as it was, and not a moment longer."""

import hashlib
import json
import os

import pytest

from chemscale.structures.preparation import digests
from chemscale.structures.preparation.digests import REMEMBERED, digest_of


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A file that is worth remembering, and the folder that remembers."""
    monkeypatch.setattr(digests, "LARGE", 10)
    monkeypatch.setattr(digests, "SETTLED", -1.0)
    file = tmp_path / "frames.h5"
    file.write_bytes(b"content of a large file")
    return file, tmp_path


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def test_a_file_that_has_not_changed_is_not_read_again(large, monkeypatch):
    file, folder = large
    assert digest_of(file, folder) == sha(file.read_bytes())
    monkeypatch.setattr(digests, "_read", lambda *_: pytest.fail("read again"))
    assert digest_of(file, folder) == sha(file.read_bytes())


def test_a_file_of_the_same_size_and_time_but_other_content_is_read_again(large):
    file, folder = large
    digest_of(file, folder)
    before = file.stat()
    file.write_bytes(b"Content of a large file")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert digest_of(file, folder) == sha(b"Content of a large file")


def test_what_changed_a_moment_ago_or_is_small_is_not_remembered(large, monkeypatch):
    file, folder = large
    monkeypatch.setattr(digests, "SETTLED", 1000.0)
    digest_of(file, folder)
    assert not (folder / REMEMBERED).exists()
    monkeypatch.setattr(digests, "SETTLED", -1.0)
    monkeypatch.setattr(digests, "LARGE", 1000)
    digest_of(file, folder)
    assert not (folder / REMEMBERED).exists()


def test_without_a_folder_every_file_is_read_whatever_is_remembered(large):
    file, folder = large
    digest_of(file, folder)
    known = json.loads((folder / REMEMBERED).read_text())
    known[str(file)]["sha256"] = "00" * 32
    (folder / REMEMBERED).write_text(json.dumps(known))
    assert digest_of(file, folder) == bytes(32)
    assert digest_of(file) == sha(file.read_bytes())


@pytest.mark.parametrize("left", ["", "{", "[]", '{"a": 3}', '{"a": {}}'])
def test_a_damaged_memory_is_made_anew(large, left):
    file, folder = large
    (folder / REMEMBERED).write_text(left)
    assert digest_of(file, folder) == sha(file.read_bytes())
    assert json.loads((folder / REMEMBERED).read_text())[str(file)]["sha256"] == sha(file.read_bytes()).hex()
