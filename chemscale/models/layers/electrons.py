"""Ground-state electron configurations: what SpookyNet knows of an element before it has seen data."""

from __future__ import annotations

import torch
from torch import Tensor

SHELLS = ("1s", "2s", "2p", "3s", "3p", "4s", "3d", "4p", "5s", "4d", "5p", "6s", "4f", "5d", "6p")
"""Subshells in the order in which Madelung's rule fills them, up to radon."""

_CAPACITY = {"s": 2, "p": 6, "d": 10, "f": 14}
_HEAVIEST = 86
_EXCEPTIONS = {
    24: {"4s": 1, "3d": 5},
    29: {"4s": 1, "3d": 10},
    41: {"5s": 1, "4d": 4},
    42: {"5s": 1, "4d": 5},
    44: {"5s": 1, "4d": 7},
    45: {"5s": 1, "4d": 8},
    46: {"5s": 0, "4d": 10},
    47: {"5s": 1, "4d": 10},
    57: {"4f": 0, "5d": 1},
    58: {"4f": 1, "5d": 1},
    64: {"4f": 7, "5d": 1},
    78: {"6s": 1, "5d": 9},
    79: {"6s": 1, "5d": 10},
}
"""Neutral atoms that do not follow Madelung's rule (NIST Atomic Spectra Database, ground states)."""

_CORES = (2, 10, 18, 36, 54, 86)
DESCRIPTORS = 1 + len(SHELLS) + 4


def occupation(z: int) -> dict[str, int]:
    """Electrons in each subshell of a neutral atom.

    Raises:
        ValueError: an element beyond radon.
    """
    if not 1 <= z <= _HEAVIEST:
        raise ValueError(f"Z = {z}: electron configurations are known here up to Z = {_HEAVIEST}.")
    left, filled = z, {}
    for shell in SHELLS:
        filled[shell] = min(left, _CAPACITY[shell[1]])
        left -= filled[shell]
    return filled | _EXCEPTIONS.get(z, {})


def descriptors(elements: tuple[int, ...]) -> Tensor:
    """Electron configurations as numbers up to 1, (T, 20) for T elements.

    Z, electrons of each subshell, and valence electrons of s, p, d and f kind, each a share of its largest.

    Args:
        elements: atomic numbers.

    Raises:
        ValueError: an element beyond radon.
    """
    rows = []
    for z in elements:
        filled = occupation(z)
        core = occupation(max((c for c in _CORES if c < z), default=0)) if z > 2 else dict.fromkeys(SHELLS, 0)
        valence = dict.fromkeys(_CAPACITY, 0)
        for shell in SHELLS:
            valence[shell[1]] += filled[shell] - core[shell]
        row = [z / _HEAVIEST]
        row += [filled[shell] / _CAPACITY[shell[1]] for shell in SHELLS]
        row += [valence[kind] / size for kind, size in _CAPACITY.items()]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.get_default_dtype())
