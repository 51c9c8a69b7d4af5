"""The law of a sweep in W&B: a run in the sweep's group with figures, report, numbers and an artifact."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chemscale.training.trackers.base import SweepLaw, flat
from chemscale.training.trackers.wandb_run import start

FINISH_SECONDS = 300.0
FILES = ("law.json", "report.html", "points.csv")
NOT_NUMBERS = (
    "data",
    "versions",
    "command",
    "notes",
    "schema_version",
    "fits",
    "inside_regime",
    "conventions",
)


def run_id(sweep: str) -> str:
    """The id of the run that holds a sweep's law: readable, and one for each sweep."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", sweep)[:40].strip("-") or "sweep"
    mark = "" if clean == sweep else "-" + hashlib.sha256(sweep.encode()).hexdigest()[:6]
    return f"law-{clean}{mark}"


def log_law(
    law: SweepLaw, *, mode: str = "offline", project: str = "chemscale", entity: str | None = None
) -> str:
    """Log it; a law that is fitted again goes on in the same run, as the next version of the artifact."""
    if mode == "disabled":
        return ""
    import wandb

    run = start(
        mode,
        law.folder,
        FINISH_SECONDS,
        project=project,
        entity=entity,
        group=law.sweep,
        job_type="law",
        name=f"law of {law.sweep}",
        id=run_id(law.sweep),
        config={key: law.law.get(key) for key in ("kind", "form", "formula", "axis", "unit", "command")},
    )
    shown: dict[str, Any] = {f"law/{path.stem}": wandb.Image(str(path)) for path in law.figures}
    if law.figures:
        shown["law/figure"] = wandb.Image(str(law.figures[0]))
    report, points = law.folder / "report.html", law.folder / "points.csv"
    if report.is_file():
        shown["law/report"] = wandb.Html(report.read_text())
    if points.is_file():
        shown["law/points"] = _table(points)
    run.log(shown)
    run.summary.update(numbers(law.law))
    run.log_artifact(_artifact(law, Path(run.dir).parent / "law"))
    run.finish()
    if mode == "online" and not run.offline:
        return f"W&B has the law: {run.url}"
    return f"W&B: `wandb sync {law.folder.parent}/*/wandb` sends the points and the law."


def numbers(law: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``law.json`` a table shows, by dotted keys; intervals end in ``low`` and ``high``."""
    tree = {key: value for key, value in law.items() if key not in NOT_NUMBERS}
    return {f"law.{key}": value for key, value in flat(_ends(tree)).items()}


def _ends(tree: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out[key] = _ends(value)
        elif isinstance(value, list | tuple) and len(value) == 2:
            out[key] = {"low": value[0], "high": value[1]}
        else:
            out[key] = value
    return out


def _table(path: Path) -> Any:
    """``points.csv``, numbers as numbers."""
    import wandb

    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return wandb.Table(columns=list(header), data=[[_number(cell) for cell in row] for row in rows])


def _number(cell: str) -> Any:
    try:
        return float(cell)
    except ValueError:
        return cell or None


def _artifact(law: SweepLaw, copies: Path) -> Any:
    """Its files are copied beside the run: W&B's own staging area lies in the home directory."""
    import wandb

    copies.mkdir(parents=True, exist_ok=True)
    artifact = wandb.Artifact(
        run_id(law.sweep), type="law", description=f"Scaling law of {law.sweep}", metadata=numbers(law.law)
    )
    files = [law.folder / name for name in FILES]
    for path in (*files, *law.figures, *(figure.with_suffix(".svg") for figure in law.figures)):
        if path.is_file():
            shutil.copy2(path, copies / path.name)
            artifact.add_file(str(copies / path.name), policy="immutable")
    return artifact
