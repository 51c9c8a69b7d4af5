"""What was timed as a table, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from chemscale.benchmarking.participants import OURS
from chemscale.benchmarking.rounds import Timing, ratio
from chemscale.benchmarking.session import Outcome


def row(name: str, timing: Timing, first: Timing, ceilings: Mapping[str, float]) -> dict[str, Any]:
    """The figures of one that did a work.

    Args:
        name: of it.
        timing: its turns.
        first: those of the first one, which is ours.
        ceilings: ``product`` FLOP/s and ``copy`` bytes/s, measured beside; empty where they were not.

    Returns:
        Rates in units of the work a second, seconds of a step, MiB; how many times faster the first one is;
        where they were counted, FLOP/s and bytes/s and their share of the ceilings in per cent.
    """
    faster = ratio(first, timing)
    found = {
        "who": name,
        "rate": timing.rate,
        "rates": [turn.rate for turn in timing.turns],
        "step_seconds": timing.step_seconds,
        "first_is_faster": {"median": faster.median, "least": faster.least, "most": faster.most},
        **timing.memory,
        **timing.facts,
    }
    for fact, ceiling in (("flops", "product"), ("bytes", "copy")):
        if fact in timing.facts:
            found[f"{fact}_per_second"] = timing.facts[fact] * timing.rate
            if ceiling in ceilings:
                found[f"percent_of_{ceiling}"] = 100 * found[f"{fact}_per_second"] / ceilings[ceiling]
    return found


def contents(outcome: Outcome, ceilings: Mapping[str, float]) -> dict[str, Any]:
    """What came of a work, for JSON.

    Args:
        outcome: of the work.
        ceilings: as ``row`` takes them.
    """
    first = next(iter(outcome.timings.values()), None)
    rows = [row(name, t, first, ceilings) for name, t in outcome.timings.items() if first and t.turns]
    work = outcome.work
    return {
        "work": work.name,
        "kind": work.kind,
        "model": work.model,
        "unit": f"{work.unit}/s",
        "rows": rows,
        "best": best_against_best(outcome),
        "failed": outcome.failed,
    }


def best_against_best(outcome: Outcome) -> list[dict[str, Any]]:
    """Our fastest way beside the fastest of other codes, and beside that of another revision of ours.

    Args:
        outcome: of a work.

    Returns:
        Names, the ratio over rounds and peak memory of each pair; none where only ours took part.
    """
    done = {name: timing for name, timing in outcome.timings.items() if timing.turns}
    groups: dict[str, list[str]] = {"ours": [], "revision": [], "code": []}
    for name in done:
        other = "revision" if name.startswith(f"{OURS} ") else "code"
        groups["ours" if is_ours(name) else other].append(name)
    best = {kind: max(names, key=lambda name: done[name].rate) for kind, names in groups.items() if names}
    mine = best.pop("ours", None)
    pairs = [(mine, other) for other in best.values() if mine is not None]
    return [_pair(mine, other, done[mine], done[other]) for mine, other in pairs]


def _pair(mine: str, other: str, first: Timing, second: Timing) -> dict[str, Any]:
    found = ratio(first, second)
    return {
        "ours": mine,
        "other": other,
        "ratio": {"median": found.median, "least": found.least, "most": found.most},
        "peak_mib": {mine: first.memory.get("peak_mib"), other: second.memory.get("peak_mib")},
    }


def is_ours(name: str) -> bool:
    """Whether a participant is this revision of ours."""
    return name == OURS or name.startswith(f"{OURS}, ")


def table_of(results: Sequence[Mapping[str, Any]]) -> Table:
    """The table for people.

    Args:
        results: of works, as ``contents`` gives them.
    """
    table = Table(title="medians over turns; ×: how many times faster the first row of a work is")
    for title in ("work", "who"):
        table.add_column(title)
    for title in ("a second", "×", "step", "first step", "peak MiB", "of a step", "% product", "% copy"):
        table.add_column(title, justify="right")
    for result in results:
        for number, found in enumerate(result["rows"]):
            table.add_row(*_cells(result, found, number), end_section=number == len(result["rows"]) - 1)
    return table


def _cells(result: Mapping[str, Any], found: Mapping[str, Any], number: int) -> list[str]:
    faster = found["first_is_faster"]
    version = found.get("version", "")
    return [
        f"{result['work']}, {result['kind']}" if number == 0 else "",
        f"{found['who']} {version}".strip(),
        f"{found['rate']:,.{0 if found['rate'] >= 100 else 4}f} {result['unit']}",
        f"{faster['median']:.2f} ({faster['least']:.2f} to {faster['most']:.2f})" if number else "",
        f"{1e3 * found['step_seconds']:,.1f} ms",
        _number(found, "first_step_seconds", ",.1f", " s"),
        _number(found, "peak_mib", ",.0f"),
        _number(found, "step_mib", ",.0f"),
        _number(found, "percent_of_product", ".1f"),
        _number(found, "percent_of_copy", ".1f"),
    ]


def _number(found: Mapping[str, Any], key: str, style: str, unit: str = "") -> str:
    return f"{found[key]:{style}}{unit}" if key in found else ""


def sentences(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Our best beside the best of others, a line a work, and what failed.

    Args:
        results: of works, as ``contents`` gives them.
    """
    found = []
    for result in results:
        for best in result["best"]:
            times, memory = best["ratio"], best["peak_mib"]
            found.append(
                f"{result['work']}: {best['ours']} is {times['median']:.2f}× ({times['least']:.2f} to "
                f"{times['most']:.2f}) {best['other']}; peak memory {memory[best['ours']]:,.0f} against "
                f"{memory[best['other']]:,.0f} MiB"
            )
        found += [f"{result['work']}: {name} FAILED, {why}" for name, why in result["failed"].items()]
    return found
