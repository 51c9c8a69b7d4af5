"""Run records as points of a law, with what a report shows beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chemscale.records import RunRecord, State, find_records
from chemscale.sweeps.identity import WITHOUT_EFFECT

if TYPE_CHECKING:
    from chemscale.laws.allocation.envelope import Curve
    from chemscale.laws.data.points import LawPoint
    from chemscale.laws.reports.page import Origin

Found = list[tuple[Path, RunRecord]]
CONVENTIONS = {"matrices": "parameters", "all": "all", "non_embedding": "non_embedding", "blocks": "blocks"}
OF_SIZE = (*WITHOUT_EFFECT, "budget", "seed", "data.molecules", "data.frames", "hydra")
"""Keys of a configuration that say how large or long a run is, or that cannot change its loss."""
MOST_KEYS = 8
PRUNED = (State.PAUSED, State.STOPPED)
LOSSES = {
    "nats_per_token": ("nats/token", 4),
    "nats_per_molecule": ("nats/molecule", 4),
    "nats_per_heavy_atom": ("nats/heavy atom", 4),
    "energy_mae": ("E MAE (meV)", 2),
    "energy_mae_per_atom": ("E MAE (meV/atom)", 3),
    "energy_rmse": ("E RMSE (meV)", 2),
    "forces_mae": ("F MAE (meV/Å)", 2),
    "forces_rmse": ("F RMSE (meV/Å)", 2),
}
RATES = {"tokens_per_second": "tokens/s", "atoms_per_second": "atoms/s"}


def records_of(directory: Path, only: Sequence[str] | None) -> Found:
    """Records below a directory by size of the model, then of the data, then by seed.

    Raises:
        RecordError: no such directory, or a record that cannot be read.
        PointsError: there is none, or an estimate of training performance pruned some of them.
    """
    from chemscale.laws.data.points import PointsError

    found = [(d, r) for d, r in find_records(directory) if only is None or r.identity in only]
    if not found:
        raise PointsError(f"{directory}: no run record below it. Give the directory of a sweep.")
    pruned = [r.name for _, r in found if r.state in PRUNED]
    if pruned:
        raise PointsError(
            f"{directory}: {len(pruned)} of its {len(found)} runs were paused or stopped by an estimate "
            f"({pruned[0]} for one), and what an estimate pruned does not feed a law: "
            f"`python -m chemscale.estimate {directory}` shows the estimate."
        )
    return sorted(found, key=lambda pair: _order(pair[1]))


def _order(record: RunRecord) -> tuple[Any, ...]:
    data = record.data
    return (
        record.parameters.matrices, data.unique_frames, data.unique_tokens, data.tokens, record.seed,
        record.identity,
    )  # fmt: skip


def rung_of(record: RunRecord) -> str:
    """What runs have in common that one law may hold for: the family, and the degree of its features."""
    degree = record.config.get("model", {}).get("l_max")
    return record.family if degree is None else f"{record.family} l={degree}"


def point_of(record: RunRecord, unit: str) -> LawPoint:
    """A record as a law sees it; runs that are not done are not used.

    Raises:
        PointsError: a finished run has no such loss.
    """
    from chemscale.laws.data.points import LawPoint, PointsError

    values = dict(record.final.values) if record.final else {}
    done = record.state is State.DONE
    if done and unit not in values:
        raise PointsError(f"--unit {unit}: run {record.identity} has {', '.join(values)}.")
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
    reason = "" if done else f"{record.state.value} {record.reason}".strip()
    return LawPoint(record.name, {k: v for k, v in sizes.items() if v > 0}, values, record.seed, done, reason)


def origin_of(found: Found, unit: str, command: str) -> Origin:
    """Curves, table, versions and notes of runs."""
    from chemscale.laws.reports.page import Origin

    hashes = sorted({r.data_hash for _, r in found})
    done = next((r for _, r in found if r.state is State.DONE), found[0][1])
    notes = [text for text in (_saved(found), _shared_noise(found), _fewer_seeds(found)) if text]
    if len(hashes) > 1:
        notes.append("These runs saw different data: their losses may not be comparable.")
    if other := _other_settings(found):
        notes.append(other)
    return Origin(
        curves=[_curve(d, r, unit) for d, r in found],
        runs=[_row(r, any(other.compute.inherited_flops for _, other in found)) for _, r in found],
        command=command,
        data_hash=", ".join(hashes),
        versions=done.versions,
        notes=notes,
    )


def _saved(found: Found) -> str:
    """What a ladder of horizons from one trunk saved; empty where every run began at the beginning."""
    computes = [r.compute for _, r in found]
    separate, inherited = (
        sum(c.flops for c in computes),
        sum(c.inherited_flops for c in computes),
    )
    if inherited <= 0:
        return ""
    begun = sum(c.inherited_flops > 0 for c in computes)
    return (
        f"{begun} of {len(found)} runs began from the stable phase of a shorter one: the ladder spent "
        f"{separate - inherited:.3g} FLOP where separate runs spend {separate:.3g}, and saved "
        f"{inherited / separate:.0%}."
    )


def _shared_noise(found: Found) -> str:
    """What a common trunk does to intervals; empty where there is none."""
    if not any(record.compute.inherited_flops > 0 for _, record in found):
        return ""
    return (
        "The intervals take runs as independent, but runs of one trunk share its initialisation and data "
        "order and so part of their noise: the true intervals are wider. Runs of other seeds would show by "
        "how much."
    )


def _other_settings(found: Found) -> str:
    """Which settings besides size, data and seed differ between finished runs that share a law."""
    values: dict[tuple[str, str], set[str]] = {}
    for _, record in found:
        if record.state is State.DONE:
            for key, value in _settings(record.config):
                values.setdefault((rung_of(record), key), set()).add(json.dumps(value, sort_keys=True))
    keys = sorted({key for (_, key), seen in values.items() if len(seen) > 1})
    if not keys:
        return ""
    more = f" and {len(keys) - MOST_KEYS} more" if len(keys) > MOST_KEYS else ""
    return (
        f"Besides N, D and seed these runs differ in {', '.join(keys[:MOST_KEYS])}{more}: the law takes the "
        "effect of these for one of size, unless each was set to suit its size."
    )


def _settings(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of what may change a loss; numbers of a model are its size."""
    for name, value in tree.items():
        key = f"{above}{name}"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if key in OF_SIZE or (above.startswith("model.") and number):
            continue
        if isinstance(value, Mapping):
            yield from _settings(value, f"{key}.")
        else:
            yield key, value


