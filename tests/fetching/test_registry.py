"""Registries: those of users add to ours, and what is wrong in one is said by its file and key."""

import subprocess
import sys

import pytest

from chemscale.fetching.errors import FetchError
from chemscale.fetching.registry import Mirror, RemoteFile, load_registry, read_registry

SET = """
schema: 1
sets:
  mine:
    kind: molecules
    about: ours
    licence: internal
    citation: us (2026)
    homepage: https://x.org
    sources: ourselves
    files:
      - path: a.csv
        bytes: 12
        mirrors: [file:///data/a.csv, {url: 'https://x.org/a.csv', unverified: never tried}]
"""


def written(path, text=SET):
    path.write_text(text)
    return path


def test_a_registry_of_ones_own_adds_sets(tmp_path, monkeypatch):
    sets = load_registry([written(tmp_path / "mine.yaml")])
    assert "ani1x" in sets
    assert sets["mine"].registry == str(tmp_path / "mine.yaml")
    first, second = sets["mine"].files[0].mirrors
    assert first == Mirror("file:///data/a.csv")
    assert second.unverified == "never tried"
    beside = written(tmp_path / "beside.yaml", SET.replace("file:///data/a.csv", "file:d/a.csv"))
    assert read_registry(beside)["mine"].files[0].mirrors[0].url == f"file://{tmp_path}/d/a.csv"
    monkeypatch.setenv("CHEMSCALE_REGISTRY", str(tmp_path / "mine.yaml"))
    assert "mine" in load_registry()
    monkeypatch.delenv("CHEMSCALE_REGISTRY")
    monkeypatch.setenv("CHEMSCALE_CONFIG", str(tmp_path))
    written(tmp_path / "registry.yaml", SET.replace("mine:", "ani1x:"))
    assert load_registry()["ani1x"].licence == "internal"  # a later one wins


WRONG = [
    ("schema: 1", "schema: 2", "schema 2 of a registry; this version reads 1"),
    ("sets:", "things:", "a registry has a mapping `sets`"),
    ("kind: molecules", "kind: cats", r"sets\.mine\.kind='cats': give molecules or structures"),
    ("    licence: internal\n", "", r"sets\.mine\.licence is missing"),
    ("bytes: 12", "bytes: many", r"sets\.mine\.files\.bytes='many': give a whole number"),
    ("bytes: 12", "size: 12", r"sets\.mine\.files\.size: nothing reads this key"),
    ("bytes: 12", "md5: xyz", r"md5 of a\.csv is no md5: give 32 digits"),
    ("path: a.csv", "path: ../a.csv", r"path: '\.\./a\.csv' leaves the set's folder"),
    ("path: a.csv", "path: /etc/a.csv", "leaves the set's folder"),
    ("path: a.csv", "path: manifest.json", "a name that fetching itself uses"),
    ("path: a.csv", "path: a.csv.part", "a name that fetching itself uses"),
    ("file:///data/a.csv", "ftp://x.org/a.csv", r"'ftp://x\.org/a\.csv' is no address"),
    ("  mine:", "  my set:", "letters, digits, - and _ only"),
    ("    files:\n", "    files: []\n    more:\n", "more"),
    ("schema: 1\nsets:", "schema: 1\nsets: [", "no readable registry"),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
def test_what_is_wrong_in_a_registry_is_named(tmp_path, old, new, said):
    assert old in SET
    path = written(tmp_path / "mine.yaml", SET.replace(old, new))
    with pytest.raises(FetchError, match=said) as refused:
        read_registry(path)
    assert str(path) in str(refused.value)
    with pytest.raises(FetchError, match="no readable registry"):
        read_registry(tmp_path / "none.yaml")


def test_two_files_cannot_lie_at_one_place(tmp_path):
    text = SET + "      - {path: A.csv, mirrors: ['https://x.org/b']}\n"
    with pytest.raises(FetchError, match=r"two files are to lie at a\.csv"):
        read_registry(written(tmp_path / "mine.yaml", text))


def test_lengths_are_those_of_files_and_their_content():
    plain = RemoteFile("a", (Mirror("https://x.org/a"),), about_bytes=10)
    assert (plain.size, plain.room, plain.checksums) == (10, 10, {})


def test_fetching_loads_no_heavy_library():
    code = "import sys, chemscale.fetching.sets, chemscale.fetching.places, chemscale.fetching.probe; "
    heavy = "{'torch', 'numpy', 'hydra', 'omegaconf', 'rdkit', 'ase', 'h5py', 'requests'}"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} print(sorted({heavy} & set(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
