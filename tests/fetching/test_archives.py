"""Archives: what is wanted comes out, and nothing that they try."""

import gzip
import io
import json
import tarfile
import zipfile

import pytest

from chemscale.fetching.errors import FetchError
from chemscale.fetching.registry import Unpack
from chemscale.fetching.unpacking import unpack
from tests.fetching.conftest import remote


def tar_of(path, members, mode="w:gz"):
    """A tar of (name, content) pairs, or of ready-made entries."""
    with tarfile.open(path, mode) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def link(name, to, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def taken(archive, out, members=("*.xyz",), to="./", **options):
    return sorted(p.name for p in unpack(archive, Unpack(tuple(members), to), out, **options))


def test_members_come_out_by_the_last_part_of_their_names(tmp_path, out):
    members = [
        ("d/a.xyz", b"1"),
        ("d/e/b.xyz", b"2"),
        ("d/._a.xyz", b"mac"),
        ("__MACOSX/c.xyz", b""),
        ("d/x.md", b""),
    ]
    assert taken(tar_of(tmp_path / "a.tar.gz", members), out) == ["a.xyz", "b.xyz"]
    assert (out / "b.xyz").read_bytes() == b"2"


@pytest.mark.parametrize("mode", ["w", "w:bz2", "w:xz"])
def test_tars_of_every_compression_are_read(tmp_path, out, mode):
    assert taken(tar_of(tmp_path / "a", [("a.xyz", b"1")], mode), out) == ["a.xyz"]


def test_a_zip_and_a_single_compressed_file_are_read(tmp_path, out):
    assert taken(zip_of(tmp_path / "a.zip", [("d/", b""), ("d/a.txt", b"C")]), out, ["*.txt"]) == ["a.txt"]
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"CC"))
    assert taken(tmp_path / "b.txt.gz", out, ["b.txt"], "molecules.txt") == ["b.txt"]
    assert (out / "b.txt").read_bytes() == b"CC"


HOSTILE = [("../evil.xyz", b"x"), ("/etc/evil.xyz", b"x"), ("a/../../evil.xyz", b"x"), ("C:\\evil.xyz", b"x")]


@pytest.mark.parametrize("member", HOSTILE, ids=lambda member: member[0])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_that_leads_out_of_its_folder_is_refused_whole(tmp_path, out, member, kind):
    archive = tmp_path / f"a.{kind}"
    (tar_of if kind == "tar" else zip_of)(archive, [member])
    with pytest.raises(FetchError, match="leads out of its folder: nothing of this archive is unpacked"):
        taken(archive, out)
    assert not list(out.iterdir())
    assert not (tmp_path / "evil.xyz").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_never_made(tmp_path, out, kind):
    with pytest.raises(FetchError, match=r"a\.xyz is a link or a device, not a file"):
        taken(tar_of(tmp_path / "a.tar", [link("a.xyz", "/etc/passwd", kind)], "w"), out)
    assert not list(out.iterdir())
    assert taken(tar_of(tmp_path / "b.tar", [link("latest", "a.xyz", kind), ("a.xyz", b"1")], "w"), out) == [
        "a.xyz"
    ]


def test_bombs_are_refused_before_they_fill_the_disk(tmp_path, out):
    zeros = b"\0" * 2_000_000
    bombs = {
        "zip": zip_of(tmp_path / "a.zip", [("a.xyz", zeros)]),
        "tar": tar_of(tmp_path / "a.tar.gz", [("a.xyz", zeros)]),
        "gz": tmp_path / "a.xyz.gz",
    }
    bombs["gz"].write_bytes(gzip.compress(b"C" * 2_000_000))
    for archive in bombs.values():
        assert archive.stat().st_size < 10_000
        with pytest.raises(FetchError, match=r"it holds more than .*, from .*: a bomb"):
            taken(archive, out, min_limit=500_000)
    assert sum(path.stat().st_size for path in out.iterdir()) <= 1_100_000  # of the one that states no length


