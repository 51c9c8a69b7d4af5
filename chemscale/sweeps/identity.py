"""The identity of a point: a hash of what decides its result, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

# Keys that cannot change a result: where things lie, what is shown, on how many processes work is spread.
# `data.*` that only says how the corpus is made is covered by the corpus's own hash.
WITHOUT_EFFECT = (
    "runs",
    "corpora",
    "structures",
    "sweep_name",
    "point_name",
    "trunk",
    "pause",
    "logger",
    "variables",  # what they are put into is hashed
    "precision",  # trainer.precision holds it
    "strategy",
    "launcher",
    "site",
    "batch.per_gpu",
    "trainer.checkpoint_activations",
    "trainer.health",  # never touches a healthy run; what it did to a sick one stands in the record
    "trainer.log_every",
    "trainer.generate_every",  # looks at the weights and leaves them as they are
    "trainer.generate_n",
    "trainer.checkpoint_seconds",
    "trainer.checkpoint_steps",
    "trainer.checkpoint_background",
    "trainer.compile",  # the same sums, in another order
    "trainer.threads",
    "trainer.kernels",
    "trainer.accelerator",
    "model.from",  # model.parent, the hash of the weights, stands for it
    "data.workers",
    "data.prepare_workers",
    "data.verify",
    "data.path",
    "data.molecule",  # part of the path
    "data.pieces",
    "data.validation_path",
    "data.test_path",
    "data.selection",  # data.selected, the hash of what it lists, stands for it
    "data.smiles_column",
    "data.delimiter",
    "data.encoding",
    "data.notation",
    "data.common_to",
    "data.condition",
    "data.condition_bins",
    "data.exclude",
    "data.exclude_level",
    "data.exclude_column",
    "data.format",
    "data.energy_key",
    "data.forces_key",
    "data.subtract",  # the labels in the store are other ones
    "data.stress_key",
    "data.units.stress",
    "data.units.compression",
    "lint",
)
NEWER = {
    "data.condition_dropout": 0.1,
    "data.method": "GFN2-xTB",
    "loss.stress": 0.0,
    "data.selected": None,
    "data.weights": None,
}
"""Keys that version 0.1.0 did not have, and the values at which they are left out of the hash."""
OF_THE_HORIZON = ("budget", "schedule.cooldown", "schedule.floor")
"""Keys that leave the stable phase of a schedule as it is."""


def identity(config: dict[str, Any], data_hash: str, without: Iterable[str] = WITHOUT_EFFECT) -> str:
    """Twelve hexadecimal digits that name a point.

    Args:
        config: the resolved configuration (plain dictionaries).
        data_hash: hash of the prepared data, which stands for paths and formats.
        without: keys that are left out of the hash.
    """
    effective = json.loads(json.dumps(config))
    for key in without:
        _drop(effective, key.split("."))
    for key, value in NEWER.items():
        _drop(effective, key.split("."), value)
    if "accumulate" in effective.get("batch", {}):
        effective["batch"]["accumulate"] = 1  # how a step is cut into micro-batches cannot change its result
    text = json.dumps({"config": effective, "data": data_hash}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _drop(tree: dict[str, Any], path: list[str], *values: Any) -> None:
    """Take a key out, if values are given only where it has one of them."""
    for part in path[:-1]:
        tree = tree.get(part) or {}
    if not values or tree.get(path[-1]) in values:
        tree.pop(path[-1], None)
