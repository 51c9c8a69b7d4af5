"""What is asked of a generation: every row follows from it and the number of its batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from chemscale.molecules.generation.constraints import Forbidden, Limits, MinimumLength
from chemscale.molecules.generation.sampling import LogitsProcessor, Sampling
from chemscale.molecules.generation.starts import (
    PromptError,
    Scaffold,
    Start,
    longest,
    prompt_start,
    scaffold_starts,
)
from chemscale.molecules.tokenizers.opening import AnyTokenizer

TRIES = 20
"""Sequences drawn at most for each molecule that is asked for, where only some are kept."""


@dataclass(frozen=True)
class Request:
    """Molecules that are asked for.

    Args:
        n: in all.
        sampling: how symbols are drawn.
        prompt: texts that molecules begin with, in turns.
        scaffold: SMILES that molecules grow from.
        start_ids: ids between the begin symbol and the molecule, such as conditions; no part of it.
        forbid: symbols that must not be written.
        max_heavy_atoms: at most; None for any number.
        max_rings: at most; None for any number.
        min_length: symbols at least, the end not counted.
        valid: keep valid molecules only.
        unique: keep the first of equal molecules only, and so valid ones only.
        batch: sequences drawn together.
        seed: of random numbers.

    Raises:
        ValueError: a number out of range, or a prompt and a scaffold together.
    """

    n: int
    sampling: Sampling = field(default_factory=Sampling)
    prompt: Sequence[str] = ()
    scaffold: str | None = None
    start_ids: Sequence[int] = ()
    forbid: Sequence[str] = ()
    max_heavy_atoms: int | None = None
    max_rings: int | None = None
    min_length: int = 0
    valid: bool = False
    unique: bool = False
    batch: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("batch", 1), ("seed", 0), ("min_length", 0)):
            if getattr(self, name) < least:
                option = name.replace("_", "-")
                raise ValueError(f"--{option} {getattr(self, name)}: must be at least {least}.")
        if self.min_length >= self.sampling.max_length:
            raise ValueError(
                f"--min-length {self.min_length}: must be below --max-length {self.sampling.max_length}, "
                "which counts the end."
            )
        if self.prompt and self.scaffold is not None:
            raise ValueError("--prompt and --scaffold: give one of them, each is what molecules begin with.")

    @property
    def filters(self) -> bool:
        """Whether some of what is drawn is not kept."""
        return self.valid or self.unique

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name."""
        return asdict(self)

    def scaffold_of(self, tokenizer: AnyTokenizer) -> Scaffold | None:
        """The scaffold and how it is written; None where none is asked for.

        Args:
            tokenizer: of the model.

        Raises:
            PromptError: molecules of the model cannot begin with it.
        """
        return None if self.scaffold is None else scaffold_starts(tokenizer, self.scaffold)

    def starts(self, tokenizer: AnyTokenizer, scaffold: Scaffold | None) -> tuple[Start, ...]:
        """What molecules begin with; one of no symbols where nothing is asked for.

        Args:
            tokenizer: of the model.
            scaffold: as ``scaffold_of`` gave it.

        Raises:
            PromptError: no room is left behind it, or molecules of the model cannot begin with it.
        """
        found = tuple(prompt_start(tokenizer, text) for text in self.prompt)
        found = scaffold.starts if scaffold is not None else found or (Start((), ""),)
        if longest(found) >= self.sampling.max_length:
            raise PromptError(
                f"--max-length {self.sampling.max_length}: what molecules begin with has {longest(found)} "
                "symbols already."
            )
        return found

    def processors(self, tokenizer: AnyTokenizer) -> list[LogitsProcessor]:
        """The constraints, in the order in which they are applied.

        Args:
            tokenizer: of the model.

        Raises:
            ValueError: a constraint that the tokenizer cannot hold.
        """
        skip = len(self.start_ids)
        found: list[LogitsProcessor] = []
        if self.forbid:
            found.append(Forbidden(tokenizer, self.forbid))
        if self.max_heavy_atoms is not None or self.max_rings is not None:
            limits = {"heavy_atoms": self.max_heavy_atoms, "rings": self.max_rings}
            found.append(Limits(tokenizer, **limits, skip=skip))
        if self.min_length:
            found.append(MinimumLength(tokenizer, self.min_length, skip))
        return found