def test_a_zip_that_lies_about_its_length_is_refused(tmp_path, out):
    archive = zip_of(tmp_path / "a.zip", [("a.xyz", b"\0" * 5000)])
    content = archive.read_bytes()
    archive.write_bytes(content.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(FetchError, match="damaged archive"):
        taken(archive, out)


def test_a_zip_whose_second_name_of_a_member_is_damaged_is_refused(tmp_path, out):
    archive = zip_of(tmp_path / "a.zip", [("é.xyz", b"0" * 100)])
    content = bytearray(archive.read_bytes())
    content[30] = 0xFF  # of the name before the content: the one in the table at the end is whole
    archive.write_bytes(content)
    with pytest.raises(FetchError, match="damaged archive"):
        taken(archive, out)


@pytest.mark.parametrize("cut", [0.5, 0.98])
def test_an_archive_that_was_cut_off_is_refused(tmp_path, out, cut):
    import random

    noise = random.Random(0).randbytes(200_000)
    for archive in (
        tar_of(tmp_path / "a.tar.gz", [("a.xyz", noise)]),
        zip_of(tmp_path / "a.zip", [("a.xyz", noise)]),
    ):
        archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * cut)])
        with pytest.raises(FetchError, match=r"damaged archive \(|bytes, not"):
            taken(archive, out)
        for left in out.iterdir():
            left.unlink()


def test_what_was_looked_for_must_be_there_and_alone(tmp_path, out):
    two = tar_of(tmp_path / "a.tar", [("a.xyz", b"1"), ("b.xyz", b"2")], "w")
    with pytest.raises(FetchError, match=r"it holds no \*\.h5"):
        taken(two, out, ["*.h5"])
    with pytest.raises(FetchError, match=r"it holds a\.xyz, b\.xyz, of which one alone was expected"):
        taken(two, out, to="one.xyz")
    (tmp_path / "c").write_bytes(b"plain text")
    with pytest.raises(FetchError, match="neither zip nor tar"):
        taken(tmp_path / "c", out)
    for left in out.iterdir():
        left.unlink()
    with pytest.raises(FetchError, match=r"two files called a\.xyz"):
        taken(tar_of(tmp_path / "d.tar", [("x/a.xyz", b"1"), ("y/a.xyz", b"2")], "w"), out)


def test_an_archive_is_fetched_unpacked_recorded_and_removed(server, fetch, here, tmp_path):
    content = tar_of(tmp_path / "a.tar.gz", [("d/a.xyz", b"1"), ("d/b.xyz", b"22")]).read_bytes()
    file = remote(server.host("/a", content), path="a.tar.gz", unpack=Unpack(("*.xyz",), "frames/"))
    assert fetch(file) == [here / "frames/a.xyz", here / "frames/b.xyz"]
    entry = json.loads((here / "manifest.json").read_text())["files"]["a.tar.gz"]
    assert entry["contents"]["frames/b.xyz"]["bytes"] == 2
    assert entry["bytes"] == len(content)
    assert sorted(p.name for p in here.iterdir()) == [".fetch.lock", "frames", "manifest.json"]
    assert len(server.asked) == 1
    assert fetch(file)
    assert len(server.asked) == 1
    (here / "frames/a.xyz").unlink()
    assert len(fetch(file, keep_archives=True)) == 2
    assert (here / "a.tar.gz").exists()


def test_contents_must_be_those_that_are_published(server, fetch, here, tmp_path):
    content = zip_of(tmp_path / "a.zip", [("p.txt", b"CCO")]).read_bytes()
    plan = Unpack(("*.txt",), "molecules.txt", sha256={"p.txt": "0" * 64})
    with pytest.raises(FetchError, match=r"the sha256 of p\.txt in it is"):
        fetch(remote(server.host("/a", content), path="a.zip", unpack=plan))
    assert not (here / "molecules.txt").exists()
    good = remote(server.url("/a"), path="a.zip", unpack=Unpack(("*.txt",), "molecules.txt"))
    assert fetch(good) == [here / "molecules.txt"]
    assert len(server.asked) == 1  # the archive was whole


def test_an_archive_that_was_no_good_at_first_use_does_not_bind_the_next_one(server, fetch, here, tmp_path):
    plan = Unpack(("*.txt",), "molecules.txt")
    file = remote(server.host("/a", b"PK\x03\x04 and no more"), path="a.zip", unpack=plan)
    with pytest.raises(FetchError, match="damaged archive"):
        fetch(file)
    (here / "a.zip").unlink()
    server.host("/a", zip_of(tmp_path / "a.zip", [("p.txt", b"CCO")]).read_bytes())
    assert fetch(file) == [here / "molecules.txt"]
