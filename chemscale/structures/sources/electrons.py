"""Total charge and multiplicity of ASE's atoms, by the names that other codes and data sets give them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
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


def is_electron_name(key: str) -> bool:
    """Whether a key is read as a total charge or a multiplicity.

    Args:
        key: of ``atoms.info``.
    """
    return _plain(key) in (*CHARGE, *MULTIPLICITY, *UNPAIRED)


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
        elif name not in (*MULTIPLICITY, *UNPAIRED) and _looks_like(name) and _is_whole(value):
            found.append(str(key))
    for key, values in (*atoms.arrays.items(), *getattr(atoms.calc, "results", {}).items()):
        if not stated and "charge" in _plain(key) and np.shape(values) == (len(atoms),):
            total = float(np.sum(values))
            if abs(total) > 0.5:
                found.append(f"{key} (its sum is {total:+.2f})")
    return found


@dataclass(frozen=True)
class ElectronNames:
    """Names of arrays of a file that hold total charges and multiplicities; empty where there are none.

    Args:
        charge: in e.
        spin: multiplicity 2S+1, or unpaired electrons.
        unused: arrays that look like one of them and are not read.
    """

    charge: str = ""
    spin: str = ""
    unused: tuple[str, ...] = ()

    @classmethod
    def among(cls, shapes: Mapping[str, tuple[int, ...]], frames: int) -> ElectronNames:
        """Find them by name and shape: one number, or one a frame.

        Args:
            shapes: of the arrays of a file, by name.
            frames: that it has.

        Raises:
            SourceError: several arrays are called a total charge, or a multiplicity.
        """
        single = [key for key, shape in shapes.items() if prod(shape) in (1, frames) and len(shape) < 3]
        found = []
        for names, what in ((CHARGE, "total charge"), ((*MULTIPLICITY, *UNPAIRED), "multiplicity")):
            named = [key for key in single if _plain(key) in names]
            if len(named) > 1:
                raise SourceError(f"several arrays hold the {what}: {', '.join(named)}. Remove all but one.")
            found.append(named[0] if named else "")
        unused = tuple(key for key in single if key not in found and _looks_like(_plain(key)))
        return cls(found[0], found[1], unused)

    def multiplicities(self, values: Any) -> Any:
        """Multiplicities 2S+1 of what the array `spin` holds.

        Args:
            values: of the array.
        """
        return np.asarray(values) + 1 if _plain(self.spin) in UNPAIRED else values

    def notes(self) -> Iterator[str]:
        """What is read and what is not, in sentences."""
        if self.charge or self.spin:
            yield f"Total charge and multiplicity: {self.charge or 'none'}, {self.spin or 'none'}."
        for key in self.unused:
            yield (
                f"{key} looks like a total charge or a multiplicity and was not read: call it charge, spin "
                "(2S+1) or unpaired_electrons."
            )


def can_be(numbers: np.ndarray, charge: int, spin: int) -> bool:
    """Whether a multiplicity fits the number of electrons: one is odd where the other is even.

    Args:
        numbers: (n,) atomic numbers.
        charge: total, in e.
        spin: multiplicity; 0, which is none, fits.
    """
    electrons = int(np.sum(numbers, dtype=np.int64)) - charge
    return spin == 0 or ((electrons + spin) % 2 == 1 and spin - 1 <= electrons)


class ElectronCount:
    """What the frames of a file say of their charges and multiplicities, for its notes."""

    def __init__(self) -> None:
        self.frames = self.stated = self.contradicted = 0
        self.used: Counter[str] = Counter()
        self.unused: Counter[str] = Counter()
        self.example = ""

    def read(self, atoms: Any) -> tuple[int, int]:
        """Total charge in e and multiplicity of a frame, as `charge_and_spin`.

        Args:
            atoms: ASE's.

        Raises:
            SourceError: as `charge_and_spin`.
        """
        charge, spin = charge_and_spin(atoms)
        names = {key: _plain(key) for key, value in atoms.info.items() if value is not None}
        self.frames += 1
        self.stated += any(name in CHARGE for name in names.values())
        self.used.update(
            str(key) for key, name in names.items() if name in (*CHARGE, *MULTIPLICITY, *UNPAIRED)
        )
        self.unused.update(unused_keys(atoms))
        if not can_be(atoms.numbers, charge, spin):
            electrons = int(atoms.numbers.sum()) - charge
            self.example = self.example or f"{electrons} electrons and multiplicity {spin}"
            self.contradicted += 1
        return charge, spin

    def notes(self) -> Iterator[str]:
        """What was read and what was not, in sentences."""
        named = [key for key in self.used if key not in ("charge", "spin")]
        if named:
            yield f"Total charges and multiplicities (2S+1) were read from {', '.join(self.used)}."
        if 0 < self.stated < self.frames:
            yield f"{self.frames - self.stated} frames state no total charge and were read as neutral."
        for key, frames in self.unused.items():
            yield (
                f"{key} in {frames} frames looks like a total charge or a multiplicity and was not read: "
                "call it charge, spin (2S+1) or unpaired_electrons."
            )
        if self.contradicted:
            yield (
                f"{self.contradicted} frames state a multiplicity that their electrons cannot have "
                f"({self.example}). Where a file counts unpaired electrons, call the key unpaired_electrons."
            )


@lru_cache(maxsize=4096)
def _plain(key: Any) -> str:
    name = re.sub(r"[\s\-.]+", "_", str(key).strip()).lower()
    return name.removeprefix("ref_").removeprefix("dft_")


@lru_cache(maxsize=4096)
def _looks_like(name: str) -> bool:
    return bool(_LOOKS_LIKE.search(name.replace("_", " "))) and not _OTHERS.search(name)


def _is_whole(value: Any) -> bool:
    array = np.asarray(value)
    return array.size == 1 and array.dtype.kind in "iuf" and bool((array == np.round(array)).all())


def _number(value: Any, kind: type[np.integer], key: Any) -> np.ndarray:
    if isinstance(value, (bool, np.bool_)) or np.size(value) != 1:
        raise SourceError(f"{key} must be one whole number, got {value!r}.")
    return whole(value if isinstance(value, str) else np.asarray(value).reshape(()), kind, str(key))


def _agreed(stated: dict[Any, int], what: str) -> int:
    if len(set(stated.values())) > 1:
        each = ", ".join(f"{key} ({value})" for key, value in stated.items())
        raise SourceError(f"it states the {what} more than once, and differently: {each}. Remove one.")
    return next(iter(stated.values()), 0)
