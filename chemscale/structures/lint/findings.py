"""Findings of the linter, the names of its checks, and the verdict on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CHECKS = (
    "length unit",
    "force sign",
    "energy and force units",
    "shuffled labels",
    "stress",
    "missing labels",
    "zero forces",
    "constant labels",
    "precision",
    "duplicates",
    "leakage",
    "element coverage",
    "outliers",
    "net force",
    "close atoms",
)

NOT_CHECKED = "not checked"
ORDER = {"error": 0, "warning": 1, "note": 2, NOT_CHECKED: 3}


@dataclass(frozen=True)
class Finding:
    """One fault, or note, of a data set.

    Args:
        check: one of `CHECKS`; or "sample", where not all frames were looked at.
        severity: "error" (training on this is wrong), "warning" (look at it), "note" (good to know) or
            "not checked" (the data do not allow the check).
        message: what was found, with its numbers, and the way out; why it was not checked.
    """

    check: str
    severity: str
    message: str


def not_checked(check: str, reason: str) -> Finding:
    """What stands in the place of a check that did not run, or could not decide."""
    return Finding(check, NOT_CHECKED, reason)


def verdicts(findings: Sequence[Finding]) -> dict[str, str]:
    """Verdict on every check: "failed" (an error or a warning), "not checked" or "ok"."""
    failed = {f.check for f in findings if f.severity in ("error", "warning")}
    missing = {f.check for f in findings if f.severity == NOT_CHECKED}
    return {c: "failed" if c in failed else NOT_CHECKED if c in missing else "ok" for c in CHECKS}


def report(findings: Sequence[Finding]) -> list[str]:
    """Format findings as lines, worst first; then the checks that are ok, and those that did not run."""
    told = verdicts(findings)
    lines = [
        f"{f.severity.upper() if f.severity != 'note' else 'note'} · {f.check}: {f.message}"
        for f in sorted(findings, key=lambda f: ORDER[f.severity])
        if f.severity != NOT_CHECKED
    ]
    clean = [check for check, verdict in told.items() if verdict == "ok"]
    if clean:
        lines.append(f"ok · {', '.join(clean)}")
    reasons: dict[str, list[str]] = {}
    for f in findings:
        if f.severity == NOT_CHECKED and told[f.check] == NOT_CHECKED:
            reasons.setdefault(f.message, []).append(f.check)
    lines += [f"not checked · {', '.join(dict.fromkeys(c))}: {reason}" for reason, c in reasons.items()]
    return lines
