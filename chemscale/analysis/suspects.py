"""Runs that a law should not rest on unread: named in the report and on the console, never dropped."""

from __future__ import annotations

from collections.abc import Iterator

from chemscale.analysis.records_to_points import Found, family_of, validations
from chemscale.laws.data.left_out import named
from chemscale.records import RunRecord

MAX_SKIPPED = 0.02
"""Share of a run's steps without a finite gradient above which it is named."""
MAX_RISE = 1.2
"""Final loss over the lowest validation of the run, or over that of a run which should be worse."""
SAME_DATA = 1.05
"""Factor within which runs have seen equally much."""


def suspicious(found: Found, unit: str) -> list[str]:
    """Name the fitted runs that skipped many steps or whose end lies far off, by run with what is odd of it.

    Three signs: steps left out for want of a finite gradient, an end far above the run's own lowest
    validation, an end far above that of a run of the same family that is no larger and saw no more data.

    Args:
        found: directories of runs and their records.
        unit: of the loss.
    """
    used = [(d, r) for d, r in found if not r.why_left_out(unit)]
    lowest = {d: min((row[unit] for row in validations(d, r, unit)), default=_end(r, unit)) for d, r in used}
    said = []
    for directory, record in used:
        end, signs = _end(record, unit), []
        if record.skipped_steps > MAX_SKIPPED * max(1, record.data.steps):
            signs.append(f"{record.skipped_steps} of {record.data.steps} steps had no finite gradient")
        if end > MAX_RISE * lowest[directory]:
            signs.append(f"ended at {end:.4g}, above its own {lowest[directory]:.4g}")
        smaller = [(_end(r, unit), r.name) for d, r in used if d != directory and _should_be_worse(r, record)]
        if smaller and end > MAX_RISE * min(smaller)[0]:
            loss, name = min(smaller)
            signs.append(
                f"ended at {end:.4g} where {name}, no larger and with no more data, reached {loss:.4g}"
            )
        if signs:
            said.append(f"{record.name} ({record.identity}): {'; '.join(signs)}")
    if not said:
        return []
    return [
        f"CHECK {named(said)}. Diverged? Fitted all the same: look at its curve before the law is believed."
    ]


def _end(record: RunRecord, unit: str) -> float:
    assert record.final is not None  # a run without one is left out
    return record.losses[unit]


def _should_be_worse(other: RunRecord, record: RunRecord) -> bool:
    """Whether a law that falls with size and data has the other run above, or level with, this one."""
    pairs = [
        (getattr(other.data, key), getattr(record.data, key))
        for key in ("tokens", "unique_tokens", "unique_frames", "frames")
    ]
    same_kind = family_of(other) == family_of(record) and other.data_hash == record.data_hash
    return (
        same_kind
        and other.parameters.matrices <= record.parameters.matrices
        and all(theirs <= SAME_DATA * own for theirs, own in pairs)
    )


def other_software(found: Found) -> str:
    """Which versions differ between the fitted runs; empty where none does."""
    used = [r for _, r in found if not r.why_left_out()]
    parts = list(_differing(used))
    if not parts:
        return ""
    return (
        f"These runs were trained by different software: {'; '.join(parts)}. A difference of versions can "
        "change a loss and is then taken for one of size."
    )


def _differing(records: list[RunRecord]) -> Iterator[str]:
    for package in sorted({key for record in records for key in record.versions}):
        yield from _counts(package, [record.versions.get(package, "unknown") for record in records])
    yield from _counts("code", [(record.git_revision or "unknown")[:12] for record in records])


def _counts(name: str, values: list[str]) -> Iterator[str]:
    if len(set(values)) > 1:
        yield f"{name} " + ", ".join(f"{value} ({values.count(value)} runs)" for value in sorted(set(values)))
