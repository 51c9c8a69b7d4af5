"""Statistics of a store of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from chemscale.points.data_report.frames import ELEMENTS, Extreme, Pass, look_at_frames
from chemscale.points.data_report.geometry import CUTOFF, Geometry, look_at_geometry
from chemscale.points.data_report.values import distribution, listed, rounded, sample
from chemscale.structures.lint.findings import ORDER, Finding, verdicts
from chemscale.structures.references import ReferenceEnergyError, References, reference_energies
from chemscale.structures.store import ISOLATED, PARTS, FrameStore

SCHEMA_VERSION = 1
FITTED = 100_000
"""Training frames that reference energies are found on, a random sample where there are more."""
QUANTITIES = {
    "atoms": ("atoms of a frame", "in all"),
    "energy": ("energy", "eV a frame, as it was read"),
    "energy_per_atom": ("energy per atom", "eV, as it was read"),
    "energy_less_references": ("energy per atom, less references", "eV, what a potential learns"),
    "force_component": ("force component", "eV/Å"),
    "force_norm": ("force on an atom", "eV/Å, its norm"),
    "net_force": ("net force of a frame", "eV/Å; zero where forces are complete"),
    "stress_component": ("stress component", "eV/Å³, positive under tension"),
    "pressure": ("pressure", "GPa, positive under compression"),
    "volume_per_atom": ("volume per atom", "Å³"),
    "weight": ("weight of a frame", "by which its errors are multiplied"),
}
MAX_PAIRS, MAX_ELECTRONS = 200, 40


def describe_store(
    store: FrameStore, method: str | Mapping[int, float], findings: Sequence[Finding] | None
) -> dict[str, Any]:
    """Everything that the report of a store says, as JSON can hold it.

    Args:
        store: prepared.
        method: of reference energies (``data.references``).
        findings: of the linter; None where it did not look.
    """
    manifest = store.manifest
    part_of, names = _parts(store)
    references, notes = _references(store, method)
    seen = look_at_frames(store, part_of, names, references)
    geometry = look_at_geometry(store, part_of, names)
    outside = int((part_of < 0).sum())
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "structures",
        "name": store.path.name,
        "hash": store.hash,
        "title": manifest["name"],
        "level": manifest["level"],
        "of": manifest.get("kind", ""),
        "units": manifest["units"],
        "periodic": store.periodic,
        "split": manifest.get("split", ""),
        "files": [file for _, file in manifest.get("files", [])],
        "labels": manifest.get("labels", []),
        "notes": manifest["notes"],
        "counts": {
            "frames": len(store),
            "atoms": int(store.offsets[-1]),
            "molecules": manifest["counts"]["molecules"],
            "in_no_part": outside,
            "isolated_atoms": len(store.part(ISOLATED)),
            "left_out": manifest["counts"].get("left_out", {}),
        },
        "parts": {name: _part(store, seen, name, place, part_of) for place, name in enumerate(names)},
        "without_frames": [name for name in PARTS if name not in names],
        "distributions": _distributions(seen, geometry, names),
        "references": {
            "method": method if isinstance(method, str) else "given",
            "energies": {
                chemical_symbols[z]: rounded(float(references[z]))
                for z in range(ELEMENTS)
                if np.isfinite(references[z])
            },
            "notes": notes,
        },
        "elements": _elements(seen, names),
        "electrons": _electrons(seen),
        "extremes": {
            "forces": [_extreme(store, each, part_of, names) for each in seen.largest_forces],
            "highest": [_extreme(store, each, part_of, names) for each in seen.highest],
            "lowest": [_extreme(store, each, part_of, names) for each in seen.lowest],
        },
        "geometry": _geometry(store, geometry),
        **_lint(findings),
    }


def _parts(store: FrameStore) -> tuple[np.ndarray, tuple[str, ...]]:
    """(F,) place of each frame's part, -1 where it is in none; and the parts that have frames."""
    names = tuple(name for name in PARTS if len(store.part(name)))
    part_of = np.full(len(store), -1, np.int8)
    for place, name in enumerate(names):
        part_of[store.part(name)] = place
    return part_of, names


def _references(store: FrameStore, method: str | Mapping[int, float]) -> tuple[np.ndarray, list[str]]:
    """(119,) reference energies in eV, NaN of other elements; and where they are from."""
    train = store.part("train")
    frames = np.sort(np.asarray(train[np.sort(sample(len(train), FITTED, number=2))]))
    notes = []
    if len(frames) < len(train):
        notes.append(f"Found on a random sample of {len(frames):,} of {len(train):,} training frames.")
    try:
        found = reference_energies(store, frames, store.elements, method, CUTOFF)
    except ReferenceEnergyError as error:
        notes.append(f"{error}")
        if isinstance(method, str) and method != "none" and np.isfinite(store.energies(frames)).any():
            notes.append("This page takes data.references=minimum_norm.")
            found = reference_energies(store, frames, store.elements, "minimum_norm", CUTOFF)
        else:
            found = References((np.nan,) * len(store.elements))
    energies = np.full(ELEMENTS, np.nan)
    energies[list(store.elements)] = found.values
    return energies, [*notes, *found.notes]


