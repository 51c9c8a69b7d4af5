"""Which runs a law of one axis may be fitted to, where another axis varies as well.

Runs of one size differ by seed and by nothing else: a law of one axis takes the scatter between them for
noise. Runs that differ in another axis are therefore not pooled. The rule, for an axis x and another axis z
(N: D or frames, C where no D is known; D: N, C where no N is known; C and J: N and D):

- z the same for all runs (to within 5 per cent, as counted tokens of one horizon differ): a law of x at it.
- z a single value at each x: a path. Along N or D it must go with x from size to size (as D = 20 N does), and
  the law is that of the path, not of x alone, which a note says; two or three values of z spread over many
  sizes are two or three sweeps, and no path. Along C or J any choice of N and D is a path: a frontier of the
  best run at each budget is one.
- z of several values at one x: several sweeps, which no law of x alone describes; refused. Distinct tokens
  (U) count only here: they end where the corpus ends.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chemscale.laws.data.left_out import named
from chemscale.laws.data.points import LawPoint, LawPoints, distinct

SAME_SIZE = 1.01
"""Sizes of x that differ by less than this factor are one."""
SAME_OTHER = 1.05
MIN_JOINT = 3
"""Values of N and of D from which a joint law is sought."""
NAMES = {
    "parameters": "N", "tokens": "D", "frames": "D (frames)", "unique_tokens": "U (distinct tokens)",
    "flops": "C", "joules": "J",
}  # fmt: skip
_DATA = ("tokens", "frames")
_MAX_LISTED = 4
_AMOUNT = re.compile(r"token|sample|example|molecule|frame|data|step|epoch|flop|compute|budget|horizon", re.I)
"""Names of columns that say how long a run was trained."""


def refuse_pooling(points: LawPoints, axis: str, unit: str) -> str:
    """Why no law of one axis is fitted to these points, with the way out; empty where one may be.

    Args:
        points: the table; what is not used does not count.
        axis: of the law.
        unit: of the loss.
    """
    chosen = [p for p in points.fitted(unit) if axis in p.sizes]
    for other in _others(chosen, axis):
        sizes = _sizes(chosen, axis, other)
        several = max(sizes, key=lambda group: _values(group, other), default=[])
        if _values(several, other) > 1:
            return (
                f"Runs of one {NAMES[axis]} ({several[0].sizes[axis]:.3g}: "
                f"{named(p.where for p in several)}) differ in {NAMES[other]} and are not seeds of one size. "
                f"{NAMES[other]} takes {_values(chosen, other)} values {_listed(chosen, other)}. "
                f"{_way(chosen, axis, other)}"
            )
        if other == "unique_tokens" or axis in ("flops", "joules") or _along(sizes, other):
            continue
        return (
            f"{NAMES[other]} takes {_values(chosen, other)} values over these sizes of {NAMES[axis]} "
            f"{_listed(chosen, other)} without going along with it. {_way(chosen, axis, other)}"
        )
    return ""


def refuse_unnamed(
    points: LawPoints, rows: Sequence[Mapping[str, Any]], columns: Collection[str], axis: str, unit: str
) -> str:
    """Why runs of one size are not seeds, by a column that was not named; empty where they may be.

    A column is taken for the missing axis only where its name says data, steps or compute, it varies among
    runs of one size, and the loss follows it there at every size: by chance that is no more likely than heads
    at every throw.

    Args:
        points: the table; what is not used does not count.
        rows: cells of each point.
        columns: that were named.
        axis: of the law.
        unit: of the loss.
    """
    cells = {id(point): row for point, row in zip(points.points, rows, strict=True)}
    sizes = _sizes([p for p in points.fitted(unit) if axis in p.sizes], axis, axis)
    names = dict.fromkeys(name for row in rows for name in row)
    for name in names:
        if name in columns or not _AMOUNT.search(name):
            continue
        signs = {sign for group in sizes if (sign := _follows(group, cells, name, unit)) is not None}
        groups = sum(_follows(group, cells, name, unit) is not None for group in sizes)
        if groups >= MIN_JOINT and signs in ({1}, {-1}):
            return (
                f"Runs of one {NAMES[axis]} differ in {name!r}, a column that --columns does not name, and "
                f"the loss follows it at each of {groups} sizes: they are not seeds of one size. Name it "
                f"(D={name} or C={name}), or fit the runs of each {name} by themselves."
            )
    return ""


def _follows(
    group: Sequence[LawPoint], cells: Mapping[int, Mapping[str, Any]], name: str, unit: str
) -> int | None:
    """1 or -1 where the loss rises or falls with a column, 0 where neither; None where it is one value."""
    try:
        pairs = sorted((float(str(cells[id(p)].get(name))), p.losses[unit]) for p in group)
    except ValueError:
        return None
    if len({x for x, _ in pairs}) < 2:
        return None
    steps = {(b[1] > a[1]) - (b[1] < a[1]) for a, b in itertools.pairwise(pairs) if b[0] > a[0]}
    return steps.pop() if len(steps) == 1 else 0


def path_note(points: LawPoints, axis: str, unit: str) -> str:
    """What a reader must know of a law along N or D where the other goes along; empty where it does not."""
    chosen = [p for p in points.fitted(unit) if axis in p.sizes]
    for other in _others(chosen, axis):
        if axis in ("flops", "joules") or other == "unique_tokens" or _values(chosen, other) < 2:
            continue
        low, high = (end(p.sizes[other] for p in chosen if other in p.sizes) for end in (min, max))
        return (
            f"{NAMES[other]} goes along with {NAMES[axis]} in these runs (from {low:.3g} to {high:.3g}): the "
            f"law is that of this path, not of {NAMES[axis]} alone."
        )
    return ""


def merge_checkpoints(points: LawPoints, axis: str, unit: str) -> LawPoints:
    """The same table with checkpoints of one run at one size as one point, at their mean log loss.

    Args:
        points: the table; only what is used and has a group counts.
        axis: of the law.
        unit: of the loss.
    """
    changed: dict[int, LawPoint] = {}
    for rows in _by_run(p for p in points.fitted(unit) if axis in p.sizes).values():
        for same in _sizes(rows, axis, axis):
            first, *rest = same
            if rest:
                mean = math.exp(sum(math.log(p.losses[unit]) for p in same) / len(same))
                changed[id(first)] = replace(first, losses=first.losses | {unit: mean})
                why = f"averaged with a checkpoint of its run ({first.where})"
                changed |= {id(p): replace(p, used=False, reason=why) for p in rest}
    return replace(points, points=tuple(changed.get(id(p), p) for p in points.points))


def refuse_checkpoints(points: LawPoints, axis: str, unit: str) -> str:
    """Why checkpoints of one run give no law of one axis; empty where no run has several sizes.

    Their noise is shared along the run, which no interval of one axis allows for.
    """
    several = {name: rows for name, rows in _by_run(points.fitted(unit)).items() if len(rows) > 1}
    if not several:
        return ""
    name, rows = next(iter(several.items()))
    return (
        f"Checkpoints of {len(several)} run{'s' if len(several) > 1 else ''} lie at several sizes of "
        f"{NAMES[axis]} ({name}: "
        f"{named(p.where for p in rows)}), whose noise is one: a law of {NAMES[axis]} from them has no "
        "interval. Keep the last row of each run, or fit a joint law of N and D, which draws whole runs."
    )


def _by_run(points: Iterable[LawPoint]) -> dict[str, list[LawPoint]]:
    """Checkpoints by the run that they name; points without one are left away."""
    groups: dict[str, list[LawPoint]] = {}
    for point in points:
        if point.group:
            groups.setdefault(point.group, []).append(point)
    return groups


def _others(chosen: Sequence[LawPoint], axis: str) -> list[str]:
    """Axes that must not vary beside this one, of those that the points have."""
    known = {name for p in chosen for name in p.sizes}
    data = [name for name in _DATA if name in known]
    if axis == "parameters":
        return [*(data or (["flops"] if "flops" in known else [])), *_present(known, "unique_tokens")]
    if axis in ("flops", "joules"):
        return [*_present(known, "parameters"), *data]
    if axis not in (*_DATA, "unique_tokens"):
        return []
    size = _present(known, "parameters") or _present(known, "flops")
    return [*size, *(_present(known, "unique_tokens") if axis != "unique_tokens" else [])]


def _present(known: set[str], name: str) -> list[str]:
    return [name] if name in known else []


def _sizes(chosen: Sequence[LawPoint], axis: str, other: str) -> list[list[LawPoint]]:
    """Points of each size, smallest first."""
    groups: list[list[LawPoint]] = []
    for point in sorted((p for p in chosen if other in p.sizes), key=lambda p: p.sizes[axis]):
        if groups and point.sizes[axis] <= SAME_SIZE * groups[-1][0].sizes[axis]:
            groups[-1].append(point)
        else:
            groups.append([point])
    return groups


def _values(points: Sequence[LawPoint], other: str) -> int:
    return distinct((p.sizes[other] for p in points if other in p.sizes), SAME_OTHER)


def _along(sizes: Sequence[Sequence[LawPoint]], other: str) -> bool:
    """Whether the other axis is one value, or goes with the size in at least half as many steps."""
    values = [group[0].sizes[other] for group in sizes]
    count = distinct(values, SAME_OTHER)
    if count < 2:
        return True
    steps = [b / a for a, b in itertools.pairwise(values)]
    one_way = all(s > 1 / SAME_OTHER for s in steps) or all(s < SAME_OTHER for s in steps)
    return one_way and count >= max(MIN_JOINT, len(values) / 2)


def _listed(points: Sequence[LawPoint], other: str) -> str:
    """Values of the other axis with the rows of each."""
    groups = _sizes(points, other, other)
    parts = [
        f"{g[0].sizes[other]:.3g}: {named((p.where for p in g), _MAX_LISTED)}" for g in groups[:_MAX_LISTED]
    ]
    more = f"; {len(groups) - _MAX_LISTED} more values" if len(groups) > _MAX_LISTED else ""
    return f"({'; '.join(parts)}{more})"


def _way(chosen: Sequence[LawPoint], axis: str, other: str) -> str:
    if axis in ("flops", "joules"):
        return (
            f"Keep one run at each {NAMES[axis]} (the best of each budget is a frontier), or fit a joint law "
            "of N and D (leave --axis out)."
        )
    if other == "flops":
        return (
            "Give the other of N and D as a column, or --flops-model 6nd, which takes it from C = 6ND; a "
            f"joint law needs {MIN_JOINT} values of both."
        )
    enough = min(_values(chosen, axis), _values(chosen, other)) >= MIN_JOINT
    if enough and other in ("parameters", *_DATA):
        return "A joint law of N and D describes them (leave --axis out, or --form additive)."
    return (
        f"Fit the runs of each {NAMES[other]} by themselves (a table of those rows alone), or add runs: a "
        f"joint law needs {MIN_JOINT} values of N and of D."
    )
