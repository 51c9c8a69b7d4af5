"""Negative log-likelihood of whole molecules under a language model, whatever batch they stand in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from chemscale.models.chemgpt import ChemGPT
from chemscale.models.layers.documents import Documents
from chemscale.molecules.batches import IGNORED


def sequence_nll(model: ChemGPT, sequences: Sequence[Sequence[int]], *, start: Sequence[int] = ()) -> Tensor:
    """(n,) nats of each sequence, float32; differentiable where gradients are recorded.

    All are packed into one flat batch without padding: the result of one does not depend on the others.

    Args:
        model: the language model; its device computes.
        sequences: ids of the symbols of each, without the begin symbol. One that ends with the end symbol
            is a whole molecule; one that does not was cut off, and only what is there counts.
        start: ids that stand before each, after the begin symbol (``conditions.prefix_ids``): they are given,
            their own likelihood is not counted.

    Raises:
        ValueError: no sequence, an empty one, or one longer than the model has positions.
    """
    given, lengths = len(start), [len(start) + len(each) for each in sequences]
    if not lengths or min(lengths) == given:
        raise ValueError("No sequence, or an empty one: there is nothing whose likelihood could be told.")
    config, device = model.config, model.token_embedding.weight.device
    if max(lengths) > config.max_positions:
        raise ValueError(
            f"A sequence of {max(lengths)} symbols: the model has {config.max_positions} positions."
        )
    targets = torch.tensor([i for each in sequences for i in (*[IGNORED] * given, *each)], device=device)
    before = (config.bos_id, *start)
    tokens = torch.tensor([i for each in sequences for i in (*before, *each[:-1])], device=device)
    sizes = torch.tensor(lengths)
    starts = sizes.cumsum(0) - sizes
    positions = (torch.arange(len(targets)) - starts.repeat_interleave(sizes)).to(device)
    logits = model(tokens, positions, Documents.from_lengths(lengths).to(device))
    nats = F.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="none")
    owner = torch.arange(len(lengths)).repeat_interleave(sizes).to(device)
    return torch.zeros(len(lengths), device=device).index_add(0, owner, nats)
