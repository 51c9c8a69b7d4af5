"""What object stores answer, as errors that name the address and the way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chemscale.common.logs import brief

if TYPE_CHECKING:
    from chemscale.objects.address import Address

PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
"""What fsspec needs for each kind of address."""

CREDENTIALS = {
    "s3": (
        "boto's own chain is asked: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, ~/.aws, the "
        "machine's role. A public bucket: FSSPEC_S3='{\"anon\": true}'"
    ),
    "gs": (
        "Google's own chain is asked: GOOGLE_APPLICATION_CREDENTIALS, gcloud auth application-default login, "
        'the machine\'s account. A public bucket: FSSPEC_GS=\'{"token": "anon"}\''
    ),
}
_UNSIGNED = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "TokenRetrievalError",
)
_REFUSED = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "AccessDenied",
    "AllAccessDisabled",
)
_FOREIGN = ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "fsspec", "asyncio", "urllib3")


class StoreError(ValueError):
    """What an object store does not do; the message names the address and the way out."""


class Missing(StoreError):
    """No such object."""


class Exists(StoreError):
    """There is an object already, and it was to be written only where there is none."""


class Unreachable(StoreError):
    """A store that does not answer, breaks off or asks to come back later: it may at another time."""


class Damaged(StoreError):
    """An object that is not what its checksum or length says."""


@contextmanager
def told(address: Address) -> Iterator[None]:
    """What the libraries raise within the block, as ours.

    Args:
        address: that is used in it.

    Raises:
        Missing: it is not there.
        Unreachable: the store may answer at another time.
        StoreError: it refuses, or cannot be asked from here.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        found = _translated(address, error)
        if found is None:
            raise
        raise found from error


def _translated(address: Address, error: Exception) -> StoreError | None:
    """Our error for one of the libraries; None where it is not of a store."""
    chain = list(_chain(error))
    names = {type(each).__name__ for each in chain}
    codes = next((found for each in chain if (found := set(_codes(each)))), set())
    if isinstance(error, FileExistsError) or "412" in codes:
        return Exists(f"{address}: there is one already.")
    chained = CREDENTIALS[address.scheme]
    if names & set(_UNSIGNED):
        return StoreError(f"{address}: no credentials on this machine ({chained}).")
    if "NoSuchBucket" in codes or any("bucket does not exist" in str(each) for each in chain):
        return StoreError(f"{address}: there is no bucket {address.bucket}. Make it, or correct the address.")
    if isinstance(error, FileNotFoundError) or codes & {"NoSuchKey", "404"}:
        if getattr(error, "errno", None) is not None and error.filename is not None:  # type: ignore[attr-defined]
            return None  # of this disk
        return Missing(f"{address}: no such object.")
    if isinstance(error, PermissionError) or codes & {*_REFUSED, "403", "401"}:
        if getattr(error, "filename", None) is not None:
            return None  # of this disk
        return StoreError(
            f"{address}: the store refuses it ({brief(error)}). See who asks and what that one may do: "
            f"{chained}."
        )
    if any(type(each).__module__.split(".")[0] in _FOREIGN for each in chain) or isinstance(
        error, TimeoutError | ConnectionError
    ):
        return Unreachable(
            f"{address}: the store does not answer as it should ({type(error).__name__}: {brief(error)})."
        )
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def _codes(error: BaseException) -> Iterator[str]:
    """Codes that botocore (in ``response``) and gcsfs (in ``code``) carry."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        yield str(response.get("Error", {}).get("Code", ""))
        yield str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    code = getattr(error, "code", None)
    if code is not None:
        yield str(code)


def missing_package(address: Address) -> StoreError:
    """The package that fsspec needs for an address is not installed.

    Args:
        address: of that kind.
    """
    package = PACKAGES[address.scheme]
    return StoreError(f"{address}: needs {package}: pip install 'chemscale[{address.scheme}]'.")
