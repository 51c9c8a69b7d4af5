"""What is seen of a sweep's folder before anything is spent: whether it takes runs, and what lies there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from chemscale.common.sections import ConfigurationError
from chemscale.objects.address import local_place
from chemscale.points.base import Point
from chemscale.records import RECORD_NAME, RunRecord, Unreadable, find_records
from chemscale.sweeps.identity import WITHOUT_EFFECT, identity


def refuse_unwritable(configs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a folder of runs in which no file can be made; what is missing of its path is not made yet.

    Args:
        configs: resolved, of all points.

    Raises:
        ConfigurationError: it, or the folder that it would be made in, takes no file.
    """
    for runs, name in dict.fromkeys((str(c["runs"]), str(c.get("sweep_name", ""))) for c in configs):
        folder = (local_place(runs) / name).absolute()
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"runs={runs}: nothing can be written in {folder} ({error.strerror or error}). Give another "
                "folder by runs=PATH."
            ) from None


def describe_longer_budgets(points: Sequence[Point]) -> str:
    """Say which points begin anew although runs that differ in the budget only are there; empty where none.

    Args:
        points: of the sweep.
    """
    new = [p for p in points if not (p.directory / RECORD_NAME).exists()]
    new = [p for p in new if p.trunk is None or not p.trunk.newest_step()]
    earlier: dict[str, RunRecord] = {}
    unreadable: list[Unreadable] = []
    for folder in dict.fromkeys(p.directory.parent for p in new):
        for _, record in find_records(folder, unreadable) if folder.is_dir() else ():
            earlier.setdefault(_apart_from_budget(record.config, record.data_hash), record)
    keys = {p.identity: _apart_from_budget(p.config, p.data_hash) for p in new} if earlier else {}
    longer = [p for p in new if keys.get(p.identity) in earlier]
    if not longer:
        return ""
    first = longer[0]
    record = earlier[keys[first.identity]]
    more = f" and {len(longer) - 1} more" if len(longer) > 1 else ""
    count = "1 point starts" if len(longer) == 1 else f"{len(longer)} points start"
    there = f"there is {record.identity} of {_amount(record.config)}"
    return (
        f"{count} from the beginning: runs that differ only in their budget are there ({first.name} of "
        f"{_amount(first.config)}{more}; {there}), and nothing of them is extended, since their schedule "
        "ended with their budget. Points of several budgets share their stable phase by trunk=true from the "
        "first of them on (schedule=wsd, docs/laws.md)."
    )


def _apart_from_budget(config: Mapping[str, Any], data_hash: str) -> str:
    return identity(dict(config), data_hash, (*WITHOUT_EFFECT, "budget"))


def _amount(config: Mapping[str, Any]) -> str:
    chosen = {unit: amount for unit, amount in config["budget"].items() if amount is not None}
    return ", ".join(f"budget.{unit}={amount:g}" for unit, amount in chosen.items())
