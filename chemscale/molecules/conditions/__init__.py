"""Conditions that stand before a molecule: asking for them, and what training makes of them."""

from chemscale.molecules.conditions.asking import (
    ConditionError,
    Opening,
    banned_ids,
    describe_request,
    open_prefix,
    parse_conditions,
    prefix_ids,
)

__all__ = [
    "ConditionError",
    "Opening",
    "banned_ids",
    "describe_request",
    "open_prefix",
    "parse_conditions",
    "prefix_ids",
]
