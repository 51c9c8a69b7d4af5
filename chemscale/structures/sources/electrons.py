"""Total charge and multiplicity of ASE's atoms, by the names that other codes and data sets give them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources.base import whole

CHARGE = (
    *("charge", "total_charge", "tot_charge", "net_charge"),
    *("molecular_charge", "molecule_charge", "system_charge"),
)
"""Names of the total charge in e: OMol25, ORB and AIMNet2 have the first, MACE and nequip the second."""

MULTIPLICITY = (
    *("spin", "total_spin", "multiplicity", "mult"),
    *("spin_multiplicity", "spin_mult", "total_spin_multiplicity"),
)
"""Names of the multiplicity 2S+1: the first of OMol25 and ORB, the second of MACE, ``mult`` of AIMNet2."""

UNPAIRED = (
    *("unpaired_electrons", "unpaired", "n_unpaired", "num_unpaired", "nopen", "uhf"),
    *("n_unpaired_electrons", "num_unpaired_electrons", "number_of_unpaired_electrons"),
)
"""Names of the number of unpaired electrons 2S, as xtb counts them: one less than the multiplicity."""

_LOOKS_LIKE = re.compile(r"charge|spin|multiplicity|\bmult\b|unpaired|magmom|^q$|^s$")
_OTHERS = re.compile(
    r"spin_?(polari|orbit|restricted|constraint)|discharge|recharge|nuclear_charge|charge_state"
)


def charge_and_spin(atoms: Any) -> tuple[int, int]:
    """Total charge in e and multiplicity 2S+1 that ``atoms.info`` states.

    Names are those of `CHARGE`, `MULTIPLICITY` and `UNPAIRED`, in any case and also behind ``REF_``.

    Args:
        atoms: ASE's.

    Returns:
        The charge, 0 where it is not stated, and the multiplicity, 0 where it is not stated.

    Raises:
        SourceError: one is no whole number or out of range, or two names state different values.
    """
    charges, spins = {}, {}
    for key, value in atoms.info.items():
        name = _plain(key)
        if value is None:
            continue
        if name in CHARGE:
            charges[key] = int(_number(value, np.int8, key))
        elif name in MULTIPLICITY:
            spins[key] = int(_number(value, np.uint8, key))
        elif name in UNPAIRED:
            spins[key] = int(_number(value, np.uint8, key)) + 1
    return _agreed(charges, "total charge"), _agreed(spins, "multiplicity")


def unused_keys(atoms: Any) -> list[str]:
    """Keys of atoms that look like a total charge or a multiplicity and are not read as one.

    An array of one value an atom is named only where its sum is a charge and none is stated.

    Args:
        atoms: ASE's.
    """
    found = []
    stated = False
    for key, value in atoms.info.items():
        name = _plain(key)
        if name in CHARGE:
            stated = True
        elif name not in (*MULTIPLICITY, *UNPAIRED) and _looks_like(name) and _is_number(value):
            found.append(str(key))
    for key, values in atoms.arrays.items():
        if not stated and "charge" in _plain(key) and values.ndim == 1 and values.dtype.kind in "if":
            total = float(values.sum())
            if abs(total) > 0.5:
                found.append(f"{key} (its sum is {total:+.2f})")
    return found


def can_be(numbers: np.ndarray, charge: int, spin: int) -> bool:
    """Whether a multiplicity fits the number of electrons: one is odd where the other is even.

    Args:
        numbers: (n,) atomic numbers.
        charge: total, in e.
        spin: multiplicity; 0, which is none, fits.
    """
    electrons = int(np.sum(numbers, dtype=np.int64)) - charge
    return spin == 0 or ((electrons + spin) % 2 == 1 and spin - 1 <= electrons)


def _plain(key: Any) -> str:
    name = re.sub(r"[\s\-.]+", "_", str(key).strip()).lower()
    return name.removeprefix("ref_").removeprefix("dft_")


def _looks_like(name: str) -> bool:
    return bool(_LOOKS_LIKE.search(name.replace("_", " "))) and not _OTHERS.search(name)


def _is_number(value: Any) -> bool:
    array = np.asarray(value)
    return array.size == 1 and array.dtype.kind in "iuf"


def _number(value: Any, kind: type[np.integer], key: Any) -> np.ndarray:
    if isinstance(value, (bool, np.bool_)) or np.size(value) != 1:
        raise SourceError(f"{key} must be one whole number, got {value!r}.")
    return whole(np.asarray(value).reshape(()), kind, str(key))


def _agreed(stated: dict[Any, int], what: str) -> int:
    if len(set(stated.values())) > 1:
        each = ", ".join(f"{key} ({value})" for key, value in stated.items())
        raise SourceError(f"it states the {what} more than once, and differently: {each}. Remove one.")
    return next(iter(stated.values()), 0)
