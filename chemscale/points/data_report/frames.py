"""One pass over the frames of a store: labels, elements and the largest forces of each part."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from ase import units

from chemscale.common.progress import ProgressBar
from chemscale.points.data_report.values import Values
from chemscale.structures.store import FrameStore

ATOMS_AT_ONCE, FRAMES_AT_ONCE = 250_000, 10_000
LARGEST = 10
"""Frames that are named for their largest force, and for their energies."""
ELEMENTS = 119
QUANTITIES = (
    "atoms", "energy", "energy_per_atom", "energy_less_references", "force_component", "force_norm",
    "net_force", "stress_component", "pressure", "volume_per_atom", "weight",
)  # fmt: skip
UPPER = np.triu_indices(3)
"""Of a symmetric stress: six components."""
Extreme = tuple[float, int, int]
"""Its size, the frame, and the atomic number (0 for a frame)."""


@dataclass
class PartFrames:
    """What one pass saw of a part.

    Args:
        frames: of the part.
        with_energy: frames with an energy.
        with_forces: frames with a force on every atom.
        with_some_forces: frames with forces of some atoms only.
        with_stress: frames with a whole stress.
        periodic: frames that are periodic in any direction.
        atoms: (119,) of each element.
        with_element: (119,) frames that hold each element.
        values: of each quantity.
        norms: force norms by element.
        electrons: frames by charge in e and multiplicity, 0 where it is not stated.
    """

    frames: int = 0
    with_energy: int = 0
    with_forces: int = 0
    with_some_forces: int = 0
    with_stress: int = 0
    periodic: int = 0
    atoms: np.ndarray = field(default_factory=lambda: np.zeros(ELEMENTS, np.int64))
    with_element: np.ndarray = field(default_factory=lambda: np.zeros(ELEMENTS, np.int64))
    values: dict[str, Values] = field(default_factory=lambda: {name: Values() for name in QUANTITIES})
    norms: dict[int, Values] = field(default_factory=dict)
    electrons: Counter[tuple[int, int]] = field(default_factory=Counter)


@dataclass
class Pass:
    """What one pass saw.

    Args:
        parts: by name.
        largest_forces: the largest norms of atoms, one a frame at most.
        highest: largest energies an atom less references.
        lowest: smallest ones.
    """

    parts: dict[str, PartFrames]
    largest_forces: list[Extreme] = field(default_factory=list)
    highest: list[Extreme] = field(default_factory=list)
    lowest: list[Extreme] = field(default_factory=list)


def look_at_frames(
    store: FrameStore, part_of: np.ndarray, names: tuple[str, ...], references: np.ndarray
) -> Pass:
    """See every frame once, in the order of the store and in bounded memory.

    Args:
        store: whose frames they are.
        part_of: (F,) place of each frame's part in `names`; negative where it is in none.
        names: of the parts.
        references: (119,) eV of an atom of each element, NaN where there is none.
    """
    found = Pass({name: PartFrames() for name in names})
    with ProgressBar("report", len(store), "frames") as progress:
        for first, end in _spans(store):
            _see(store, first, end, part_of[first:end], names, references, found)
            progress.advance(end - first)
    return found


def _spans(store: FrameStore) -> Iterator[tuple[int, int]]:
    first = 0
    while first < len(store):
        limit = store.offsets[first] + ATOMS_AT_ONCE
        end = max(first + 1, int(np.searchsorted(store.offsets, limit, side="right")) - 1)
        end = min(end, first + FRAMES_AT_ONCE)
        yield first, end
        first = end


@dataclass
class _Span:
    """Frames that follow each other, and what is computed of each of their atoms.

    Args:
        frames: (k,) numbers in the store.
        owner: (n,) place of each atom's frame in `frames`.
        numbers: (n,) atomic numbers.
        forces: (n, 3) eV/Å.
        sizes: (k,) atoms.
        energies: (k,) eV.
        rest: (k,) eV an atom, less references.
        stresses: (k, 3, 3) eV/Å³.
        composition: (k, 119) atoms of each element.
    """

    frames: np.ndarray
    owner: np.ndarray
    numbers: np.ndarray
    forces: np.ndarray
    sizes: np.ndarray
    energies: np.ndarray
    rest: np.ndarray
    stresses: np.ndarray
    composition: np.ndarray


def _see(
    store: FrameStore,
    first: int,
    end: int,
    part_of: np.ndarray,
    names: tuple[str, ...],
    references: np.ndarray,
    found: Pass,
) -> None:
    numbers, forces = store.atoms(first, end)
    frames = np.arange(first, end)
    sizes = store.sizes[first:end].astype(np.int64)
    owner = np.repeat(np.arange(len(frames)), sizes)
    pairs = np.bincount(owner * ELEMENTS + numbers, minlength=len(frames) * ELEMENTS)
    composition = pairs.reshape(len(frames), ELEMENTS)
    energies = store.energies(frames)
    own = composition @ np.nan_to_num(references)
    own[(composition[:, np.isnan(references)] > 0).any(axis=1)] = np.nan
    rest = (energies - own) / sizes
    span = _Span(frames, owner, numbers, forces, sizes, energies, rest, store.stresses(frames), composition)
    for place, name in enumerate(names):
        chosen = part_of == place
        if chosen.any():
            _add(store, span, chosen, found.parts[name])
    _extremes(span, part_of >= 0, found)


def _add(store: FrameStore, span: _Span, chosen: np.ndarray, part: PartFrames) -> None:
    """Add the chosen (k,) frames of a span to a part."""
    frames, atoms = span.frames[chosen], chosen[span.owner]
    forces, numbers, sizes = span.forces[atoms], span.numbers[atoms], span.sizes[chosen]
    starts = np.cumsum(sizes) - sizes
    whole_atoms = np.isfinite(forces).all(axis=1)
    known = np.add.reduceat(whole_atoms.astype(np.int64), starts)
    energies, stresses, values = span.energies[chosen], span.stresses[chosen], part.values
    part.frames += len(frames)
    part.with_energy += int(np.isfinite(energies).sum())
    part.with_forces += int((known == sizes).sum())
    part.with_some_forces += int(((known > 0) & (known < sizes)).sum())
    part.periodic += int(store.is_periodic(frames).sum())
    part.atoms += np.bincount(numbers, minlength=ELEMENTS)
    part.with_element += (span.composition[chosen] > 0).sum(axis=0)
    values["atoms"].add(sizes)
    values["energy"].add(energies)
    values["energy_per_atom"].add(energies / sizes)
    values["energy_less_references"].add(span.rest[chosen])
    values["force_component"].add(forces)
    norms = np.linalg.norm(forces, axis=1)
    values["force_norm"].add(norms)
    net = np.linalg.norm(np.add.reduceat(forces, starts, axis=0), axis=1)
    values["net_force"].add(net[sizes > 1])
    for z in np.unique(numbers):
        part.norms.setdefault(int(z), Values()).add(norms[numbers == z])
    part.electrons.update(store.electron_states(frames))
    if store.has_stresses:
        part.with_stress += int(np.isfinite(stresses).all(axis=(1, 2)).sum())
        values["stress_component"].add(stresses[:, *UPPER])
        values["pressure"].add(-np.trace(stresses, axis1=1, axis2=2) / 3 / units.GPa)
    if store.periodic:
        values["volume_per_atom"].add((store.volumes(frames) / sizes)[store.is_periodic(frames)])
    if store.has_weights:
        values["weight"].add(store.weights(frames))


def _extremes(span: _Span, in_parts: np.ndarray, found: Pass) -> None:
    """Keep the frames with the largest forces, and with the largest and smallest energies an atom."""
    squares = np.square(span.forces).sum(axis=1)
    squares[~np.isfinite(squares) | ~in_parts[span.owner]] = -1.0
    starts = np.cumsum(span.sizes) - span.sizes
    of_frames = np.maximum.reduceat(squares, starts)
    for k in np.argsort(-of_frames, kind="stable")[:LARGEST]:
        if of_frames[k] >= 0:
            atom = starts[k] + int(np.argmax(squares[starts[k] : starts[k] + span.sizes[k]]))
            found.largest_forces.append(
                (float(np.sqrt(of_frames[k])), int(span.frames[k]), int(span.numbers[atom]))
            )
    found.largest_forces = heapq.nlargest(LARGEST, found.largest_forces, key=lambda e: (e[0], -e[1]))
    known = np.flatnonzero(np.isfinite(span.rest) & in_parts)
    ranked = known[np.argsort(span.rest[known], kind="stable")]
    found.highest += [(float(span.rest[k]), int(span.frames[k]), 0) for k in ranked[::-1][:LARGEST]]
    found.lowest += [(float(span.rest[k]), int(span.frames[k]), 0) for k in ranked[:LARGEST]]
    found.highest = heapq.nlargest(LARGEST, found.highest, key=lambda e: (e[0], -e[1]))
    found.lowest = heapq.nsmallest(LARGEST, found.lowest, key=lambda e: (e[0], e[1]))
