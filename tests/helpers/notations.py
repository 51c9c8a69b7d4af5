"""Notations of molecules, of which one needs a package that the tests do without."""

from importlib.util import find_spec

import pytest

HAS_SAFE = find_spec("safe") is not None
NEEDS_SAFE = pytest.mark.skipif(not HAS_SAFE, reason="pip install 'chemscale[safe]'")
SAFE = pytest.param("safe", marks=NEEDS_SAFE)
