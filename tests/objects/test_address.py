"""Addresses, and the working copies that stand for them."""

from pathlib import Path

import pytest

from chemscale.objects.address import Address, address_of, is_address, local_place
from chemscale.objects.errors import StoreError


@pytest.mark.parametrize(
    "given", ["s3://bucket/runs/one", Path("s3://bucket/runs/one"), "s3://bucket//runs/one/"]
)
def test_an_address_is_known_even_where_a_path_has_swallowed_a_slash(given):
    assert is_address(given)
    assert str(Address.parse(given)) == "s3://bucket/runs/one"


@pytest.mark.parametrize(
    "given", ["runs", "/data/s3/x", "s3", "hf://datasets/a/b", "file://x", "as3://bucket/x"]
)
def test_a_path_is_no_address(given):
    assert not is_address(given)
    assert local_place(given) == Path(given)


@pytest.mark.parametrize(
    "given", ["s3://", "s3:///key", "s3://Bucket/x", "s3://bucket/../other", "gs://a b/c"]
)
def test_what_begins_as_an_address_and_is_none_is_refused(given):
    with pytest.raises(StoreError, match="not an address"):
        local_place(given)


@pytest.mark.parametrize("given", ["s3://AKIA1:se/cret@bucket/x", "gs:/me:secret@bucket"])
def test_a_secret_in_what_should_be_an_address_is_not_said_again(given):
    with pytest.raises(StoreError, match="Credentials do not stand in them") as refused:
        local_place(given)
    assert "cret" not in str(refused.value)
    assert "bucket" in str(refused.value)


def test_a_working_copy_knows_its_address(tmp_path, monkeypatch):
    monkeypatch.setenv("CHEMSCALE_CACHE", str(tmp_path))
    for given in ("s3://bucket/runs/sweep/point", "gs://bucket"):
        assert str(address_of(local_place(given))) == given
    assert address_of(tmp_path / "objects" / "s3") is None
    assert address_of(tmp_path / "index" / "x") is None
