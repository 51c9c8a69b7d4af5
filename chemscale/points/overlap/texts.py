"""What a comparison says, in lines for a terminal."""

from __future__ import annotations

from typing import Any

from chemscale.points.data_report.page import percent


def lines_of(content: dict[str, Any]) -> list[str]:
    """The comparison in a few lines.

    Args:
        content: of the page.
    """
    return _of_molecules(content) if content["kind"] == "molecules" else _of_structures(content)


def _of_molecules(content: dict[str, Any]) -> list[str]:
    training = content["training"]
    lines = [f"Training: {training['read']}, {training['molecules']:,} molecules"]
    for each in content["benchmarks"]:
        lines.append(f"{each['name']}: {each['molecules']:,} molecules, {each['distinct']:,} distinct")
        for level, of in each["levels"].items():
            lines.append(f"  {level:<14}{of['rows']:>10,} rows {percent(of['share']):>8}")
        if each["similarity"] is None:
            continue
        for threshold, of in each["similarity"]["above"].items():
            lines.append(f"  Tanimoto ≥ {threshold:<3}{'':>15} {_with_interval(of)}")
    return [*lines, *content["notes"]]


def _with_interval(of: dict[str, Any]) -> str:
    """A share, with its interval where it is of a sample."""
    interval = "" if of["low"] is None else f" ({percent(of['low'])} to {percent(of['high'])})"
    return f"{percent(of['value']):>8}{interval}"


def _of_structures(content: dict[str, Any]) -> list[str]:
    training = content["training"]
    lines = [f"Training: {training['read']}, {training['frames']:,} frames"]
    for each in content["benchmarks"]:
        lines.append(f"{each['name']}: {each['frames']:,} frames")
        for level, of in each["levels"].items():
            lines.append(f"  {level:<14}{of['frames']:>10,} frames {percent(of['share']):>8}")
        if each["distances"] is not None:
            near = f"D ≤ {content['near']:g} Å"
            lines.append(f"  {near:<14}{'':>17} {_with_interval(each['distances']['close'])}")
    return [*lines, *content["notes"]]
