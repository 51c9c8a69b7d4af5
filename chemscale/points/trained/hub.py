"""A model folder on the Hugging Face Hub, by the Hub's own library and with the login that it keeps."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chemscale.points.trained.checkpoint import ExportError


def check_push(name: str) -> None:
    """Refuse what cannot be pushed, before a model is read.

    Args:
        name: of the repository: OWNER/NAME, or NAME for the one who is logged in.

    Raises:
        ExportError: the library or a login is missing, or the name is none.
    """
    if not importlib.util.find_spec("huggingface_hub"):
        raise ExportError("--push needs huggingface_hub, not installed here: pip install 'chemscale[hub]'.")
    from huggingface_hub import get_token
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ExportError(f"--push {name}: not the name of a repository, OWNER/NAME ({error}).") from None
    if get_token() is None:
        raise ExportError(
            "--push: nobody is logged in to the Hugging Face Hub. Run hf auth login once, or set HF_TOKEN; "
            "chemscale keeps no token of its own."
        )


def push(folder: Path, name: str, *, private: bool, message: str, again: str) -> str:
    """Upload all files of a folder as one commit; the repository is made where it is not there.

    A commit is whole or absent, and files that are on the Hub already are not sent again: the same command
    after an interruption goes on.

    Args:
        folder: of the model.
        name: of the repository, OWNER/NAME.
        private: of a repository that is made now; one that exists keeps what it is.
        message: of the commit.
        again: what a person can do after a failure.

    Returns:
        The address of the repository.

    Raises:
        ExportError: no network, no permission, or a refusal of the Hub.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="chemscale")
    with _explained(name, again):
        url = api.create_repo(name, private=private, exist_ok=True, repo_type="model")
        api.upload_folder(
            repo_id=url.repo_id,
            folder_path=str(folder),
            commit_message=message,
            repo_type="model",
            ignore_patterns=[".*", "*.part"],
        )
    return str(url)


@contextmanager
def _explained(name: str, again: str) -> Iterator[None]:
    """What goes wrong between here and the Hub, as one paragraph.

    Raises:
        ExportError: for each of it.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        why = {
            401: "the login is not valid (hf auth login)",
            403: f"the login may not write to {name}: its token needs the permission to write there",
            404: f"the Hub does not know {name}",
        }.get(status or 0, f"the Hub refused it: {_first_line(error)}")
        raise ExportError(f"--push {name}: {why}. {again}") from None
    except OfflineModeIsEnabled:
        raise ExportError(f"--push {name}: HF_HUB_OFFLINE is set, which forbids it. {again}") from None
    except _network_errors() as error:
        raise ExportError(
            f"--push {name}: the Hub cannot be reached from here ({_first_line(error)}). {again}"
        ) from None
    except ValueError as error:  # a model card that the Hub does not accept
        raise ExportError(f"--push {name}: {error} {again}") from None


def _network_errors() -> tuple[type[BaseException], ...]:
    """What the HTTP library of the installed huggingface_hub raises without a network."""
    found: list[type[BaseException]] = [ConnectionError, TimeoutError]
    for name, error in (("httpx2", "HTTPError"), ("httpx", "HTTPError"), ("requests", "RequestException")):
        if importlib.util.find_spec(name):
            found.append(getattr(importlib.import_module(name), error))
    return tuple(found)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(". ")
