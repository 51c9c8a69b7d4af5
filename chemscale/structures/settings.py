"""Sections of the configuration that say what a potential learns from, and in which batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from chemscale.common.sections import ConfigurationError, Count, Index, NotNegative, Range

if TYPE_CHECKING:
    from chemscale.structures.batches import BatchBudget
    from chemscale.structures.dispersion import Dispersion

Share = Annotated[int, Range(0, 1, below=True)] | Annotated[float, Range(0, 1, below=True)]
"""Of the frames or molecules, all of them left out."""


REFERENCES = ("fit", "minimum_norm", "isolated", "none")
"""Ways of finding reference energies (``structures.references``)."""


NEWER_UNITS = ("stress", "compression")
"""Of ``data.units``: keys that stores made by earlier versions did not have."""


@dataclass(frozen=True)
class StructureData:
    """The section ``data`` of a potential (``conf/data/frames.yaml`` says what each key means).

    Values that are hashed into the store's key keep the type that was written: 0 is not 0.0 there.

    Raises:
        ConfigurationError: files are to be read and none is named.
    """

    source: str
    count: Count = 2000
    method: Literal["GFN2-xTB", "GFN1-xTB"] = "GFN2-xTB"
    molecule: str | None = None
    path: str | None = None
    validation_path: str | None = None
    test_path: str | None = None
    format: str | None = None
    level: str | None = None
    split: Annotated[int, Range(1, 5)] | None = None
    units: dict[str, Any] | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    frames: Count | None = None
    selection: str | None = None
    selected: str | None = None
    validation_frames: Count | None = 500
    references: str | dict[str, Any] = "fit"
    weights: dict[str, NotNegative] | None = None
    workers: Index | None = None
    prepare_workers: Count | None = None
    verify: bool = False
    split_by: Literal["frame", "molecule"] = "frame"
    validation_fraction: Share = 0.1
    test_fraction: Share = 0.0
    split_seed: int = 0
    subtract: dict[str, Any] | None = None
    exclude: str | tuple[str, ...] | None = None
    exclude_level: Literal["identical", "molecule"] | NotNegative | None = None

    @property
    def excluded(self) -> tuple[str, ...]:
        """Names of ``exclude``."""
        return (self.exclude,) if isinstance(self.exclude, str) else self.exclude or ()

    def __post_init__(self) -> None:
        if self.source == "structures" and not self.path:
            raise ConfigurationError("data.path is missing: name a file, a folder or a pattern of frames.")
        _ = self.reference_method
        _ = self.dispersion

    @property
    def dispersion(self) -> Dispersion | None:
        """Dispersion that is subtracted from the labels; None for none.

        Raises:
            ConfigurationError: a method or functional that there is not.
        """
        if self.subtract is None:
            return None
        from chemscale.structures.dispersion import Dispersion, DispersionError  # not for --help

        try:
            return Dispersion.read("data.subtract", self.subtract)
        except (DispersionError, ImportError) as error:
            raise ConfigurationError(str(error)) from None

    @property
    def held_out_paths(self) -> dict[str, str]:
        """Where files of their own are for validation and testing, by part."""
        paths = {"validation": self.validation_path, "test": self.test_path}
        return {part: path for part, path in paths.items() if path is not None}

    @property
    def reference_method(self) -> str | dict[int, float]:
        """How reference energies are found, or eV of an atom by atomic number."""
        if isinstance(self.references, dict):
            return _atom_energies(self.references)
        if self.references not in REFERENCES:
            raise ConfigurationError(
                f"data.references={self.references!r}: choose {', '.join(REFERENCES)}, or give "
                "{H: -13.6, C: …} in eV."
            )
        return self.references

    @property
    def reading(self) -> dict[str, Any]:
        """How the files are read, as the store's key holds it: newer keys only where they are given."""
        units = {k: v for k, v in (self.units or {}).items() if k not in NEWER_UNITS or v is not None}
        return {
            "format": self.format,
            "level": self.level,
            "split": self.split,
            "units": units if self.units is not None else None,
            "energy_key": self.energy_key,
            "forces_key": self.forces_key,
            **({"stress_key": self.stress_key} if self.stress_key is not None else {}),
        }


def _atom_energies(given: dict[Any, Any]) -> dict[int, float]:
    """Energies by atomic number, of a mapping from symbols or atomic numbers."""
    from ase.data import atomic_numbers, chemical_symbols  # not for --help

    energies: dict[int, float] = {}
    for key, value in given.items():
        name = str(key).strip()
        z = int(name) if name.isdecimal() else atomic_numbers.get(name.capitalize(), 0)
        if isinstance(key, bool) or not 0 < z < len(chemical_symbols):
            raise ConfigurationError(
                f"data.references.{key}: no such element; give symbols, in quotes in YAML."
            )
        if z in energies:
            raise ConfigurationError(f"data.references.{key}: {chemical_symbols[z]} is given twice.")
        try:
            energies[z] = math.nan if isinstance(value, bool) else float(str(value).replace("\u2212", "-"))
        except ValueError:
            energies[z] = math.nan
        if not math.isfinite(energies[z]):
            shown = "null" if value is None else value
            raise ConfigurationError(
                f"data.references.{key}={shown}: give a number, eV of an atom of {chemical_symbols[z]}."
            )
    return energies


@dataclass(frozen=True)
class FrameBatch:
    """The section ``batch`` of a potential: the most that one optimizer step holds, over all ranks.

    Raises:
        BatchError: no limit at all, or one below 1.
    """

    frames: Count | None = None
    atoms: Count | None = None
    edges: Count | None = None
    accumulate: Count = 1
    per_gpu: Count | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        _ = self.budget

    @property
    def budget(self) -> BatchBudget:
        """The limits alone."""
        from chemscale.structures.batches import BatchBudget  # torch, which `prepare` does without

        return BatchBudget(self.frames, self.atoms, self.edges)
