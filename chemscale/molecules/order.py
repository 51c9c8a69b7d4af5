"""The order of the data as a pure function of (seed, position): nothing to save, nothing to replay."""

from __future__ import annotations

import hashlib

import numpy as np

_ROUNDS = 4


class Permutation:
    """A random-access shuffle of 0 … n-1 in constant memory.

    A Feistel network over the smallest even number of bits that holds n, walked until the value falls
    below n (cycle walking, Black and Rogaway 2002), so any window of the order costs only its own size.

    Args:
        n: number of items.
        key: numbers that choose the order, such as a seed and an epoch.

    Raises:
        ValueError: n is below 1.
    """

    def __init__(self, n: int, *key: int):
        if n < 1:
            raise ValueError(f"Cannot shuffle {n} items.")
        self.n = n
        self.half_bits = max(1, ((n - 1).bit_length() + 1) // 2)
        digest = hashlib.blake2b(repr((n, *key)).encode(), digest_size=8 * _ROUNDS).digest()
        self.round_keys = np.frombuffer(digest, dtype="<u8")

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """Items at positions of the order, (k,) → (k,)."""
        value = self._encrypt(np.asarray(index, dtype=np.uint64))
        outside = np.flatnonzero(value >= self.n)
        while outside.size:
            value[outside] = self._encrypt(value[outside])
            outside = outside[value[outside] >= self.n]
        return value.astype(np.int64)

    def _encrypt(self, value: np.ndarray) -> np.ndarray:
        bits = np.uint64(self.half_bits)
        mask = np.uint64((1 << self.half_bits) - 1)
        left, right = value >> bits, value & mask
        for key in self.round_keys:
            left, right = right, left ^ (mix(right ^ key) & mask)
        return (left << bits) | right


def mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64, on uint64: every input bit moves every output bit; 0 stays 0."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
