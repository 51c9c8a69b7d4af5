"""What the tests of commands share."""

from pathlib import Path

import pytest

from tests.helpers.documents.inputs import make_inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What a reader's folder is: empty but for data of their own."""
    made = tmp_path_factory.mktemp("reader")
    make_inputs(made)
    return made
