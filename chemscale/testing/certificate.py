"""The gradient certificate as a table: a line a model, strategy and precision, with their largest errors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.table import Table

from chemscale.testing.equivalence import Verdict

HEADER = ("model", "strategy", "precision", "ranks × k", "gradient", "loss", "")


def rows(verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    """Cells of every line of the table.

    Args:
        verdicts: of all cases.
    """

    def group(verdict: Verdict) -> tuple[str, str, str]:
        return verdict.case.model, verdict.case.strategy, verdict.case.precision

    ordered = sorted(verdicts, key=group)
    found: list[tuple[str, ...]] = []
    numbers = {text: number for number, text in enumerate(_reasons(verdicts), 1)}
    for key, members in groupby(ordered, group):
        cases = list(members)
        which = ", ".join(f"{v.case.world} × {v.case.accumulate}" for v in cases)
        refused = {v.refused for v in cases if v.refused}
        if refused:
            marks = ", ".join(f"[{numbers[text]}]" for text in sorted(refused))
            found.append((*key, which, "", "", f"refused {marks}"))
            continue
        gradient, loss = max(v.gradient for v in cases), max(v.loss for v in cases)
        verdict = "equal" if all(v.passed for v in cases) else "WRONG"
        found.append((*key, which, f"{gradient:.1e}", f"{loss:.1e}", verdict))
    return found


def _reasons(verdicts: Sequence[Verdict]) -> list[str]:
    return list(dict.fromkeys(verdict.refused for verdict in verdicts if verdict.refused))


def reasons(verdicts: Sequence[Verdict]) -> list[str]:
    """Lines on why cases are refused, numbered as in the table.

    Args:
        verdicts: of all cases.
    """
    return [f"[{number}] {text}" for number, text in enumerate(_reasons(verdicts), 1)]


def table_of(verdicts: Sequence[Verdict]) -> Table:
    """The table for a terminal.

    Args:
        verdicts: of all cases.
    """
    table = Table(*HEADER)
    for row in rows(verdicts):
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    return table


def lines(verdicts: Sequence[Verdict]) -> list[str]:
    """The table in Markdown, as lines.

    Args:
        verdicts: of all cases.
    """
    head = [f"| {' | '.join(HEADER)} |", "|" + " --- |" * len(HEADER)]
    body = [f"| {' | '.join(row)} |" for row in rows(verdicts)]
    return [*head, *body, "", *reasons(verdicts)]
