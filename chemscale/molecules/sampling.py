"""Molecules from a trained ChemGPT: batched sampling with a key-value cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from chemscale.models.chemgpt import ChemGPT, KeyValueCache


@dataclass(frozen=True)
class Sampling:
    """How the next symbol is drawn. The defaults sample the model's own distribution, untouched.

    Raises:
        ValueError: a setting outside its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_length: int = 512

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"--temperature {self.temperature}: must be above 0.")
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError("--top-k must not be negative, --top-p lies above 0 and at most at 1.")
        if self.max_length < 1:
            raise ValueError(f"--max-length {self.max_length}: must be at least 1.")


@torch.inference_mode()
def sample_batch(
    model: ChemGPT, batch: int, sampling: Sampling, generator: torch.Generator
) -> list[list[int]]:
    """Draw `batch` sequences of symbol ids; one that meets ``max_length`` lacks its end symbol.

    Finished sequences leave the batch, so the last long molecules do not cost a whole one.
    """
    config = model.config
    device = model.token_embedding.weight.device
    steps = min(sampling.max_length, config.max_positions)
    cache = KeyValueCache(config, batch, steps, model.token_embedding.weight)
    drawn = torch.full((batch, steps), config.pad_id, dtype=torch.int64, device=device)
    active = torch.arange(batch, device=device)
    tokens = torch.full((batch,), config.bos_id, dtype=torch.int64, device=device)
    banned = torch.tensor([config.pad_id, config.bos_id], device=device)
    for step in range(steps):
        logits = model.step(tokens, cache).float()
        logits[:, banned] = -torch.inf
        tokens = draw(logits, sampling, generator)
        drawn[active, step] = tokens
        going = tokens != config.eos_id
        if not going.all():
            active, tokens = active[going], tokens[going]
            if not len(active):
                break
            cache.keep(going)
    rows = drawn.tolist()
    return [row[: row.index(config.pad_id)] if config.pad_id in row else row for row in rows]


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """(B, V) → (B,) one id of each row."""
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        ordered, index = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        drop = torch.zeros_like(before, dtype=torch.bool).scatter(1, index, before >= sampling.top_p)
        logits = logits.masked_fill(drop, -torch.inf)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)


def sample(
    model: ChemGPT, number: int, sampling: Sampling, *, seed: int, batch: int = 256
) -> Iterator[list[list[int]]]:
    """Batches of sequences, `number` in all, the same for the same seed and batch size."""
    generator = torch.Generator(device=model.token_embedding.weight.device).manual_seed(seed)
    left = number
    while left > 0:
        yield sample_batch(model, min(batch, left), sampling, generator)
        left -= batch
