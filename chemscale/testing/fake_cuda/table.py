"""The table of counts that a step of each case may not exceed: a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

EXACT = ("operations", "kernels")
SLACK = 1.005
"""Bytes may grow by so much: they follow the sizes of batches, which libraries may order in another way."""


def torch_series() -> str:
    """The torch that counts are of: another one takes its operations apart in another way."""
    return ".".join(version("torch").split("+")[0].split(".")[:2])


def read(path: Path) -> dict[str, Any]:
    """The table; empty where there is none, or none of this torch.

    Args:
        path: of the file.
    """
    if not path.exists():
        return {}
    held = json.loads(path.read_text())
    return dict(held["cases"]) if held["torch"] == torch_series() else {}


def write(
    path: Path, held: Mapping[str, Any], reports: Mapping[str, Any], *, whole: bool = True
) -> dict[str, Any]:
    """Write the counts of reports, and give back what was written.

    Args:
        path: of the file.
        held: the table before.
        reports: by name of the case.
        whole: whether cases that are not among the reports are dropped.
    """
    cases = {} if whole else dict(held)
    cases |= {name: kept(report) for name, report in reports.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items())
    path.write_text(f'{{"torch": "{torch_series()}", "cases": {{\n{lines}\n}}}}\n')
    return cases


def kept(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the table keeps of a report: counts, and functions that wait (lines of files move)."""
    return {
        **{key: report[key] for key in ("operations", "kernels", "bytes", "flops")},
        "waits": sorted(function_of(what) for what in report["waits"]),
    }


def function_of(wait: str) -> str:
    """A wait without the number of its line.

    Args:
        wait: such as ``a number is read at tasks/base.py:58 (training_step)``.
    """
    place, _, function = wait.rpartition(" (")
    return f"{place.rpartition(':')[0]} ({function}" if function else wait


def exceeded(held: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """What a case has more of than the table, in words.

    Args:
        held: its line of the table.
        report: of its run.
    """
    now = kept(report)
    over = [f"{key}: {held[key]:,} → {now[key]:,}" for key in EXACT if now[key] > held[key]]
    if now["bytes"] > SLACK * held["bytes"]:
        over.append(f"bytes: {held['bytes']:,} → {now['bytes']:,}")
    return over + [f"waits: {what}" for what in now["waits"] if what not in held["waits"]]


def compare(held: Mapping[str, Any], reports: Mapping[str, Any]) -> Iterable[str]:
    """Lines of what changed against the table.

    Args:
        held: the table.
        reports: by name of the case.
    """
    for name, report in reports.items():
        if name not in held:
            yield f"{name}: not in the table"
            continue
        now, before = kept(report), held[name]
        changed = [
            f"{key} {before[key]:,} → {now[key]:,} ({now[key] / max(1, before[key]) - 1:+.0%})"
            for key in (*EXACT, "bytes")
            if now[key] != before[key]
        ]
        changed += [f"waits no more: {what}" for what in before["waits"] if what not in now["waits"]]
        changed += [f"WAITS: {what}" for what in now["waits"] if what not in before["waits"]]
        if changed:
            yield f"{name}: {'; '.join(changed)}"
