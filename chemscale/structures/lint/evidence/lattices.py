"""Shortest distances in crystals, and lengths by which a lattice is known whatever its cell vectors."""

from __future__ import annotations

import numpy as np

FAR = 1e4
"""Å: length of the vector that stands for a direction without periodicity."""

PAIRS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


def completed(cells: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Cells of full rank, (k, 3, 3): directions without periodicity become long perpendicular vectors.

    Args:
        cells: (k, 3, 3) Å, rows.
        pbc: (k, 3) periodic directions.
    """
    full = np.where(pbc[:, :, None], cells, 0.0)
    for at in np.flatnonzero(~pbc.all(axis=1)):
        kept = full[at][pbc[at]]
        empty = np.linalg.svd(kept)[2][len(kept) :] if len(kept) else np.eye(3)
        full[at][~pbc[at]] = FAR * empty
    flat = np.abs(np.linalg.det(full)) < 1e-6  # no lattice at all: nothing to wrap
    full[flat] = FAR * np.eye(3)
    return full


def voronoi_vectors(cells: np.ndarray) -> np.ndarray:
    """Vectors to the faces of the Voronoi cell of each lattice, up to sign: (k, 7, 3).

    Selling's reduction to four vectors of sum zero with obtuse angles. The seven lengths are the same for
    every choice of cell vectors, and tell lattices apart (Conway and Sloane 1992).

    Args:
        cells: (k, 3, 3) Å of full rank.
    """
    base = np.concatenate([cells, -cells.sum(axis=1, keepdims=True)], axis=1)
    for _ in range(200):
        gram = base @ np.swapaxes(base, 1, 2)
        angles = np.stack([gram[:, i, j] for i, j in PAIRS], axis=1)
        worst = angles.argmax(axis=1)
        acute = angles.max(axis=1) > 1e-9 * np.trace(gram, axis1=1, axis2=2)
        if not acute.any():
            break
        for number, (i, j) in enumerate(PAIRS):
            chosen = acute & (worst == number)
            flipped = base[chosen, i].copy()
            for other in set(range(4)) - {i, j}:
                base[chosen, other] += flipped
            base[chosen, i] = -flipped
    sums = np.stack([base[:, 0] + base[:, i] for i in (1, 2, 3)], axis=1)
    return np.concatenate([base, sums], axis=1)


def shortest(vectors: np.ndarray, cells: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The shortest image of each vector, (k, P, 3).

    Args:
        vectors: (k, P, 3) Å.
        cells: (k, 3, 3) Å of full rank.
        faces: (k, 7, 3), of `voronoi_vectors`.
    """
    x = vectors - np.rint(vectors @ np.linalg.inv(cells)) @ cells
    for _ in range(20):
        moved = False
        for face in range(7):
            v = faces[:, face]
            steps = np.rint(np.einsum("kpi,ki->kp", x, v) / np.square(v).sum(1)[:, None])
            if steps.any():
                x -= steps[:, :, None] * v[:, None]
                moved = True
        if not moved:
            break
    return x


class Lattices:
    """The lattices of k frames, each reduced once.

    Args:
        cells: (k, 3, 3) Å.
        pbc: (k, 3) periodic directions.
    """

    def __init__(self, cells: np.ndarray, pbc: np.ndarray):
        rows = np.concatenate([cells.reshape(-1, 9), pbc.astype(float)], axis=1)
        if (rows == rows[0]).all():
            kinds, self.kind = rows[:1], np.zeros(len(rows), np.int64)
        else:
            kinds, inverse = np.unique(rows, axis=0, return_inverse=True)
            self.kind = inverse.reshape(-1)
        self._cells = completed(kinds[:, :9].reshape(-1, 3, 3), kinds[:, 9:].astype(bool))
        self._faces = voronoi_vectors(self._cells)

    @property
    def lengths(self) -> np.ndarray:
        """Lengths of the seven face vectors in Å, sorted, (k, 7); `FAR` and beyond: no periodicity."""
        return np.minimum(np.sort(np.linalg.norm(self._faces, axis=2), axis=1), FAR)[self.kind]

    def shortest(self, vectors: np.ndarray, frames: slice | np.ndarray = slice(None)) -> np.ndarray:
        """The shortest image of vectors in some of the frames.

        Args:
            vectors: (k, P, 3) Å.
            frames: which of them.
        """
        kind = self.kind[frames]
        return shortest(vectors, self._cells[kind], self._faces[kind])

    def images(self, frame: int, reach: float) -> np.ndarray:
        """Lattice vectors up to twice a distance, and some beyond, (S, 3) Å; fewer of cells below 1 Å.

        Args:
            frame: of which lattice.
            reach: Å.
        """
        base = self._faces[self.kind[frame], :3]
        heights = 1 / np.linalg.norm(np.linalg.inv(base), axis=0)
        counts = [np.arange(-m, m + 1) for m in np.ceil(2 * reach / np.maximum(heights, 1.0)).astype(int)]
        return np.stack(np.meshgrid(*counts, indexing="ij"), axis=-1).reshape(-1, 3) @ base
