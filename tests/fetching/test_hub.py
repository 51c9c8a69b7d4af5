"""Data sets of the Hugging Face Hub by name: fetched where there is a network, read where there is none."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from chemscale.fetch import app
from chemscale.fetching.errors import FetchError
from chemscale.fetching.hub import LISTING, HubName, fetch_from_hub, hub_name, local_path
from chemscale.molecules.preparation.sources.files import find_files
from chemscale.structures.sources.combined import open_sources
from chemscale.structures.sources.frame_files import frame_files
from tests.helpers.hub_files import hub_files

pytest.importorskip("huggingface_hub")
CSV = b"smiles,y\nCCO,1\nCCN,2\n"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_files() as server:
        server.files["me/set"] = {
            "README.md": b"# A set",
            "data/train-0.csv": CSV,
            "data/train-1.csv": CSV,
            "data/test-0.csv": CSV,
        }
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        monkeypatch.setenv("CHEMSCALE_DATA", str(tmp_path))
        yield server


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("hf://datasets/a/b", HubName("a/b")),
        ("hf://datasets/a/b@v1.0", HubName("a/b", "v1.0")),
        ("hf://datasets/a/b@refs%2Fconvert%2Fparquet/x", HubName("a/b", "refs/convert/parquet", "x")),
        ("hf://datasets/a/b/data/*.parquet", HubName("a/b", "main", "data/*.parquet")),
        ("data/a.csv", None),
    ],
)
def test_names_are_taken_apart_and_written_again(path, name):
    assert hub_name(path) == name
    assert name is None or str(name) == path


@pytest.mark.parametrize(
    "path", ["hf://a/b", "hf://datasets/a", "hf://datasets/a/b/../../c", "hf://models/a/b"]
)
def test_what_names_no_data_set_is_refused(path):
    with pytest.raises(FetchError, match=r"not a data set of the Hub.*hf://datasets/ORG/NAME"):
        hub_name(path)


def test_a_set_that_is_not_here_is_said_with_the_command_that_fetches_it(hub):
    with pytest.raises(
        FileNotFoundError, match=r"not here yet.*python -m chemscale\.fetch hf://datasets/me/set$"
    ):
        find_files("hf://datasets/me/set")
    assert not hub.asked  # nobody asked the network


def test_a_fetched_set_is_read_as_a_folder_in_a_stable_order(hub, tmp_path):
    folder = fetch_from_hub(HubName("me/set"), tmp_path)
    files, left_out = find_files("hf://datasets/me/set")
    assert [file.relative_to(folder).as_posix() for file in files] == [
        "data/test-0.csv",
        "data/train-0.csv",
        "data/train-1.csv",
    ]
    assert left_out == ["README.md"]
    files, _ = find_files("hf://datasets/me/set/data/train-*.csv")
    assert [file.name for file in files] == ["train-0.csv", "train-1.csv"]
    assert files[0].read_bytes() == CSV


def test_a_part_of_a_set_is_fetched_and_the_rest_is_still_missed(hub, tmp_path):
    fetch_from_hub(HubName("me/set", files="data/test-*"), tmp_path)
    assert local_path("hf://datasets/me/set/data/test-0.csv").endswith("data/test-0.csv")
    with pytest.raises(FileNotFoundError, match="not here yet"):
        local_path("hf://datasets/me/set/data/train-*")
    fetch_from_hub(HubName("me/set"), tmp_path)
    (tmp_path / "hub/me/set/main/data/train-1.csv").write_bytes(b"smiles,y\n")
    with pytest.raises(FileNotFoundError, match="1 of its 2 files are missing or cut short"):
        local_path("hf://datasets/me/set/data/train-*")


def test_what_a_set_has_no_more_is_not_read(hub, tmp_path):
    fetch_from_hub(HubName("me/set"), tmp_path)
    hub.files["me/set"]["data/train-2.csv"] = hub.files["me/set"].pop("data/train-1.csv")
    fetch_from_hub(HubName("me/set"), tmp_path)
    files, _ = find_files("hf://datasets/me/set")
    assert [file.name for file in files] == ["test-0.csv", "train-0.csv", "train-2.csv"]


def test_structures_of_a_set_are_found_in_its_folders(hub, tmp_path):
    line = b'{"z": [1, 1], "pos": [0, 0, 0, 1, 0, 0], "energy": 1.0}\n'
    hub.files["me/set"] = {"README.md": b"# A set", "data/a.jsonl": line, "data/more/b.jsonl": line * 2}
    fetch_from_hub(HubName("me/set"), tmp_path)
    files, left_out = frame_files("hf://datasets/me/set")
    assert [file.name for file in files] == ["a.jsonl", "b.jsonl"]
    assert left_out == ["README.md (documentation)"]
    assert sum(len(block) for block in open_sources(files, {}).blocks()) == 3


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (HubName("me/other"), "no such data set, or a private one"),
        (HubName("me/set", "v9"), "has no revision 'v9'"),
        (HubName("me/set", files="*.h5"), "has no such file, but README.md, data/test-0.csv"),
    ],
)
def test_what_the_hub_has_not_is_said(hub, tmp_path, name, why):
    with pytest.raises(FetchError, match=why):
        fetch_from_hub(name, tmp_path)


def test_a_large_file_is_compared_with_the_checksum_that_the_hub_lists(hub, tmp_path):
    hub.lfs["data/test-0.csv"] = {"sha256": hashlib.sha256(b"another").hexdigest(), "size": len(CSV)}
    with pytest.raises(FetchError, match=r"data/test-0.csv is not what the Hub lists: its sha256 is"):
        fetch_from_hub(HubName("me/set"), tmp_path)
    assert not (tmp_path / "hub/me/set/main/data/test-0.csv").exists()
    with pytest.raises(FileNotFoundError, match="not here yet"):
        local_path("hf://datasets/me/set")
    hub.lfs["data/test-0.csv"]["sha256"] = hashlib.sha256(CSV).hexdigest()
    fetch_from_hub(HubName("me/set"), tmp_path)
    assert local_path("hf://datasets/me/set")


def test_a_set_for_which_the_disk_has_no_room_is_refused_before_a_file_is_asked_for(
    hub, tmp_path, monkeypatch
):
    monkeypatch.setattr("chemscale.fetching.hub.free", lambda folder: 10)
    with pytest.raises(FetchError, match=r"needs 70 bytes more, and the disk of .* has 10 bytes free"):
        fetch_from_hub(HubName("me/set"), tmp_path)
    assert not any("resolve" in each for each in hub.asked)


def test_the_licence_of_the_card_is_said_and_kept(hub, tmp_path, caplog):
    caplog.set_level("INFO")
    folder = fetch_from_hub(HubName("me/set"), tmp_path)
    assert "licence cc-by-4.0; https://huggingface.co/datasets/me/set" in caplog.text
    assert json.loads((folder / LISTING).read_text())["licence"] == "cc-by-4.0"


def test_no_network_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(FetchError, match="hf://datasets/me/set: the Hub does not answer"):
        fetch_from_hub(HubName("me/set"), tmp_path)


def test_the_command_fetches_and_says_what_reads_it(hub, tmp_path):
    said = CliRunner().invoke(app, ["hf://datasets/me/set@main", "--dry-run"])
    assert said.output == f"hf://datasets/me/set: into {tmp_path}/hub/me/set/main\n"
    assert not hub.asked
    said = CliRunner().invoke(app, ["hf://datasets/me/set"])
    assert said.exit_code == 0
    assert "data.path=hf://datasets/me/set\n" in said.output
    assert (tmp_path / "hub/me/set/main/data/train-1.csv").read_bytes() == CSV
