"""Base class of readers of data sets: a file, its units, its notes, and blocks that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers as known_symbols
from ase.data import chemical_symbols
from ase.symbols import Symbols

from chemscale.common.files import is_web_page
from chemscale.structures.blocks import Block, SourceError
from chemscale.structures.sources.labels import Place
from chemscale.structures.units import Units

NOT_STATED = "not stated"


class Reader:
    """A `Source` over one file.

    Args:
        path: the file.
        level: level of theory, for the manifest.
        units: what the file holds.

    Raises:
        SourceError: there is no such file.
    """

    def __init__(self, path: str | Path, level: str, units: Units):
        self.path = existing(path)
        self.kind = type(self).__name__
        """What kind of file it is: files of one kind are read alike."""
        self.level = level
        self.use(units)
        self.notes: list[str] = []
        self.places: list[Place] = []
        """Where the labels that were read stand, for the manifest."""
        self.left_out: dict[str, int] = {}
        """Frames that are in no block, by the reason, once the file has been read."""

    def use(self, units: Units) -> None:
        """Convert from these units.

        Args:
            units: what the file holds.
        """
        self.conversion = units
        self.units = units.describe()

    def blocks(self) -> Iterator[Block]:
        """Every frame, in file order, in bounded memory; eV and Å."""
        raise NotImplementedError

    def total(self) -> int | None:
        """Frames of the file, those left out as well, where they are known before they are read."""
        return None

    def splits(self) -> dict[str, np.ndarray] | None:
        """Published rows of each part; None where the file publishes none."""
        return None

    def note(self, text: str) -> None:
        """Add to the notes, once however often the file is read.

        Args:
            text: a sentence.
        """
        if text not in self.notes:
            self.notes.append(text)

    def block(self, *, numbers: np.ndarray, charges: Any = 0, spins: Any = 0, **fields: Any) -> Block:
        """A block whose error messages name this file.

        Args:
            numbers: (n,) atomic numbers.
            charges: (k,) total charges in e, or one for all frames; whole numbers.
            spins: (k,) multiplicities, or one for all frames; whole numbers.
            fields: the other fields of a ``Block``.

        Raises:
            SourceError: shapes, atomic numbers, charges or multiplicities that cannot be.
        """
        k, name = len(fields["positions"]), fields["name"]
        try:
            return Block(
                numbers=whole(numbers, np.uint8, f"{name}: atomic numbers"),
                charges=whole(np.broadcast_to(charges, k), np.int8, f"{name}: total charges"),
                spins=whole(np.broadcast_to(spins, k), np.uint8, f"{name}: multiplicities"),
                **fields,
            )
        except SourceError as error:
            raise SourceError(f"{self.path}: {error}") from None


def existing(path: str | Path) -> Path:
    """Return the path of a file that must exist.

    Args:
        path: of the file.

    Raises:
        SourceError: there is no such file, it is empty, or a page of the web.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceError(f"data.path={path}: there is no such file.")
    if not path.stat().st_size:
        raise SourceError(f"{path}: the file is empty.")
    with open(path, "rb") as file:
        if is_web_page(file.read(4096)):
            raise SourceError(
                f"{path}: a page of the web, which the server sent in place of the file. Fetch it again."
            )
    return path


def whole(values: Any, kind: type[np.integer], what: str) -> np.ndarray:
    """Convert numbers to integers, none of them rounded or wrapped around.

    Args:
        values: numbers.
        kind: integer type.
        what: they are, for messages.

    Raises:
        SourceError: one is not a whole number, or does not fit.
    """
    try:
        values = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise SourceError(f"{what} must be numbers, got {values!r}.") from None
    limits = np.iinfo(kind)
    good = (values == np.round(values)) & (values >= limits.min) & (values <= limits.max)
    if not good.all():
        raise SourceError(
            f"{what} must be whole numbers in {limits.min} … {limits.max}, got {values[~good].flat[0]}."
        )
    return values.astype(kind)


def numbers_of_frames(values: np.ndarray, k: int, n: int, what: str) -> np.ndarray:
    """Atomic numbers of k frames of n atoms: (n,) where all frames have the same, else (k, n).

    Args:
        values: numbers or symbols, (n,), (n, 1), (1, n), or (k, n) with 0 for atoms that are padding.
        k: frames.
        n: atoms.
        what: they are, for messages.

    Raises:
        SourceError: another shape, an array of objects, or a symbol that is no element's.
    """
    numbers = to_numbers(values)
    if numbers.shape == (k, n) and k > 1:
        alike = (numbers == numbers[0]).all() and (numbers[0] != 0).all()
        return numbers[0] if alike else numbers
    if numbers.shape in ((n,), (n, 1), (1, n)):
        return numbers.reshape(n)
    raise SourceError(f"{what} has shape {numbers.shape}, expected ({n},), or ({k}, {n}) for {k} frames.")


def per_frame(values: np.ndarray, k: int, what: str) -> np.ndarray:
    """One number a frame: (k,) of an array with k elements, such as (k, 1) or a single number.

    Args:
        values: of the file.
        k: frames.
        what: they are, for messages.

    Raises:
        SourceError: another number of elements, or no numbers.
    """
    try:
        if np.iscomplexobj(values):
            raise TypeError
        numbers = np.asarray(values).astype(np.float64)
    except (TypeError, ValueError):
        raise SourceError(f"{what} holds no numbers, but {np.asarray(values).dtype}.") from None
    if numbers.size != k:
        raise SourceError(f"{what} has shape {numbers.shape}, expected one number for each of {k} frames.")
    return numbers.reshape(k)


def to_numbers(species: np.ndarray) -> np.ndarray:
    """Atomic numbers of an array of symbols.

    Args:
        species: symbols (bytes or str); numbers are returned as they are.

    Raises:
        SourceError: a symbol is not an element's.
    """
    if species.dtype.kind in "iuf":
        return species
    if all(isinstance(s, (int, np.integer)) for s in species.flat):
        return species.astype(np.int64)
    symbols = [s.decode("ascii", "replace") if isinstance(s, bytes) else str(s) for s in species.flat]
    unknown = sorted({s for s in symbols if known_symbols.get(s, 0) == 0})
    if unknown:
        raise SourceError(f"species {', '.join(map(repr, unknown))}: no such element.")
    return np.array([known_symbols[s] for s in symbols], np.uint8).reshape(species.shape)


def formula(numbers: np.ndarray) -> str:
    """Chemical formula in Hill order; the numbers themselves where one is no element's.

    Args:
        numbers: (n,) atomic numbers.
    """
    if not all(0 < z < len(chemical_symbols) for z in numbers):
        return " ".join(f"{z:g}" for z in numbers[:20])
    return str(Symbols(np.asarray(numbers, dtype=int)).get_chemical_formula())
