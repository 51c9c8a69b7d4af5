"""Structures with exact labels: springs between the atoms of water- and methanol-like molecules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from chemscale.structures.blocks import Block

WATER = (np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
METHANOL = (
    np.array([6, 8, 1, 1, 1, 1]),
    np.array(
        [
            [0.0, 0, 0],
            [1.42, 0, 0],
            [-0.36, 1.03, 0],
            [-0.36, -0.51, 0.89],
            [-0.36, -0.51, -0.89],
            [1.74, 0.9, 0],
        ]
    ),
)
ATOMS = {1: -13.6, 6: -1036.0, 8: -2046.0}


def springs(rest: np.ndarray, positions: np.ndarray, stiffness: float = 15.0) -> tuple[float, np.ndarray]:
    """Energy (eV) and forces (eV/Å) of harmonic springs between all pairs, at rest in `rest`."""
    energy, forces = 0.0, np.zeros_like(positions)
    for i in range(len(rest)):
        for j in range(i):
            length = np.linalg.norm(rest[i] - rest[j])
            k = stiffness / length**2
            vector = positions[i] - positions[j]
            distance = np.linalg.norm(vector)
            energy += 0.5 * k * (distance - length) ** 2
            pull = -k * (distance - length) * vector / distance
            forces[i] += pull
            forces[j] -= pull
    return energy, forces


def toy_blocks(frames: int, *, name: str = "", seed: int = 0, noise: float = 0.08) -> list[Block]:
    """Two blocks of `frames` distorted molecules each, rows counted on."""
    random = np.random.default_rng(seed)
    blocks = []
    for start, (title, (numbers, rest)) in enumerate((("water", WATER), ("methanol", METHANOL))):
        positions = rest + random.normal(0, noise, (frames, *rest.shape))
        labels = [springs(rest, p) for p in positions]
        base = sum(ATOMS[int(z)] for z in numbers)
        blocks.append(
            Block(
                name=name or title,
                numbers=numbers,
                positions=positions,
                energies=np.array([e + base for e, _ in labels]),
                forces=np.array([f for _, f in labels]),
                rows=np.arange(frames) + start * frames,
            )
        )
    return blocks


def mixed_blocks() -> list[Block]:
    """Frames of one name and size whose compositions change back and forth, some of them crystals."""
    random = np.random.default_rng(3)
    blocks, row = [], 0
    for numbers, k, periodic in (
        ([8, 1], 3, 0),
        ([6, 1], 1, 0),
        ([8, 1], 9, 1),
        ([6, 1], 7, 0),
        ([8, 1], 2, 1),
    ):
        known = random.random(k) < 0.7
        stress = np.where(known[:, None, None], random.normal(size=(k, 3, 3)), np.nan)
        crystal = {"cells": 4 + random.random((k, 3, 3)) + 3 * np.eye(3), "pbc": np.ones((k, 3), bool)}
        blocks.append(
            Block(
                "mixed",
                np.array(numbers),
                random.normal(size=(k, 2, 3)),
                random.normal(size=k),
                random.normal(size=(k, 2, 3)),
                np.arange(row, row + k),
                **(crystal | {"stresses": stress} if periodic else {}),
                weights=random.choice([0.5, 1.0], k),
            )
        )
        row += k
    return blocks


def rotated(block: Block, seed: int = 0, shift: float = 3.0) -> Block:
    """The block turned (or reflected) and moved, forces with it."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return replace(block, positions=block.positions @ turn + shift, forces=block.forces @ turn)


class ToySource:
    """Blocks from memory."""

    level, units = "toy", "eV, Angstrom"

    def __init__(self, blocks: list[Block], published: dict[str, np.ndarray] | None = None):
        self._blocks, self._published = blocks, published
        self.notes: list[str] = []

    def blocks(self) -> Iterator[Block]:
        yield from self._blocks

    def splits(self) -> dict[str, np.ndarray] | None:
        return self._published
