"""What version 0.1.0 left, read for the tests."""

import json
import shutil
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent / "v0_1_0"

SMALL = {
    "language": [
        *("data.count=400", "data.block=256", "data.validation_fraction=0.1", "data.prepare_workers=1"),
        *("model.width=8", "model.layers=1", "model.heads=2", "model.max_positions=256", "batch.tokens=1024"),
    ],
    "potential": [
        *("task=potential", "model=painn", "data=starter_structures", "data.count=60", "data.frames=40"),
        *("model.width=8", "model.layers=1", "batch.frames=4"),
    ],
}
SHORT = [
    *("budget.steps=12", "trainer.log_every=1", "trainer.validate_every=4", "trainer.threads=1"),
    *("trainer.accelerator=cpu", "logger=none"),
]
"""Overrides of the runs that were kept."""


def put_inputs(folder: Path) -> None:
    """Place the small molecules and frames where a first run in `folder` would make them."""
    for name in ("corpora", "structures"):
        (folder / name).mkdir()
    shutil.copy(DATA / "starter-400.smi", folder / "corpora")
    shutil.copy(DATA / "starter-400.smi", folder)
    shutil.copy(DATA / "starter-60.npz", folder / "structures")


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names of the leaves; a list and an empty mapping are leaves."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, dict) and value
        flat |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def differences(base: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """What to set in `base`, and what to remove from it, to get `config`; ``1`` differs from ``1.0``."""
    before, after = flatten(base), flatten(config)
    changed = {key: value for key, value in after.items() if key not in before or differ(before[key], value)}
    return {"set": changed, "removed": sorted(set(before) - set(after))}


def differ(one: Any, other: Any) -> bool:
    """Whether two values of a configuration are hashed differently."""
    return json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True)


def stored_points() -> dict[str, Any]:
    """``points.json``: the hash of the data, a configuration of each family, commands and their points."""
    found: dict[str, Any] = json.loads((DATA / "points.json").read_text())
    return found
