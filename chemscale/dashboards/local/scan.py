"""Which points, laws and submissions lie below a folder: one pass that looks only where they can be."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chemscale.common.files import read_regular
from chemscale.dashboards.local.points import Stamp, stamp
from chemscale.records import PLANNED_NAME, RECORD_NAME

MAX_DEPTH = 4
"""Levels below the folder at which a point may lie; runs/SWEEP/POINT has two."""
NO_POINTS = {"checkpoints", "model", "code", "wandb", "trunk", "corpora", "structures", "tensorboard"}
SUBMISSION = Path("jobs") / "submission.json"


@dataclass
class Found:
    """Paths are relative to the folder and written with slashes; ``.`` is the folder itself."""

    points: dict[str, Stamp] = field(default_factory=dict)
    """Directory of a point → stamp of its record."""
    laws: dict[str, Stamp] = field(default_factory=dict)
    """``law.json`` → its stamp."""
    submissions: dict[str, Stamp] = field(default_factory=dict)
    """Directory of a sweep → stamp of its ``jobs/submission.json``."""
    plans: dict[str, Stamp] = field(default_factory=dict)
    """Directory of a sweep → stamp of its ``planned.json``."""
    problems: list[str] = field(default_factory=list)
    """Folders that could not be looked into."""


def scan(root: Path) -> Found:
    """Look below `root`: one ``stat`` a point, one listing a sweep. Folders of checkpoints are not entered.

    A folder that cannot be read is named in ``problems``; what vanishes meanwhile is not there.
    """
    found = Found()
    _look(Path(root), ".", 0, found)
    return found


def _look(folder: Path, name: str, depth: int, found: Found) -> None:
    if (record := stamp(folder / RECORD_NAME)) is not None:
        found.points[name] = record
        return
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entry.name for entry in entries if _enters(entry))
    except FileNotFoundError:
        return
    except OSError as error:
        found.problems.append(f"{folder}: {error.strerror or error}")
        return
    if depth and (law := stamp(folder / "law.json")) is not None:
        found.laws[f"{name}/law.json"] = law
        return
    if "jobs" in inside:
        inside.remove("jobs")
        if (submission := stamp(folder / SUBMISSION)) is not None:
            found.submissions[name] = submission
    if (plan := stamp(folder / PLANNED_NAME)) is not None:
        found.plans[name] = plan
    if depth < MAX_DEPTH:
        for each in inside:
            _look(folder / each, each if name == "." else f"{name}/{each}", depth + 1, found)


def _enters(entry: os.DirEntry[str]) -> bool:
    try:
        if entry.name[0] == "." or entry.name in NO_POINTS or not entry.is_dir():
            return False
        # A link to a folder above would show every point again on each level.
        path = Path(entry.path)
        return not (entry.is_symlink() and path.parent.resolve().is_relative_to(path.resolve()))
    except OSError:
        return False


def sweep_of(path: str) -> str:
    """The sweep of a point's directory or of a law's folder: the folder that it lies in."""
    parent, _, _ = path.rpartition("/")
    return parent or "."


def read_plan(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Entries by identity and the identities of ``planned.json``, whose points have no jobs."""
    try:
        plans = {str(plan["identity"]): plan for plan in json.loads(read_regular(path))["points"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}, []
    return {identity: {"plan": plan, "jobs": []} for identity, plan in plans.items()}, list(plans)


def read_submission(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Entries by identity and the identities of the newest command; empty where they cannot be read."""
    try:
        content = json.loads(read_regular(path))
        entries, sweep = content["points"], content["sweep"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}, []
    good = isinstance(entries, dict) and isinstance(sweep, list)
    return (entries, [str(identity) for identity in sweep]) if good else ({}, [])
