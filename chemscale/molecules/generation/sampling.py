"""Sequences of symbols from a trained ChemGPT: batched sampling with a key-value cache.

Shapes: B sequences of a batch, V vocabulary, L symbols written so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chemscale.models.chemgpt import ChemGPT
from chemscale.models.layers.key_values import KeyValueCache

COMPACT_AT = 0.75
"""Share of a batch that is left when the finished sequences are taken out of the cache."""


class LogitsProcessor(Protocol):
    """What changes the scores of the next symbol; as ``transformers.LogitsProcessor``."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores, (B, V) → (B, V).

        Args:
            input_ids: (B, L) what each sequence holds so far, the begin symbol included.
            scores: (B, V) of the next symbol; -inf forbids one.
        """
        ...


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
        if not 0 < self.temperature < float("inf"):
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


@dataclass
class Sequences:
    """What was drawn.

    Args:
        ids: of each sequence behind its start; one without an end symbol was truncated.
        nll: nats of each, under the model itself: at temperature 1, with all symbols allowed.
        start_nll: nats of each symbol of the start, which all of them share.
    """

    ids: list[list[int]]
    nll: list[float]
    start_nll: list[float]


@torch.inference_mode()
def draw_sequences(
    model: ChemGPT,
    batch: int,
    sampling: Sampling,
    generator: torch.Generator,
    *,
    start: Sequence[int] = (),
    banned: Sequence[int] = (),
    processors: Sequence[LogitsProcessor] = (),
) -> Sequences:
    """Draw one batch of sequences, and their likelihoods.

    Finished sequences draw nothing more, and leave the batch once they are a quarter of it: the last long
    molecules do not cost a whole batch, and keys and values are rarely copied. A sequence that reaches
    ``max_length`` lacks its end symbol.

    Args:
        model: on the device of `generator`.
        batch: number of sequences.
        sampling: how symbols are drawn; ``max_length`` counts what is drawn behind the start.
        generator: of random numbers.
        start: ids that every sequence begins with, behind the begin symbol.
        banned: ids that are never drawn, besides padding and begin.
        processors: change the scores in their order, before temperature, top-k and top-p.

    Raises:
        ValueError: a start that leaves no position for another symbol, or probabilities that are not finite.
    """
    config = model.config
    device = model.token_embedding.weight.device
    prefix = [config.bos_id, *start]
    steps = min(sampling.max_length, config.max_positions - len(start))
    if steps < 1:
        raise ValueError(
            f"A start of {len(start)} symbols leaves no room: the model has {config.max_positions} positions."
        )
    cache = KeyValueCache(config.layers)
    written = torch.full((batch, len(prefix) + steps), config.pad_id, dtype=torch.int64, device=device)
    written[:, : len(prefix)] = torch.tensor(prefix, device=device)
    nats = torch.zeros(batch, device=device)
    sequences = torch.arange(batch, device=device)  # which one each row of the cache is
    rows = sequences  # of the cache, that are not finished
    never = torch.tensor([config.pad_id, config.bos_id, *banned], device=device)
    with sampling.autocast(device):  # weights are cast once
        start_nll = _read(model, prefix, cache)
        if len(start):
            cache.keep(torch.zeros(batch, dtype=torch.int64, device=device))
        tokens = written[:, len(prefix) - 1].clone()
        for at in range(len(prefix), len(prefix) + steps):
            logits = model.step(tokens, cache)
            logits = (logits if len(rows) == len(tokens) else logits[rows]).float()
            scores = logits.index_fill(1, never, -torch.inf)
            for process in processors:
                scores = process(written[sequences[rows], :at], scores)
            symbols = draw(scores, sampling, generator)
            written[sequences[rows], at] = symbols
            nats[sequences[rows]] += F.cross_entropy(logits, symbols, reduction="none")
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
    ids = written[:, len(prefix) :].tolist()
    whole = [row[: row.index(config.pad_id)] if config.pad_id in row else row for row in ids]
    return Sequences(whole, nats.tolist(), start_nll)


def _read(model: ChemGPT, prefix: list[int], cache: KeyValueCache) -> list[float]:
    """Put all of a prefix but its last symbol into the cache, as one sequence; nats of each but the first."""
    tokens = torch.tensor(prefix, device=model.token_embedding.weight.device)
    found = []
    for token, following in zip(tokens[:-1, None], tokens[1:, None], strict=True):
        found.append(F.cross_entropy(model.step(token, cache).float(), following))
    return torch.stack(found).tolist() if found else []


def sample_batch(
    model: ChemGPT,
    batch: int,
    sampling: Sampling,
    generator: torch.Generator,
    *,
    start: Sequence[int] = (),
    banned: Sequence[int] = (),
    processors: Sequence[LogitsProcessor] = (),
) -> list[list[int]]:
    """Draw one batch of sequences of symbol ids; arguments and errors as ``draw_sequences``.

    Args:
        model: on the device of `generator`.
        batch: number of sequences.
        sampling: how symbols are drawn.
        generator: of random numbers.
        start: ids that every sequence begins with; they are not repeated in what is returned.
        banned: ids that are never drawn, besides padding and begin.
        processors: change the scores of the next symbol.
    """
    return draw_sequences(
        model, batch, sampling, generator, start=start, banned=banned, processors=processors
    ).ids


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Draw one id from each row of logits, (B, V) → (B,).

    Args:
        logits: (B, V).
        sampling: how symbols are drawn.
        generator: of random numbers.

    Raises:
        ValueError: the logits are not finite.
    """
    probabilities = allowed(logits / sampling.temperature, sampling).softmax(-1)
    if not probabilities.isfinite().all():
        raise ValueError(
            "The model gives probabilities that are not finite: it diverged, or --temperature is too low for "
            "it. Sample an earlier checkpoint, or nearer to --temperature 1."
        )
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)


