"""Batches of a request, each a function of the request and its number alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chemscale.models.chemgpt import ChemGPT
from chemscale.molecules.conditions import open_prefix
from chemscale.molecules.generation.request import Request
from chemscale.molecules.generation.sampling import batch_generator, draw_sequences
from chemscale.molecules.tokenizers.opening import AnyTokenizer

STARTS_OF_A_BATCH = 8
"""A batch is parted among so many starts at most; the next batch takes the next ones."""


@dataclass
class Batch:
    """Whole sequences, what they begin with included.

    Args:
        ids: of each, without the begin symbol; one without an end symbol was truncated.
        nll: nats of each under the model itself, at temperature 1 and without constraints.
    """

    ids: list[list[int]]
    nll: list[float]


class Batches:
    """Draws the batches of a request.

    Args:
        model: that draws.
        tokenizer: of it.
        request: what is asked for.

    Raises:
        ValueError: the request does not fit the model.
    """

    def __init__(self, model: ChemGPT, tokenizer: AnyTokenizer, request: Request):
        self.model, self.request = model, request
        self.scaffold = request.scaffold_of(tokenizer)
        self.starts = request.starts(tokenizer, self.scaffold)
        self.processors = request.processors(tokenizer)
        self.banned = open_prefix(tokenizer).banned

    def draw(self, number: int, size: int) -> Batch:
        """One batch.

        Args:
            number: of the batch, from 0.
            size: sequences.

        Raises:
            ValueError: there is no room behind the start, or probabilities are not finite.
        """
        request, device = self.request, self.model.token_embedding.weight.device
        generator = batch_generator(request.seed, number, device)
        parts = min(STARTS_OF_A_BATCH, len(self.starts))
        batch = Batch([], [])
        for part in range(min(parts, size)):
            start = self.starts[(number * parts + part) % len(self.starts)].ids
            sampling = replace(request.sampling, max_length=request.sampling.max_length - len(start))
            drawn = draw_sequences(
                self.model,
                size // parts + (part < size % parts),
                sampling,
                generator,
                start=(*request.start_ids, *start),
                banned=self.banned,
                processors=self.processors,
            )
            begun = sum(drawn.start_nll[len(request.start_ids) :])
            batch.ids += [[*start, *ids] for ids in drawn.ids]
            batch.nll += [begun + nats for nats in drawn.nll]
        return batch
