"""chemscale: scaling laws of chemical foundation models, from molecules to a fitted law."""

import os

__version__ = "0.1.0"
"""The one place of the version: pyproject.toml reads it here; CHANGELOG.md says what a number promises."""

# PyTorch reads it once, at the first matrix product on a GPU: a plan's trial may come before any trainer.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
