"""Run records as points of a law."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.laws.allocation.envelope import Curve
from chemscale.laws.data.left_out import LeftOut
from chemscale.laws.data.points import LawPoint, PointsError
from chemscale.records import GENERATED, RunRecord, State, Unreadable, find_records
from chemscale.sweeps.identity import OF_THE_HORIZON, WITHOUT_EFFECT, identity

Found = list[tuple[Path, RunRecord]]
"""Directories of runs and their records."""
CONVENTIONS = {"matrices": "parameters", "all": "all", "non_embedding": "non_embedding", "blocks": "blocks"}
"""Counts of parameters in a record, and the axes of a law that they are."""
PRUNED = (State.PAUSED, State.STOPPED)
"""States in which an early-stopping sweep leaves what it does not finish."""


def records_of(directory: Path, only: Sequence[str] | None, left: list[LeftOut]) -> Found:
    """Records below a directory by size of the model, then of the data, then by seed.

    Args:
        directory: of a sweep, or of several.
        only: identities of the points that count; None for all.
        left: takes what is left out before any law: records that cannot be read, and copies.

    Raises:
        RecordError: no such directory.
        PointsError: there is none that can be read, or an early-stopping sweep pruned some of them.
    """
    unreadable: list[Unreadable] = []
    found = [(d, r) for d, r in find_records(directory, unreadable) if only is None or r.identity in only]
    broken = [each for each in unreadable if only is None or each.directory.name in only]
    if not found:
        if broken:
            problems = "; ".join(each.problem for each in broken[:4])
            more = f" And {len(broken) - 4} more." if len(broken) > 4 else ""
            raise PointsError(f"{directory}: none of its {len(broken)} records can be read. {problems}{more}")
        raise PointsError(f"{directory}: no run record below it. Give the directory of a sweep.")
    left += [LeftOut(each.problem.rstrip("."), "unreadable record") for each in broken]
    found = without_copies(found, left)
    pruned = [r.name for _, r in found if r.state in PRUNED]
    if pruned:
        raise PointsError(
            f"{directory}: {len(pruned)} of its {len(found)} runs were paused or stopped by an estimate "
            f"({pruned[0]} for one), and what an estimate pruned does not feed a law: "
            f"`python -m chemscale.estimate {directory}` shows the estimate."
        )
    return sorted(found, key=lambda pair: _order(pair[1]))


def without_copies(found: Found, left: list[LeftOut]) -> Found:
    """Each point once: of several directories with one identity, the one that came furthest.

    Args:
        found: directories of runs and their records.
        left: takes the others.
    """
    kept: dict[str, tuple[Path, RunRecord]] = {}
    for pair in found:
        first = kept.get(pair[1].identity)
        if first is None or _progress(pair[1]) > _progress(first[1]):
            kept[pair[1].identity] = pair
    chosen = {directory for directory, _ in kept.values()}
    for directory, record in found:
        if directory not in chosen:
            first = kept[record.identity]
            left.append(
                LeftOut(f"{directory} as {first[0]}", "the same as another run" + _apart(record, first[1]))
            )
    return [(d, r) for d, r in found if d in chosen]


def _progress(record: RunRecord) -> tuple[bool, bool, int]:
    return not record.why_left_out(), record.state is State.DONE, record.data.steps


def _apart(record: RunRecord, other: RunRecord) -> str:
    """Whether two runs of one point ended differently, which one software on one device does not."""
    ends = [r.final.objective if r.final else math.nan for r in (record, other)]
    done = record.state is State.DONE and other.state is State.DONE
    return (
        " with another loss"
        if done and not math.isclose(*ends, rel_tol=1e-6) and all(map(math.isfinite, ends))
        else ""
    )


def _order(record: RunRecord) -> tuple[Any, ...]:
    data = record.data
    return (
        record.parameters.matrices, data.unique_frames, data.unique_tokens, data.tokens, record.seed,
        record.identity,
    )  # fmt: skip


def family_of(record: RunRecord) -> str:
    """The family of models that one law may hold for: architecture, degree of features, origin, conditions,
    how frames were chosen, dispersion that labels are without, and the notation of its molecules where that
    is not SELFIES."""
    notation = notation_of(record)
    return _family(record, "" if notation == "selfies" else notation)


def families_of(found: Found) -> list[str]:
    """The family of each run; where there are several notations SELFIES is named too. Models that begin from
    different weights follow no common law: where parents of one name differ, their hashes are named."""
    several = len({notation_of(record) for _, record in found} - {""}) > 1
    weights: dict[str, set[str]] = {}
    for _, record in found:
        if parent := record.parent:
            weights.setdefault(parent["name"], set()).add(parent.get("weights_sha256", ""))
    families = []
    for _, record in found:
        family = _family(record, notation_of(record)) if several else family_of(record)
        if len(weights.get(record.parent.get("name", ""), ())) > 1:
            family += f" (weights {record.parent.get('weights_sha256', '')[:8]})"
        families.append(family)
    return families


def _family(record: RunRecord, notation: str) -> str:
    model = record.config.get("model", {})
    degree = model.get("l_max")
    family = record.family if degree is None else f"{record.family} l={degree}"
    family += f" {str(model['module']).rsplit('.', 1)[-1]}" if model.get("module") else ""
    family += f" {notation}" if notation else ""
    if parent := record.parent:
        how = f", {parent['adaptation']}" if "adaptation" in parent else ""
        how += f", replay {parent['replay']['share']:g}" if "replay" in parent else ""
        family += f" from {parent['name']}{how}"
    return f"{family}{_labels(record.config.get('data', {}))}{_given(record)}"


def _labels(data: Mapping[str, Any]) -> str:
    """Frames that were chosen and no fair sample, and labels that are without dispersion."""
    text = ""
    if data.get("selection"):
        of_rounds = re.fullmatch(r"([a-z]+)-\d+-n\d+-[0-9a-f]{12}\.json", Path(data["selection"]).name)
        text += f" on {of_rounds[1] if of_rounds else 'selected'} frames"
    if subtract := data.get("subtract"):
        three = " with three-body terms" if subtract.get("three_body") else ""
        text += f" without {subtract.get('method')}{three} of {str(subtract.get('functional')).lower()}"
    return text


def _given(record: RunRecord) -> str:
    """Conditions that stand before molecules: what they tell is not a loss."""
    names = record.config.get("data", {}).get("condition") or []
    return f" given {', '.join([names] if isinstance(names, str) else names)}" if names else ""


def notation_of(record: RunRecord) -> str:
    """The notation of a language model's molecules; empty for a potential."""
    if record.family != "chemgpt":
        return ""
    return str(record.config.get("data", {}).get("notation") or "selfies")


