"""Sections of the configuration that say what a language model learns from, and in which batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chemscale.common.sections import ConfigurationError, refuse_below_one


@dataclass(frozen=True)
class MoleculeData:
    """The section ``data`` of a language model (``conf/data/molecules.yaml`` says what each key means).

    Values that are hashed into the corpus's key keep the type that was written: 0 is not 0.0 there.

    Raises:
        ConfigurationError: a number outside its range.
    """

    source: str
    count: int = 50_000
    path: str | None = None
    molecules: int | None = None
    validation_molecules: int | None = 2000
    block: int = 512
    workers: int = 0
    prepare_workers: int | None = None
    verify: bool = False
    smiles_column: str | int | None = None
    validation_fraction: int | float = 0.02
    stereo: str = "keep"
    salts: str = "keep"
    charge: str = "keep"
    max_symbols: int = 510
    max_heavy_atoms: int | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigurationError(f"data.workers={self.workers}: give 0 or a number above it.")
        refuse_below_one("data", self, "count", "prepare_workers")


@dataclass(frozen=True)
class TokenBatch:
    """The section ``batch`` of a language model: what one optimizer step holds, over all ranks.

    Raises:
        ConfigurationError: a number that is not above 0.
    """

    tokens: int
    accumulate: int = 1
    per_gpu: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        refuse_below_one("batch", self, "tokens", "accumulate", "per_gpu")
