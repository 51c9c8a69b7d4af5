"""Findings of the linter, and the names of its checks."""

from __future__ import annotations

from dataclasses import dataclass

CHECKS = (
    "length unit",
    "force sign",
    "energy and force units",
    "shuffled labels",
    "missing labels",
    "duplicates",
    "leakage",
    "element coverage",
    "outliers",
    "net force",
    "close atoms",
)


@dataclass(frozen=True)
class Finding:
    """One fault, or note, of a data set.

    Args:
        check: one of `CHECKS`.
        severity: "error" (training on this is wrong), "warning" (look at it), "note" (good to know).
        message: what was found, with its numbers, and the way out.
    """

    check: str
    severity: str
    message: str