def comparable_unit(found: Found, unit: str | None) -> str | None:
    """The unit of loss in which runs of several notations compare; what was asked for where there is one.

    A symbol of one notation is not a symbol of another, a heavy atom is the same in all.

    Args:
        found: all runs.
        unit: that is asked for; None for any.

    Raises:
        PointsError: nats per token are asked for.
    """
    notations = sorted({notation_of(record) for _, record in found} - {""})
    if len(notations) < 2:
        return unit
    if unit == "nats_per_token":
        raise PointsError(
            f"--unit nats_per_token: these runs are of several notations ({', '.join(notations)}), whose "
            "tokens are not the same thing. Give --unit nats_per_heavy_atom (the default here) or "
            "nats_per_molecule, or the directory of one notation."
        )
    return unit or "nats_per_heavy_atom"


def split_losses(
    found: Found, unit: str | None, headlines: Sequence[str], directory: Path
) -> tuple[Found, str, str]:
    """Runs that have one loss, which loss it is, and a note on the families that do not have it.

    Args:
        found: all runs.
        unit: of the loss; None for the first of `headlines` that a family has.
        headlines: units, the most telling first.
        directory: of the runs, for the message.

    Raises:
        PointsError: no unit is asked for, and families have different losses.
    """
    reached: dict[str, set[str]] = {}
    for _, record in found:
        if record.state is State.DONE and record.final and record.final.is_finite:
            reached.setdefault(record.family, set()).update(record.losses)
    chosen = unit or next((u for u in headlines if any(u in have for have in reached.values())), headlines[0])
    without = sorted(family for family, have in reached.items() if chosen not in have)
    if not without or len(without) == len(reached):
        return found, chosen, ""
    if unit is None:
        each = {f: next((u for u in headlines if u in have), "none of them") for f, have in reached.items()}
        raise PointsError(
            f"{directory} mixes families of different losses "
            f"({'; '.join(f'{f}: {u}' for f, u in sorted(each.items()))}), which no law joins. Name one "
            "loss by --unit, or fit the folders of the families one by one."
        )
    kept = [(d, r) for d, r in found if r.family not in without]
    return kept, chosen, f"Runs of {', '.join(without)} have no {chosen} and are not shown."


