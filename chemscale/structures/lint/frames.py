"""What is kept of every frame, and what it shows: copies, leakage, labels that do not change."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import numpy as np

from chemscale.structures.blocks import Block
from chemscale.structures.lint.findings import Finding, not_checked

MIN_GEOMETRIES = 3
"""Different geometries of one composition from which on equal energies are no chance."""


MANY = 1 << 14
"""Blocks after which what is kept of them is joined."""

STATE = np.uint64(0x9E3779B97F4A7C15)
"""Weight of charge and multiplicity in a fingerprint."""


class Frames:
    """Fingerprint, energy, hash of forces, state and row of every frame, 44 bytes; some 50 of each name."""

    def __init__(self) -> None:
        self._prints: list[np.ndarray] = []
        self._energies: list[np.ndarray] = []
        self._forces: list[np.ndarray] = []
        self._states: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._names: list[str] = []
        self._starts: list[int] = []
        self._kept = 0
        self._numbers: dict[bytes, int] = {}
        self._atoms: list[int] = []
        self._elements: list[int] = []
        self._codes: list[int] = []
        self._molecules: list[bool] = []
        self._table: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return self._kept

    def add(
        self, block: Block, states: dict[bytes, np.ndarray], prints: np.ndarray, forces: np.ndarray
    ) -> None:
        """Keep what is needed of a block.

        Args:
            block: the next one.
            states: frames of each of its states.
            prints: (k, 2) fingerprints of the geometries.
            forces: (k,) hashes of the forces, 0 for none.
        """
        state = (block.charges.astype(np.int64) + 128) * 256 + block.spins.astype(np.int64)
        number = np.zeros(len(block), np.int32)
        for key, members in states.items():
            if key not in self._numbers:
                self._numbers[key] = len(self._numbers)
                self._atoms.append(len(block.numbers))
                self._elements.append(len(np.unique(block.numbers)))
                self._codes.append(int(state[members[0]]))
                self._molecules.append(block.pbc is None or not bool(block.pbc[members[0]].any()))
            number[members] = self._numbers[key]
        # Charge and multiplicity belong to the state; the order of atoms does not.
        with np.errstate(over="ignore"):
            self._prints.append(prints + (state.astype(np.uint64) * STATE)[:, None])
        self._energies.append(block.energies)
        self._forces.append(forces)
        self._states.append(number)
        self._rows.append(block.rows)
        if not self._names or self._names[-1] != block.name:
            self._names.append(block.name)
            self._starts.append(self._kept)
        self._kept += len(block)
        if len(self._energies) == MANY:  # an array of one number takes as much as twenty
            self._join()

    def _join(self) -> None:
        """Keep what was added as one array each."""
        if len(self._energies) < 2:
            return
        for part in (self._prints, self._energies, self._forces, self._states, self._rows):
            part[:] = [np.concatenate(part)]  # and not both the parts and the whole

    def table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Fingerprints (N, 2), energies, hashes of forces and numbers of states, (N,) each."""
        if self._table is None or len(self._table[1]) != len(self):
            self._join()
            self._table = (self._prints[0], self._energies[0], self._forces[0], self._states[0])
        return self._table

    def where(self, frame: int) -> str:
        """Name and row of a frame.

        Args:
            frame: its number, counted over the part.

        Raises:
            IndexError: there is no such frame.
        """
        if not 0 <= frame < self._kept:
            raise IndexError(frame)
        self._join()
        return f"{self._names[bisect_right(self._starts, frame) - 1]}, row {self._rows[0][frame]}"

    def findings(self) -> Iterator[Finding]:
        """Copies, and labels that do not change with the geometry."""
        if len(self) < 2:
            yield not_checked("duplicates", "fewer than 2 frames")
        else:
            yield from self._repeats()
        yield from self._constant_labels()

    def _repeats(self) -> Iterator[Finding]:
        prints, energies, forces, states = self.table()
        earlier = np.arange(len(energies))
        for column in prints.T:
            _, first, inverse = np.unique(column, return_index=True, return_inverse=True)
            earlier = np.minimum(earlier, first[inverse])
        repeats = np.flatnonzero(earlier < np.arange(len(earlier)))
        atoms = np.array(self._atoms)[states]
        same = _same_labels(
            atoms[repeats],
            energies[repeats],
            energies[earlier[repeats]],
            forces[repeats],
            forces[earlier[repeats]],
        )
        copies = repeats[same]
        if len(copies):
            yield Finding(
                "duplicates",
                "warning",
                f"{len(copies):,} frames repeat an earlier geometry (turned, moved, wrapped or reordered "
                f"copies counted), for example {self.where(copies[0])} repeats "
                f"{self.where(earlier[copies[0]])}.",
            )
        gap = np.abs(energies[repeats] - energies[earlier[repeats]])
        other = repeats[~same & (gap > 1e-3)]
        if len(other):
            gaps = np.abs(energies[other] - energies[earlier[other]])
            worst = int(np.argmax(gaps))
            one = self._one_geometry()
            yield Finding(
                "duplicates",
                "error" if one else "warning",
                f"{len(other):,} frames have the geometry of an earlier one but another energy, by up to "
                f"{gaps[worst]:.3g} eV, for example {self.where(other[worst])} and "
                f"{self.where(earlier[other[worst]])}: "
                + (
                    "all positions are the same, they were not updated."
                    if one
                    else "state charge and multiplicity if they differ, and do not mix levels of theory."
                ),
            )

    def _one_geometry(self) -> bool:
        """Whether most frames are of states with one geometry and several energies."""
        prints, energies, _, states = self.table()
        order = np.argsort(states, kind="stable")
        alone = 0
        for members in np.split(order, np.flatnonzero(np.diff(states[order])) + 1):
            known = energies[members][np.isfinite(energies[members])]
            one = min(len(np.unique(prints[members, c])) for c in (0, 1)) == 1
            if one and len(members) >= 5 and self._atoms[states[members[0]]] > 1 and np.ptp(known) > 1e-3:
                alone += len(members)
        return alone > 0.5 * len(energies)

    def _constant_labels(self) -> Iterator[Finding]:
        prints, energies, _, states = self.table()
        known = np.isfinite(energies)
        eligible = constant = zeros = comparable = repeated = 0
        example = ""
        if known.any():
            atoms, elements = np.array(self._atoms)[states], np.array(self._elements)[states]
            comparable = int((known & (elements > 1)).sum())
            zeros = int((known & (energies == 0) & (elements > 1)).sum())
            order = np.flatnonzero(known & (atoms > 1))
            order = order[np.argsort(states[order], kind="stable")]
            groups = np.split(order, np.flatnonzero(np.diff(states[order])) + 1)
            whole = [order] if len(groups) > 1 else []
            for number, members in enumerate([*groups, *whole]):
                if _geometries(prints[members]) < MIN_GEOMETRIES:
                    continue
                equal = bool(np.ptp(energies[members]) == 0)
                if number == len(groups):  # the file as a whole, where no composition has enough geometries
                    repeated = len(members) if equal else 0
                    eligible = eligible or len(members)
                    continue
                eligible += len(members)
                if equal:
                    constant += len(members)
                    example = example or self.where(members[0])
        constant = constant or repeated
        if constant:
            yield Finding(
                "constant labels",
                "error" if constant > 0.5 * eligible else "warning",
                f"{constant:,} frames of different geometry have exactly the same energy"
                f"{f', for example those of {example}' if example else ''}: it is a placeholder, or a "
                "value of the molecule and not of the frame.",
            )
        elif zeros and zeros > 0.5 * comparable and zeros >= MIN_GEOMETRIES:
            yield Finding(
                "constant labels",
                "error",
                f"{zeros:,} of {comparable:,} frames have an energy of exactly zero: a placeholder. Set it "
                "to NaN or remove it: missing energies weigh nothing.",
            )
        same, bearing = self._same_forces()
        if same:
            yield Finding(
                "constant labels",
                "error" if same >= 3 and same > 0.1 * bearing else "warning",
                f"{same:,} of {bearing:,} frames have exactly the forces of another geometry: the array was "
                "not updated.",
            )
        if not eligible and not same and bearing < MIN_GEOMETRIES:
            yield not_checked(
                "constant labels", f"fewer than {MIN_GEOMETRIES} different geometries with labels"
            )

    def _same_forces(self) -> tuple[int, int]:
        """Frames with the very forces of an earlier frame of another geometry, and frames with forces."""
        prints, _, forces, states = self.table()
        bearing = np.flatnonzero((forces != 0) & (np.array(self._atoms)[states] > 1))
        _, first, inverse = np.unique(forces[bearing], return_index=True, return_inverse=True)
        other = bearing[first[inverse]]
        with np.errstate(over="ignore"):
            geometries = prints - (np.array(self._codes, np.uint64)[states] * STATE)[:, None]
        return int((geometries[bearing] != geometries[other]).all(axis=1).sum()), len(bearing)

    def leakage_into(self, other: Frames, name: str) -> list[Finding]:
        """Findings about frames of another part whose geometry is in this one.

        Args:
            other: frames of that part.
            name: of that part.
        """
        if not len(self) or not len(other):
            return []
        mine, energies, forces, _ = self.table()
        prints, e, f, states = other.table()
        atoms = np.array(other._atoms)[states]
        molecules = np.array(other._molecules)[states]
        leaked = np.zeros(len(e), bool)
        relabelled = np.zeros(len(e), bool)
        for column in (0, 1):
            values, first = np.unique(mine[:, column], return_index=True)
            at = np.minimum(np.searchsorted(values, prints[:, column]), len(values) - 1)
            shared = (values[at] == prints[:, column]) & ((atoms > 1) | ~molecules)
            match = first[at]
            same = _same_labels(atoms, e, energies[match], f, forces[match])
            leaked |= shared & same
            relabelled |= shared & ~same & (atoms > 2)
        relabelled &= ~leaked
        found = []
        for which, severity, words in (
            (leaked, "error", "are copies of training frames"),
            (relabelled, "warning", "have the geometry of training frames, with another energy"),
        ):
            if which.any():
                found.append(
                    Finding(
                        "leakage",
                        severity,
                        f"{int(which.sum()):,} of {len(e):,} frames of the {name} part {words} (turned, "
                        "moved, wrapped or reordered ones counted), for example "
                        f"{other.where(int(np.argmax(which)))}. Errors on them are not errors on unseen "
                        "data: remove them, or split by molecule.",
                    )
                )
        return found


def _geometries(prints: np.ndarray) -> int:
    return min(len(np.unique(prints[:, c])) for c in (0, 1))


def _same_labels(
    atoms: np.ndarray, one: np.ndarray, two: np.ndarray, forces: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Whether frames of one geometry have the same labels too, (k,).

    A missing energy takes nothing away from a copy. Two atoms meet at a distance by chance, and so do
    cells of one atom: of them only equal labels make a copy.
    """
    gap = np.abs(one - two)
    unknown = ~np.isfinite(gap)
    close = unknown | (gap <= 2e-3 + 2e-6 * np.abs(one))
    exact = (gap <= 1e-8) | (unknown & (forces == others) & (forces != 0))
    return np.where(atoms <= 2, exact, close)
