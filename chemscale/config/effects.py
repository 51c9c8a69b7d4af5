"""Keys that a configuration sets and that change nothing in it, by what the others say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

SAID_ALWAYS = ("optimizer.weight_decay",)
"""Keys that are said and recorded even where no sweep varies them; others are defaults that nobody set."""
NO_DECAY = "decay acts on the matrices of nn.Linear, of which this family has none"


def _wherever(key: str, *values: Any) -> Callable[[Mapping[str, Any]], str]:
    """A reason that holds where another key has one of these values."""

    def reason(flat: Mapping[str, Any]) -> str:
        return f"{key}={flat[key]}" if key in flat and flat[key] in values else ""

    return reason


RULES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "loss.delta": _wherever("loss.kind", "mse", "mae"),
    "loss.per_atom": _wherever("loss.energy", 0),
    "schedule.cooldown": _wherever("schedule.name", "constant", "cosine"),
    "schedule.floor": _wherever("schedule.name", "constant"),
    "force_error_limit": _wherever("trainer.precision", "32"),
    "model.radial_width": _wherever("model.radial_layers", 0),
    "data.condition_bins": _wherever("data.condition", None),
    "data.condition_dropout": _wherever("data.condition", None),
    "data.references": lambda flat: "model.from is set" if flat.get("model.from") else "",
    "model.window": _wherever("model.layers", 1),
}
"""Key → why it has no effect in a configuration, by its dotted names; empty where it has one."""


def without_effect(config: Mapping[str, Any], *, decays: bool = True) -> dict[str, str]:
    """Keys of a resolved configuration that change nothing, with the reason.

    Args:
        config: plain dictionaries.
        decays: whether the optimizer's weight decay reaches any parameter.
    """
    flat = dict(flatten(config))
    found = {key: reason for key, rule in RULES.items() if key in flat and (reason := rule(flat))}
    if not decays and flat.get("optimizer.weight_decay"):
        found["optimizer.weight_decay"] = NO_DECAY
    return found


def differing(configs: Sequence[Mapping[str, Any]]) -> set[str]:
    """Dotted names of keys whose value is not the same in all configurations."""
    flats = [dict(flatten(config)) for config in configs]
    return {key for flat in flats for key in flat if any(other.get(key) != flat[key] for other in flats)}


def flatten(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Leaves with their dotted names."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        found += (
            flatten(value, f"{above}{key}.") if isinstance(value, Mapping) else [(f"{above}{key}", value)]
        )
    return found