def allowed(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits of which all but the likeliest are -inf, as top-k and top-p say, (B, V) → (B, V).

    Args:
        logits: (B, V), divided by the temperature.
        sampling: top-k and top-p.
    """
    if 0 < sampling.top_k < logits.shape[-1]:
        lowest = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < lowest, -torch.inf)
    if sampling.top_p < 1:
        ordered, index = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        drop = torch.zeros_like(before, dtype=torch.bool).scatter(1, index, before >= sampling.top_p)
        logits = logits.masked_fill(drop, -torch.inf)
    return logits


def batch_generator(seed: int, number: int, device: torch.device) -> torch.Generator:
    """Random numbers of one batch: a function of the seed and the batch's number alone.

    Args:
        seed: of the whole sample.
        number: of the batch, from 0.
        device: that draws.

    Raises:
        ValueError: a negative seed.
    """
    if seed < 0:
        raise ValueError(f"--seed {seed}: must not be negative.")
    state = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(state) >> 1)


def sample(
    model: ChemGPT,
    number: int,
    sampling: Sampling,
    *,
    seed: int,
    batch: int = 256,
    start: Sequence[int] = (),
    banned: Sequence[int] = (),
    processors: Sequence[LogitsProcessor] = (),
) -> Iterator[list[list[int]]]:
    """Draw sequences of symbol ids, the same for the same seed and batch size.

    Args:
        model: a trained ChemGPT.
        number: sequences in all.
        sampling: how symbols are drawn.
        seed: of random numbers.
        batch: sequences drawn together.
        start: ids that every sequence begins with; they are not repeated in what is yielded.
        banned: ids that are never drawn, besides padding and begin.
        processors: change the scores of the next symbol.

    Yields:
        A batch of sequences.
    """
    device = model.token_embedding.weight.device
    for index, first in enumerate(range(0, number, batch)):
        generator = batch_generator(seed, index, device)
        yield sample_batch(
            model,
            min(batch, number - first),
            sampling,
            generator,
            start=start,
            banned=banned,
            processors=processors,
        )
