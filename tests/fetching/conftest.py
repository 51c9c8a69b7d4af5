"""A server that plays faults, and sets whose files lie there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chemscale.fetching.registry import DataSet, Mirror, RemoteFile
from chemscale.fetching.sets import Options, fetch_set
from chemscale.fetching.transfer.download import Patience
from tests.helpers.file_server import FileServer, serving


@pytest.fixture(scope="session")
def one_server() -> Iterator[FileServer]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(one_server) -> FileServer:
    one_server.files.clear()
    one_server.asked.clear()
    return one_server


@pytest.fixture
def pauses() -> list[float]:
    """Seconds that a fetch would have waited."""
    return []


@pytest.fixture
def patience(pauses) -> Patience:
    return Patience(tries=2, timeout=5, sleep=pauses.append)


def described(*files: RemoteFile, name: str = "things") -> DataSet:
    return DataSet(
        name, "molecules", "some things", "CC0", "Nobody (2026)", "https://x.org", "made up", files
    )


def remote(*urls: str, path: str = "things.csv", **known) -> RemoteFile:
    return RemoteFile(path, tuple(Mirror(url) for url in urls), **known)


@pytest.fixture
def fetch(tmp_path, patience):
    """Fetch a set of one file, or of several; the folder that it comes into is ``home``."""

    def run(*files: RemoteFile, **options) -> list[Path]:
        return fetch_set(described(*files), tmp_path, Options(**{"patience": patience, **options}))

    return run


@pytest.fixture
def here(tmp_path) -> Path:
    return tmp_path / "things"
