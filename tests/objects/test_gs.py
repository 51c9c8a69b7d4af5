"""The same at gs://, against an emulator, which knows no condition for writing an object only once."""

import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("gcsfs", reason="pip install 'chemscale[gs]'")
pytest.importorskip("gcp_storage_emulator", reason="pip install gcp-storage-emulator")

from chemscale.objects import store as stores
from chemscale.objects.address import Address, local_place
from chemscale.objects.errors import Missing
from chemscale.objects.lease import Lease
from chemscale.objects.seals import fetch_folder, publish_folder
from chemscale.objects.store import open_store
from chemscale.points.run import train_point
from chemscale.records import RunRecord, State
from tests.helpers.object_stores import gs_server
from tests.helpers.points import point_in
from tests.helpers.sickness import losses


@pytest.fixture
def gs(tmp_path, monkeypatch):
    """``gs://bucket`` of an emulator."""
    with gs_server() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks another service, by gRPC
        monkeypatch.setenv("CHEMSCALE_CACHE", str(tmp_path / "cache"))
        stores.forget()
        yield "gs://bucket"
        stores.forget()


def test_objects_folders_and_leases_at_gs(gs, tmp_path):
    store, address = open_store(Address.parse(gs)), Address.parse(f"{gs}/a/b")
    store.write(address, b"hello")
    (tmp_path / "big").write_bytes(os.urandom(100_000))
    store.put(tmp_path / "big", address.parent.child("big"))
    assert {name: entry.size for name, entry in store.entries(address.parent).items()} == {
        "b": 5,
        "big": 100_000,
    }
    store.get(address.parent.child("big"), tmp_path / "back", store.entry(address.parent.child("big")))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()
    with pytest.raises(Missing):
        store.read(address.child("none"))
    folder = local_place(f"{gs}/stores/one")
    folder.mkdir(parents=True)
    (folder / "array.npy").write_bytes(b"numbers")
    assert publish_folder(folder)
    shutil.rmtree(folder)
    assert fetch_folder(folder)
    assert (folder / "array.npy").read_bytes() == b"numbers"
    first, second = (Lease(store, address.parent.child("lease")) for _ in range(2))
    assert first.acquire() == ""
    assert "pid" in second.acquire()
    first.release()
    assert store.entries(address.parent).keys() == {"b", "big"}


@pytest.mark.slow
def test_a_run_at_gs_goes_on_elsewhere_to_the_bit(gs, tmp_path, smiles_file):
    whole = point_in(tmp_path, smiles_file)
    train_point(whole, [])
    train_point(point_in(tmp_path, smiles_file, f"runs={gs}/runs", "pause=0.5"), [])
    shutil.rmtree(Path(os.environ["CHEMSCALE_CACHE"]) / "objects")
    point = point_in(tmp_path, smiles_file, f"runs={gs}/runs")
    train_point(point, [])
    assert losses(point.directory) == losses(whole.directory)
    assert RunRecord.load(point.directory).state is State.DONE
