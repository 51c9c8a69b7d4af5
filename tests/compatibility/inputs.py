"""What version 0.1.0 left, read for the tests."""

import json
import shutil
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent / "v0_1_0"


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
