import uuid
from collections.abc import Iterator

import pytest

pytest.importorskip("s3fs", reason="pip install 'chemscale[s3]'")
pytest.importorskip("moto", reason="pip install 'moto[server]'")

from chemscale.objects import store as stores
from tests.helpers.object_stores import Bucket, bucket_of, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A server of S3 on this machine."""
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(s3, tmp_path, monkeypatch) -> Iterator[Bucket]:
    """A bucket of its own, reached by this process and by those that get its environment."""
    with bucket_of(s3, f"bucket-{uuid.uuid4().hex[:8]}", tmp_path / "cache") as bucket:
        for key in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(key, raising=False)
        for key, value in bucket.environment.items():
            if key.startswith(("AWS_", "CHEMSCALE_")):
                monkeypatch.setenv(key, value)
        monkeypatch.setattr(stores, "PAUSES", (0.05, 0.1, 0.2))
        stores.forget()
        yield bucket
    stores.forget()