def point_of(record: RunRecord, unit: str) -> LawPoint:
    """A record as a point of a law; a run that is not done, or has no finite loss, is shown and not used.

    Args:
        record: of the run.
        unit: of the loss that the law is fitted to.
    """
    values = record.losses
    counts = vars(record.parameters)
    sizes = {axis: float(counts[name]) for name, axis in CONVENTIONS.items()}
    data = record.data
    # A run that ends within its first epoch has seen only a part of its data.
    unique = min(data.unique_tokens, data.tokens)
    sizes |= {
        "frames": float(data.unique_frames),
        "tokens": float(data.tokens),
        "unique_tokens": float(unique),
        "flops": float(record.compute.flops),
    }
    if record.compute.joules and not record.compute.inherited_flops:
        sizes["joules"] = record.compute.joules  # a trunk's energy stands in another run's record
    reason = record.why_left_out(unit)
    losses = {key: value for key, value in values.items() if math.isfinite(value)}
    return LawPoint(
        record.name, {k: v for k, v in sizes.items() if v > 0}, losses, record.seed, not reason, reason
    )


def points_of(found: Found, unit: str) -> tuple[LawPoint, ...]:
    """Records as points of a law; runs of one trunk name it (see ``LawPoint``).

    Args:
        found: the runs.
        unit: of the loss that the law is fitted to.

    Raises:
        PointsError: no finished run has such a loss.
    """
    reached = [record for _, record in found if record.state is State.DONE and record.final]
    if reached and not any(unit in r.losses for r in reached):
        has = dict.fromkeys(key for r in reached for key in r.losses)
        raise PointsError(f"--unit {unit}: the runs have {', '.join(has) or 'no loss'}.")
    names = [_trunk(record) for _, record in found]
    shared = {name for name, (_, record) in zip(names, found, strict=True) if record.compute.inherited_flops}
    return tuple(
        replace(point_of(record, unit), trunk=name if name in shared else "")
        for name, (_, record) in zip(names, found, strict=True)
    )


def _trunk(record: RunRecord) -> str:
    """Name of the stable phase that a run would share with others that differ in nothing but the horizon."""
    shared = identity(record.config, record.data_hash, (*WITHOUT_EFFECT, *OF_THE_HORIZON))
    return f"{record.family}-{record.parameters.matrices}-s{record.seed}-{shared}"


def envelope_curves(found: Found, unit: str) -> list[Curve]:
    """Validation curves of finished runs in tokens and FLOPs, for the envelope of Approach 1.

    Args:
        found: the runs.
        unit: of the loss.
    """
    curves = []
    for directory, record in found:
        rows = [r for r in validations(directory, record, unit) if {"tokens", "flops"} <= set(r)]
        table = np.array([[r["tokens"], r["flops"], r[unit]] for r in rows], dtype=float).reshape(-1, 3)
        forward = np.diff(table[:, 1], prepend=0.0) > 0
        table = table[forward & np.isfinite(table).all(1)]
        if record.state is State.DONE and len(table) >= 2:
            curves.append(Curve(float(record.parameters.matrices), *table.T))
    return curves


def validations(directory: Path, record: RunRecord, unit: str) -> list[dict[str, Any]]:
    """Rows of a run's metrics that have a loss of this unit: validations, or judgements of its molecules."""
    generated = unit.startswith(GENERATED)
    kind, name = ("generation", unit.removeprefix(GENERATED)) if generated else ("validation", unit)
    return [
        {**row, unit: row[name]}
        for row in record.curve_rows(directory)
        if row.get("kind") == kind and isinstance(row.get(name), int | float) and math.isfinite(row[name])
    ]
