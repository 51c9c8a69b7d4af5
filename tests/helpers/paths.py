"""Where the checkout lies, and the real data beside it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"


def real_data(name: str) -> Path:
    """A file of the shared data, or a skip that says what is missing."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"real data {name} is not beside the checkout (../shared/data)")
    return path