def split_losses(
    found: Found, unit: str | None, headlines: Sequence[str], directory: Path
) -> tuple[Found, str, str]:
    """Runs that have one loss, which it is, and a note on the families that do not have it.

    Raises:
        PointsError: no unit is asked for, and families have different losses.
    """
    from chemscale.laws.data.points import PointsError

    reached: dict[str, set[str]] = {}
    for _, record in found:
        if record.state is State.DONE and record.final:
            reached.setdefault(record.family, set()).update(record.final.values)
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


def _fewer_seeds(found: Found) -> str:
    unfinished = sum(r.state is not State.DONE for _, r in found)
    return f"{unfinished} of {len(found)} runs are not done and stay out of the fit." if unfinished else ""


def envelope_curves(found: Found, unit: str) -> list[Curve]:
    """Validation curves of finished runs in tokens and FLOPs, for the envelope of Approach 1."""
    from chemscale.laws.allocation.envelope import Curve

    curves = []
    for directory, record in found:
        rows = [r for r in _validations(directory, record, unit) if {"tokens", "flops"} <= set(r)]
        table = np.array([[r["tokens"], r["flops"], r[unit]] for r in rows], dtype=float).reshape(-1, 3)
        forward = np.diff(table[:, 1], prepend=0.0) > 0
        table = table[forward & np.isfinite(table).all(1)]
        if record.state is State.DONE and len(table) >= 2:
            curves.append(Curve(float(record.parameters.matrices), *table.T))
    return curves


def _validations(directory: Path, record: RunRecord, unit: str) -> list[dict[str, Any]]:
    return [r for r in record.curve_rows(directory) if r.get("kind") == "validation" and unit in r]


def _curve(directory: Path, record: RunRecord, unit: str) -> dict[str, Any]:
    rows = _validations(directory, record, unit)
    return {
        "label": f"{record.name} (N = {record.parameters.matrices:,})",
        "size": record.parameters.matrices,
        "seen": [r.get("tokens", r.get("frames")) for r in rows],
        "unit": "tokens" if any("tokens" in r for r in rows) else "frames",
        "loss": [r[unit] for r in rows],
    }


def _row(record: RunRecord, ladder: bool) -> dict[str, str]:
    values = record.final.values if record.final else {}
    seen = {"tokens": "tokens", "molecules": "molecules", "frames": "frames seen", "atoms": "atoms seen"}
    rates = {key: value for key, value in record.truth.items() if key in RATES}
    compute = record.compute
    return {
        "run": record.name,
        "N, matrices": f"{record.parameters.matrices:,}",
        "blocks": f"{record.parameters.blocks:,}",
        "non-embedding": f"{record.parameters.non_embedding:,}",
        "all": f"{record.parameters.all:,}",
        **({"capacity": f"{record.parameters.capacity:,}"} if record.parameters.capacity else {}),
        **({"frames": f"{record.data.unique_frames:,}"} if record.data.unique_frames else {}),
        **{
            title: f"{getattr(record.data, unit):,}"
            for unit, title in seen.items()
            if getattr(record.data, unit)
        },
        "epochs": f"{record.data.epochs:.2f}",
        "FLOP counted": f"{compute.flops:.3e}",
        "6ND": f"{compute.flops_6nd:.3e}",
        **({"of a shorter run": f"{compute.inherited_flops:.3e}"} if ladder else {}),
        **{title: f"{values[unit]:.{digits}f}" for unit, (title, digits) in LOSSES.items() if unit in values},
        "best": f"{record.best.objective:.4g}" if record.best else "",
        **{RATES[key]: f"{value:,.0f}" for key, value in rates.items()},
        "seconds": f"{compute.seconds:,.0f}",
        **({} if compute.joules is None else {"joules": f"{compute.joules:,.0f}"}),
        "seed": str(record.seed),
        "state": f"{record.state.value} {record.reason}".strip(),
    }
