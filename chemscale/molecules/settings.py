"""Sections of the configuration that say what a language model learns from, and in which batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from chemscale.common.sections import ConfigurationError, Count, Index, Range

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}
"""Delimiters of cells by the names that need no quoting on a command line."""
Notation = Literal["selfies", "smiles", "deepsmiles", "safe"]
Share = Annotated[int, Range(0, 1, below=True)] | Annotated[float, Range(0, 1, below=True)]
"""Of the molecules, all of them left out."""


@dataclass(frozen=True)
class MoleculeData:
    """The section ``data`` of a language model (``conf/data/molecules.yaml`` says what each key means).

    Values that are hashed into the corpus's key keep the type that was written: 0 is not 0.0 there.

    Raises:
        ConfigurationError: files are to be read and none is named.
    """

    source: str
    count: Count = 50_000
    pieces: Literal[2, 3] | None = None
    path: str | None = None
    molecules: Count | None = None
    validation_molecules: Count | None = 2000
    block: Count = 512
    workers: Index | None = None
    prepare_workers: Count | None = None
    verify: bool = False
    smiles_column: str | int | None = None
    delimiter: str | None = None
    encoding: str | None = None
    validation_fraction: Share = 0.02
    stereo: Literal["keep", "strip"] = "keep"
    salts: Literal["keep", "largest", "drop"] = "keep"
    charge: Literal["keep", "neutralize"] = "keep"
    max_symbols: Count = 510
    max_heavy_atoms: Count | None = None
    tokenizer: str | None = None
    notation: Notation | None = None
    common_to: tuple[Notation, ...] | None = None
    condition: str | tuple[str, ...] | None = None
    condition_bins: Annotated[int, Range(2, 1000)] = 10
    condition_dropout: Share = 0.1
    exclude: str | tuple[str, ...] | None = None
    exclude_level: (
        Literal["identical", "connectivity", "parent", "scaffold"]
        | Annotated[int, Range(0, 1)]
        | Annotated[float, Range(0, 1)]
        | None
    ) = None
    exclude_column: str | int | None = None

    @property
    def excluded(self) -> tuple[str, ...]:
        """Names of ``exclude``."""
        return (self.exclude,) if isinstance(self.exclude, str) else self.exclude or ()

    @property
    def conditions(self) -> tuple[str, ...] | None:
        """Names of ``condition``; None for none."""
        names = (self.condition,) if isinstance(self.condition, str) else self.condition
        return names or None

    def __post_init__(self) -> None:
        if self.source == "smiles" and not self.path:
            raise ConfigurationError("data.path is missing: name a file, a folder or a pattern of molecules.")
        if self.delimiter is not None and len(self.delimiter) != 1 and self.delimiter not in DELIMITERS:
            raise ConfigurationError(
                f"data.delimiter={self.delimiter!r}: one character, or one of {', '.join(DELIMITERS)}."
            )
        if self.encoding is not None and not _is_encoding(self.encoding):
            raise ConfigurationError(
                f"data.encoding={self.encoding!r}: not an encoding; utf-8, cp1252, latin-1 and utf-16 are."
            )


def _is_encoding(name: str) -> bool:
    try:
        b"C".decode(name)
    except UnicodeError:
        return True
    except LookupError:
        return False
    return True


@dataclass(frozen=True)
class TokenBatch:
    """The section ``batch`` of a language model: what one optimizer step holds, over all ranks."""

    tokens: Count
    accumulate: Count = 1
    per_gpu: Count | Literal["auto"] | None = None
