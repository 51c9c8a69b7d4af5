"""What a report shows beside a law of runs: notes on them, their learning curves and their table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chemscale.analysis.records_to_points import Found, family_of, notation_of, validations
from chemscale.analysis.suspects import other_software, suspicious
from chemscale.laws.reports.page import Origin
from chemscale.records import RunRecord, State
from chemscale.sweeps.identity import WITHOUT_EFFECT

OF_SIZE = (*WITHOUT_EFFECT, "budget", "seed", "data.molecules", "data.frames", "hydra")
"""Keys of a configuration for the size or length of a run, and those that cannot change its loss."""
MAX_KEYS = 8
"""Most settings that a note names."""
LOSSES = {
    "nats_per_token": ("nats/token", 4),
    "nats_per_molecule": ("nats/molecule", 4),
    "nats_per_heavy_atom": ("nats/heavy atom", 4),
    "energy_mae": ("E MAE (meV)", 2),
    "energy_mae_per_atom": ("E MAE (meV/atom)", 3),
    "energy_rmse": ("E RMSE (meV)", 2),
    "forces_mae": ("F MAE (meV/Å)", 2),
    "forces_rmse": ("F RMSE (meV/Å)", 2),
    "stress_mae": ("stress MAE (meV/Å³)", 3),
}
"""Columns of the table: title and digits."""
RATES = {"tokens_per_second": "tokens/s", "atoms_per_second": "atoms/s"}
SEEN = {"tokens": "tokens", "molecules": "molecules", "frames": "frames seen", "atoms": "atoms seen"}


def origin_of(found: Found, unit: str, command: str) -> Origin:
    """Curves, table, versions and notes of runs.

    Args:
        found: the runs, at least one.
        unit: of the loss.
        command: that fits them.
    """
    hashes = sorted({r.data_hash for _, r in found})
    done = next((r for _, r in found if r.state is State.DONE), found[0][1])
    notes = suspicious(found, unit)
    notes += [_shared_trunks(found), _shared_noise(found), other_software(found)]
    notes.append(_different_data(found))
    notes.append(_other_settings(found))
    inherited = any(r.compute.inherited_flops for _, r in found)
    return Origin(
        curves=[_curve(d, r, unit) for d, r in found],
        runs=[_row(r, inherited) for _, r in found],
        command=command,
        data_hash=", ".join(hashes),
        versions=done.versions,
        notes=[note for note in notes if note],
    )


def _different_data(found: Found) -> str:
    """That runs saw different data, if they did; of several notations, how many molecules each has."""
    if len({record.data_hash for _, record in found}) == 1:
        return ""
    of: dict[str, dict[str, int]] = {}
    for _, record in found:
        hashes = of.setdefault(notation_of(record), {})
        hashes[record.data_hash] = max(record.data.unique_molecules, hashes.get(record.data_hash, 0))
    if "" in of or any(len(hashes) > 1 for hashes in of.values()):
        return "These runs saw different data: their losses may not be comparable."
    molecules = {notation: max(hashes.values()) for notation, hashes in of.items()}
    if len(set(molecules.values())) == 1:
        return (
            f"Every notation has {next(iter(molecules.values())):,} training molecules. What is predicted is "
            "one canonical text of each, so nats per heavy atom compare; those per token do not."
        )
    listed = ", ".join(f"{notation} {number:,}" for notation, number in sorted(molecules.items()))
    return (
        f"The notations have different numbers of training molecules ({listed}): some molecules cannot be "
        "expressed in all. data.common_to=[selfies,safe], or whichever are compared, keeps to those that can."
    )


def _shared_trunks(found: Found) -> str:
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
        "The runs of one trunk share its initialisation and data order and so part of their noise: intervals "
        "of a joint law hold a deviation of each trunk beside each run's own. Few trunks tell little of it; "
        "runs of other seeds narrow them."
    )


def _other_settings(found: Found) -> str:
    """Which settings besides size, data and seed differ between finished runs of one family."""
    values: dict[tuple[str, str], set[str]] = {}
    for _, record in found:
        if record.state is State.DONE:
            for key, value in _settings(record.config):
                values.setdefault((family_of(record), key), set()).add(json.dumps(value, sort_keys=True))
    keys = sorted({key for (_, key), seen in values.items() if len(seen) > 1})
    if not keys:
        return ""
    more = f" and {len(keys) - MAX_KEYS} more" if len(keys) > MAX_KEYS else ""
    return (
        f"Besides N, D and seed these runs differ in {', '.join(keys[:MAX_KEYS])}{more}: the law takes the "
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


def _curve(directory: Path, record: RunRecord, unit: str) -> dict[str, Any]:
    rows = validations(directory, record, unit)
    return {
        "label": f"{record.name} (N = {record.parameters.matrices:,})",
        "size": record.parameters.matrices,
        "seen": [r.get("tokens", r.get("frames")) for r in rows],
        "unit": "tokens" if any("tokens" in r for r in rows) else "frames",
        "loss": [r[unit] for r in rows],
    }


def _row(record: RunRecord, inherited: bool) -> dict[str, str]:
    """A row of the table; `inherited` adds the column of FLOPs that a shorter run spent."""
    values = record.losses
    rates = {key: value for key, value in record.truth.items() if key in RATES}
    compute, data = record.compute, record.data
    return {
        "run": record.name,
        "N, matrices": f"{record.parameters.matrices:,}",
        "blocks": f"{record.parameters.blocks:,}",
        "non-embedding": f"{record.parameters.non_embedding:,}",
        "all": f"{record.parameters.all:,}",
        **({"capacity": f"{record.parameters.capacity:,}"} if record.parameters.capacity else {}),
        **({"frames": f"{data.unique_frames:,}"} if data.unique_frames else {}),
        **{title: f"{getattr(data, unit):,}" for unit, title in SEEN.items() if getattr(data, unit)},
        "epochs": f"{data.epochs:.2f}",
        "FLOP counted": f"{compute.flops:.3e}",
        "6ND": f"{compute.flops_6nd:.3e}",
        **({"of a shorter run": f"{compute.inherited_flops:.3e}"} if inherited else {}),
        **{title: f"{values[unit]:.{digits}f}" for unit, (title, digits) in LOSSES.items() if unit in values},
        "best": f"{record.best.objective:.4g}" if record.best and record.best.is_finite else "",
        **{RATES[key]: f"{value:,.0f}" for key, value in rates.items()},
        "seconds": f"{compute.seconds:,.0f}",
        **({} if compute.joules is None else {"joules": f"{compute.joules:,.0f}"}),
        "seed": str(record.seed),
        "state": record.why_left_out() or record.state.value,
    }
