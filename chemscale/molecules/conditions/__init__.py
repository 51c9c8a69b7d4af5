"""Conditions that stand before a molecule: asking for them, and what training makes of them."""

from chemscale.molecules.conditions.asking import (
    ConditionError,
    banned_ids,
    describe_request,
    parse_conditions,
    prefix_ids,
)

__all__ = ["ConditionError", "banned_ids", "describe_request", "parse_conditions", "prefix_ids"]
