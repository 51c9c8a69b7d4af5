"""What can be wrong with a score: how it was asked for, and what its function did."""

from __future__ import annotations


class ScoringError(ValueError):
    """A score that was asked for in a way that cannot work; known before anything is computed."""


class OracleError(ValueError):
    """A scoring function that raised, or gave something that is no score."""
