"""Molecules from a trained ChemGPT: batched sampling with a key-value cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chemscale.models.chemgpt import ChemGPT
from chemscale.models.layers.key_values import KeyValueCache

COMPACT_AT = 0.75
"""Share of a batch that is left when the finished sequences are taken out of the cache."""


@dataclass(frozen=True)
class Sampling:
    """How the next symbol is drawn; the defaults sample the model's own distribution, untouched.

    Args:
        temperature: logits are divided by it.
        top_k: only so many likeliest symbols; 0 for all.
        top_p: only the likeliest symbols that together have this probability.
        max_length: symbols at most, the end included.
        precision: of matrix products, and of the keys and values that are kept: ``32`` or ``bf16``.

    Raises:
        ValueError: a setting outside its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_length: int = 512
    precision: str = "32"

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"--temperature {self.temperature}: must be above 0.")
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError("--top-k must not be negative, --top-p lies above 0 and at most at 1.")
        if self.max_length < 1:
            raise ValueError(f"--max-length {self.max_length}: must be at least 1.")
        if self.precision not in ("32", "bf16"):
            raise ValueError(f"--precision {self.precision}: choose 32 or bf16.")

    def autocast(self, device: torch.device) -> torch.autocast:
        """Within it a model computes in `precision`.

        Args:
            device: of the model.
        """
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


@torch.inference_mode()
def sample_batch(
    model: ChemGPT,
    batch: int,
    sampling: Sampling,
    generator: torch.Generator,
    *,
    start: Sequence[int] = (),
    banned: Sequence[int] = (),
) -> list[list[int]]:
    """Draw one batch of sequences of symbol ids.

    Finished sequences draw nothing more, and leave the batch once they are a quarter of it: the last long
    molecules do not cost a whole batch, and keys and values are rarely copied. A sequence that reaches
    ``max_length`` lacks its end symbol.

    Args:
        model: on the device of `generator`.
        batch: number of sequences.
        sampling: how symbols are drawn.
        generator: of random numbers.
        start: ids that all sequences begin with, after the begin symbol; they are not returned.
        banned: ids that are never drawn, besides padding and begin.

    Raises:
        ValueError: the model has no position left after `start`.
    """
    config = model.config
    device = model.token_embedding.weight.device
    steps = min(sampling.max_length, config.max_positions - len(start))
    if steps < 1:
        raise ValueError(
            f"{len(start)} symbols to begin with: the model has {config.max_positions} positions."
        )
    cache = KeyValueCache(config.layers)
    drawn = torch.full((batch, steps), config.pad_id, dtype=torch.int64, device=device)
    sequences = torch.arange(batch, device=device)  # which one each row of the cache is
    rows = sequences  # of the cache, that are not finished
    tokens = torch.full((batch,), config.bos_id, dtype=torch.int64, device=device)
    never = torch.tensor([config.pad_id, config.bos_id, *banned], device=device)
    with sampling.autocast(device):  # weights are cast once
        for symbol in start:
            model.step(tokens, cache)
            tokens = torch.full_like(tokens, symbol)
        for step in range(steps):
            logits = model.step(tokens, cache)
            logits = (logits if len(rows) == len(tokens) else logits[rows]).float()
            logits[:, never] = -torch.inf
            symbols = draw(logits, sampling, generator)
            drawn[sequences[rows], step] = symbols
            tokens[rows] = symbols
            going = symbols != config.eos_id
            if not going.all():
                rows = rows[going]
                if not len(rows):
                    break
                if len(rows) <= COMPACT_AT * len(tokens):
                    cache.keep(rows)
                    tokens, sequences = tokens[rows], sequences[rows]
                    rows = torch.arange(len(rows), device=device)
    ids = drawn.tolist()
    return [row[: row.index(config.pad_id)] if config.pad_id in row else row for row in ids]


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Draw one id from each row of logits, (B, V) → (B,).

    Args:
        logits: (B, V).
        sampling: how symbols are drawn.
        generator: of random numbers.

    Raises:
        ValueError: the logits are not finite.
    """
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        lowest = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < lowest, -torch.inf)
    if sampling.top_p < 1:
        ordered, index = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        drop = torch.zeros_like(before, dtype=torch.bool).scatter(1, index, before >= sampling.top_p)
        logits = logits.masked_fill(drop, -torch.inf)
    probabilities = logits.softmax(-1)
    if not probabilities.isfinite().all():
        raise ValueError(
            "The model gives probabilities that are not finite: it diverged, or --temperature is too low for "
            "it. Sample an earlier checkpoint, or nearer to --temperature 1."
        )
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)


def sample(
    model: ChemGPT,
    number: int,
    sampling: Sampling,
    *,
    seed: int,
    batch: int = 256,
    start: Sequence[int] = (),
    banned: Sequence[int] = (),
) -> Iterator[list[list[int]]]:
    """Draw sequences of symbol ids, the same for the same seed and batch size.

    Args:
        model: a trained ChemGPT.
        number: sequences in all.
        sampling: how symbols are drawn.
        seed: of random numbers.
        batch: sequences drawn together.
        start: ids that all sequences begin with, after the begin symbol; they are not returned.
        banned: ids that are never drawn, besides padding and begin.

    Yields:
        A batch of sequences.
    """
    generator = torch.Generator(device=model.token_embedding.weight.device).manual_seed(seed)
    left = number
    while left > 0:
        yield sample_batch(model, min(batch, left), sampling, generator, start=start, banned=banned)
        left -= batch
