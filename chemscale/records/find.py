"""Records below a folder, and runs by the names that people give them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.common.files import read_regular
from chemscale.objects.reading import bring_records, bring_run
from chemscale.records.record import RECORD_NAME, RecordError, RunRecord, State


@dataclass(frozen=True)
class Unreadable:
    """A record that cannot be read.

    Args:
        directory: that it lies in.
        problem: what is wrong with it; names the file.
    """

    directory: Path
    problem: str


def find_records(root: Path, unreadable: list[Unreadable] | None = None) -> Iterator[tuple[Path, RunRecord]]:
    """Every record below a folder, with its directory, in a stable order.

    Args:
        root: the folder, or an address, whose records and curves are brought to this disk.
        unreadable: takes the records that cannot be read; None refuses them.

    Raises:
        RecordError: `root` does not exist, or a record cannot be read.
    """
    root = bring_records(root)
    if not root.exists():
        raise RecordError(f"{root}: no such directory. Give the directory of a sweep, for example runs/NAME.")
    for path in sorted(root.rglob(RECORD_NAME)):
        try:
            record = RunRecord.load(path)
        except RecordError as error:
            if unreadable is None:
                raise
            unreadable.append(Unreadable(path.parent, str(error)))
        else:
            yield path.parent, record


def find_run(path: Path) -> Path:
    """Find the directory of a run by its path, or by the sweep's path and the point's name.

    ``runs/SWEEP/NAME`` stands for ``runs/SWEEP/IDENTITY`` where one point of the sweep has that name. A path
    that exists, or that means nothing, is given back as it is.

    Args:
        path: as a person gave it; of an address what is used of the run is brought to this disk.

    Raises:
        RecordError: several points have the name; the message lists what distinguishes them.
    """
    path = bring_run(Path(path))
    if path.name == "model" and not path.parent.exists():
        return find_run(path.parent) / "model"
    if path.exists() or not path.parent.is_dir():
        return path
    named = [(p.parent, _light(p)) for p in sorted(path.parent.glob(f"*/{RECORD_NAME}"))]
    found = [(directory, raw) for directory, raw in named if raw.get("name") == path.name]
    if len(found) > 1:
        listed = "; ".join(
            f"{directory} ({' '.join(raw.get('overrides') or [])})" for directory, raw in found[:8]
        )
        raise RecordError(f"{path}: {len(found)} points have this name. Give the directory of one: {listed}")
    if not found and named:
        names = sorted({str(raw.get("name")) for _, raw in named})
        more = f" and {len(names) - 12} others" if len(names) > 12 else ""
        raise RecordError(f"{path}: no such run. {path.parent} has {', '.join(names[:12])}{more}.")
    return found[0][0] if found else path


def _light(path: Path) -> dict[str, Any]:
    """A record as it stands in its file, or nothing where it cannot be read."""
    try:
        raw = json.loads(read_regular(path))
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}


def is_done(directory: Path) -> bool:
    """Whether the record in `directory` has the point as done."""
    return (directory / RECORD_NAME).exists() and RunRecord.load(directory).state is State.DONE