def _part(store: FrameStore, seen: Pass, name: str, place: int, part_of: np.ndarray) -> dict[str, Any]:
    part = seen.parts[name]
    groups = np.unique(np.asarray(store.groups)[part_of == place])
    return {
        "frames": part.frames,
        "atoms": int(part.atoms.sum()),
        "names": len(groups),
        "with_energy": part.with_energy,
        "with_forces": part.with_forces,
        "with_some_forces": part.with_some_forces,
        "with_stress": part.with_stress,
        "periodic": part.periodic,
        "force_component_rms": rounded(part.values["force_component"].rms),
    }


def _distributions(seen: Pass, geometry: Geometry, names: tuple[str, ...]) -> list[dict[str, Any]]:
    found = []
    for key, (name, meaning) in QUANTITIES.items():
        values = {part: seen.parts[part].values[key] for part in names}
        found.append(distribution(name, meaning, values, whole=key == "atoms"))
    sampled = geometry.frames < geometry.of
    of = f"of a random sample of {geometry.frames:,} frames" if sampled else "of all frames"
    near = f"within {CUTOFF:g} Å, {of}"
    found.append(distribution("neighbours of an atom", near, geometry.neighbours, whole=True))
    found.append(distribution("nearest atom", f"Å, {of}", geometry.nearest))
    return listed(found)


def _elements(seen: Pass, names: tuple[str, ...]) -> list[dict[str, Any]]:
    total = sum(part.atoms for part in seen.parts.values())
    return [
        {
            "element": chemical_symbols[z],
            "parts": {
                name: {
                    "frames": int(seen.parts[name].with_element[z]),
                    "atoms": int(seen.parts[name].atoms[z]),
                    **_norms(seen, name, z),
                }
                for name in names
            },
        }
        for z in range(ELEMENTS)
        if np.asarray(total)[z]
    ]


def _norms(seen: Pass, name: str, z: int) -> dict[str, Any]:
    """Forces on the atoms of an element; NaN where it has none."""
    values = seen.parts[name].norms.get(z)
    if values is None or not values.count:
        return dict.fromkeys(("force_mean", "force_rms", "force_largest"), float("nan"))
    return {
        "force_mean": rounded(values.mean),
        "force_rms": rounded(values.rms),
        "force_largest": rounded(values.high),
    }


def _electrons(seen: Pass) -> dict[str, Any]:
    """Frames of each charge and multiplicity, the commonest first."""
    kinds = {pair for part in seen.parts.values() for pair in part.electrons}
    ranked = sorted(kinds, key=lambda pair: (-sum(p.electrons[pair] for p in seen.parts.values()), pair))
    return {
        "kinds": len(ranked),
        "first": [
            {
                "charge": charge,
                "multiplicity": spin or None,
                "parts": {name: part.electrons[charge, spin] for name, part in seen.parts.items()},
            }
            for charge, spin in ranked[:MAX_ELECTRONS]
        ],
    }


def _extreme(store: FrameStore, each: Extreme, part_of: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    value, frame, z = each
    return {
        "value": rounded(value),
        "frame": frame,
        "where": store.where(frame),
        "part": names[part_of[frame]],
        "element": chemical_symbols[z] if z else "",
    }


def _lint(findings: Sequence[Finding] | None) -> dict[str, Any]:
    """Findings, the worst first, and the checks by their verdict."""
    if findings is None:
        return {"lint": None, "checks": {}}
    told = verdicts(findings)
    ranked = sorted(findings, key=lambda finding: ORDER[finding.severity])
    by_verdict = {v: [check for check, of in told.items() if of == v] for v in dict.fromkeys(told.values())}
    return {"lint": [vars(finding) for finding in ranked], "checks": {"ok": [], **by_verdict}}


def _geometry(store: FrameStore, found: Geometry) -> dict[str, Any]:
    """Distances of pairs of elements, the closest first."""
    ranked = sorted(found.pairs, key=lambda pair: (found.closest[pair], pair))
    return {
        "frames": found.frames,
        "of": found.of,
        "cutoff": CUTOFF,
        "atoms_without_a_neighbour": found.alone,
        "kinds": len(ranked),
        "pairs": [
            {
                "pair": "–".join(chemical_symbols[z] for z in pair),
                "frames": found.pairs[pair].count,
                "least": rounded(found.closest[pair][0]),
                "median": rounded(found.pairs[pair].quantile(0.5)),
                "where": store.where(found.closest[pair][1]),
            }
            for pair in ranked[:MAX_PAIRS]
        ],
    }
