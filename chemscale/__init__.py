"""chemscale: scaling laws of chemical foundation models, from molecules to a fitted law."""

__version__ = "0.1.0"
"""The one place of the version: pyproject.toml reads it here; CHANGELOG.md says what a number promises."""
