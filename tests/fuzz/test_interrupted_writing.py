"""A full disk, a kill and a second process: nothing half-written is taken for whole."""

import errno
import os
import resource
import signal

import numpy as np
import pytest

from chemscale.molecules.corpus import Corpus, CorpusError
from chemscale.molecules.preparation.build import build_corpus
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.sources import open_source
from chemscale.structures.store import FrameStore, StoreError
from tests.helpers.sources import extxyz, molecule

SMILES = [f"{'C' * n}{end}" for n in range(1, 40) for end in ("", "O", "N", "F")]
POLICY = SplitPolicy("frame", 0.2, 0.0, 0)
FULL = "/dev/full"


@pytest.fixture
def molecules(tmp_path):
    path = tmp_path / "molecules.smi"
    path.write_text("\n".join(SMILES) + "\n")
    return path


@pytest.fixture
def frames(tmp_path):
    made = [molecule(0.7 + i / 100, REF_energy=float(i)) for i in range(20)]
    return extxyz(tmp_path / "frames.extxyz", made)


def prepare(path, target):
    return build_corpus([path], target, workers=1, validation_fraction=0.2)


def store(path, target):
    return build_store(open_source(path), target, POLICY)


def in_child(work):
    """Exit status of a child that does something; minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not os.path.exists(FULL), reason="no device that is always full")
@pytest.mark.parametrize(
    "full",
    ["train-tokens-00000.bin", "train-lengths-00000.bin"],
)
def test_a_disk_that_is_full_is_named_and_the_same_command_goes_on(full, molecules, tmp_path):
    whole = prepare(molecules, tmp_path / "whole")
    target = tmp_path / "corpus"
    target.mkdir()
    (target / full).symlink_to(FULL)
    with pytest.raises(OSError, match="No space left") as caught:
        prepare(molecules, target)
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value.filename).startswith(str(target))
    with pytest.raises(CorpusError, match="no complete corpus"):
        Corpus.open(target)
    (target / full).unlink()
    assert prepare(molecules, target).hash == whole.hash


@pytest.mark.parametrize("bytes_left", [1024, 4096])
def test_a_part_or_a_bucket_that_has_no_room_is_named_and_the_same_command_goes_on(
    bytes_left, molecules, tmp_path
):
    whole = prepare(molecules, tmp_path / "whole")
    target = tmp_path / "corpus"

    def without_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, bytes_left))
        try:
            prepare(molecules, target)
        except OSError as error:
            ours = error.errno == errno.EFBIG and str(error.filename).startswith(str(target))
            os._exit(3 if ours else 4)

    assert ended(in_child(without_room)) == 3
    left = [path.name for path in (target / ".build").iterdir() if not path.name.startswith(".")]
    assert "key" in left
    assert prepare(molecules, target).hash == whole.hash


def test_a_full_disk_leaves_no_store_and_no_rubbish(frames, tmp_path, monkeypatch):
    from chemscale.structures.preparation import writing

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(writing.ArrayFiles, "append", full)
        with pytest.raises(OSError, match="No space left") as caught:
            store(frames, tmp_path / "store")
    assert caught.value.filename == str(tmp_path / "store")
    assert not list(tmp_path.glob("store*"))
    assert len(store(frames, tmp_path / "store")) == 20


def test_two_processes_that_prepare_the_same_end_with_the_same(molecules, frames, tmp_path):
    alone = prepare(molecules, tmp_path / "alone"), store(frames, tmp_path / "alone store")
    for work in (
        lambda: prepare(molecules, tmp_path / "both"),
        lambda: store(frames, tmp_path / "both store"),
    ):
        children = [in_child(work) for _ in range(3)]
        assert [ended(child) for child in children] == [0, 0, 0]
    assert Corpus.open(tmp_path / "both").hash == alone[0].hash
    assert FrameStore(tmp_path / "both store").hash == alone[1].hash


def test_a_killed_build_leaves_nothing_that_is_taken_for_whole(molecules, frames, tmp_path):
    from chemscale.molecules.preparation import finishing
    from chemscale.structures.preparation import building

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def corpus():
        finishing.write_json = die  # all shards are there, and no manifest
        prepare(molecules, tmp_path / "corpus")

    def frame_store():
        building.content_hash = die
        store(frames, tmp_path / "store")

    assert [ended(in_child(corpus)), ended(in_child(frame_store))] == [-signal.SIGKILL] * 2
    with pytest.raises(CorpusError, match="no complete corpus"):
        Corpus.open(tmp_path / "corpus")
    with pytest.raises(StoreError, match="no frame store"):
        FrameStore(tmp_path / "store")
    assert prepare(molecules, tmp_path / "corpus").hash == prepare(molecules, tmp_path / "clean").hash
    assert store(frames, tmp_path / "store").hash == store(frames, tmp_path / "clean store").hash
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("cut", [8, 24, 25])
def test_a_store_that_was_cut_short_by_a_copy_is_refused(cut, frames, tmp_path):
    made = store(frames, tmp_path / "store")
    path = made.path / "positions"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(StoreError, match=r"positions: cut short"):
        FrameStore(made.path)


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_manifest_is_named(content, molecules, frames, tmp_path):
    for made, opened, error in (
        (prepare(molecules, tmp_path / "corpus"), Corpus.open, CorpusError),
        (store(frames, tmp_path / "store"), FrameStore, StoreError),
    ):
        (made.path / "manifest.json").write_text(content)
        with pytest.raises(error, match="manifest"):
            opened(made.path)


def test_arrays_that_were_never_written_are_not_read_as_zeros(tmp_path):
    import h5py

    from chemscale.structures.blocks import SourceError

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["A/species"], file["A/coordinates"] = [1, 1], np.ones((6, 2, 3))
        file["A/energies"] = np.ones(6)
        forces = file.create_dataset("A/forces", (6, 2, 3), "f8", chunks=(2, 2, 3))
        forces[:2] = 1
    with pytest.raises(SourceError, match=r"a\.h5: group /A: forces was never written whole"):
        list(open_source(tmp_path / "a.h5").blocks())
