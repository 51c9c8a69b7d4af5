"""Hidden states of whole molecules, pooled to one vector each, whatever batch they stand in.

Shapes: n molecules, T tokens of a flat batch, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from chemscale.models.chemgpt import ChemGPT
from chemscale.models.layers.documents import Documents

POOLINGS = ("mean", "last", "max")


class PoolingError(ValueError):
    """A layer that the model has not, or a pooling that there is not."""


def layer_number(model: ChemGPT, layer: int) -> int:
    """A layer counted from 0, the embeddings; negative numbers count from the last one, -1.

    As ``hidden_states`` of ``transformers``: layer i is what block i gives, the last one after the last norm.

    Args:
        model: the language model.
        layer: as a person gave it.

    Raises:
        PoolingError: the model has no such layer.
    """
    last = model.config.layers
    number = layer + last + 1 if layer < 0 else layer
    if not 0 <= number <= last:
        raise PoolingError(f"layer={layer}: this model has layers 0 (embeddings) to {last}, -1 is the last.")
    return number


def check_pooling(pooling: str) -> str:
    """A pooling that there is.

    Raises:
        PoolingError: there is no such pooling.
    """
    if pooling not in POOLINGS:
        raise PoolingError(f"pooling={pooling}: choose {', '.join(POOLINGS)}.")
    return pooling


def pooled_states(
    model: ChemGPT,
    sequences: Sequence[Sequence[int] | np.ndarray],
    *,
    layer: int = -1,
    pooling: str = "mean",
    start: Sequence[int] = (),
) -> Tensor:
    """(n, D) one vector a molecule, float32; differentiable where gradients are recorded.

    All are packed into one flat batch without padding, behind a begin symbol each. Pooled are the states of
    the molecule's own symbols: not those of the begin symbol and of what stands before the molecule, nor an
    end's, which a model never reads in training.

    Args:
        model: the language model; its device computes.
        sequences: ids of the symbols of each, without begin and end.
        layer: 0 for the embeddings, i for what block i gives, -1 or the number of blocks for the last one.
        pooling: mean over the symbols | last symbol, which has seen all others | max over the symbols.
        start: ids between the begin symbol and each molecule (``conditions.open_prefix``).

    Raises:
        PoolingError: no such layer or pooling.
        ValueError: no sequence, or an empty one.
    """
    number, sizes = layer_number(model, layer), torch.tensor([len(each) for each in sequences])
    check_pooling(pooling)
    if not len(sizes) or not sizes.min():
        raise ValueError("No molecule, or one without a symbol: there is nothing to embed.")
    before = np.array([model.config.bos_id, *start])
    hidden, first = _hidden(model, sequences, sizes, number, before)
    if pooling == "last":
        return hidden[first + (sizes + len(start)).to(first.device)].float()
    own = torch.ones(len(hidden), dtype=torch.bool, device=hidden.device)
    own[(first[:, None] + torch.arange(len(before), device=first.device)).ravel()] = False
    states = hidden[own]
    if pooling == "max":
        return torch.segment_reduce(states.float(), "max", lengths=sizes.to(states.device))
    owner = torch.arange(len(sizes)).repeat_interleave(sizes).to(states.device)
    # Sums in double: the result then hardly depends on how the device orders them.
    total = torch.zeros(len(sizes), states.shape[1], dtype=torch.float64, device=states.device)
    total = total.index_add(0, owner, states.double())
    return (total / sizes.to(states.device)[:, None]).float()


def _hidden(
    model: ChemGPT,
    sequences: Sequence[Sequence[int] | np.ndarray],
    sizes: Tensor,
    layer: int,
    before: np.ndarray,
) -> tuple[Tensor, Tensor]:
    """(T, D) states of a flat batch with the same ids before each molecule, and (n,) where these begin."""
    device = model.token_embedding.weight.device
    flat = np.concatenate([part for each in sequences for part in (before, np.asarray(each))])
    lengths = sizes + len(before)
    first = lengths.cumsum(0) - lengths
    positions = torch.arange(len(flat)) - first.repeat_interleave(lengths)
    documents = Documents.from_lengths(lengths.numpy()).to(device)
    tokens = torch.from_numpy(flat.astype(np.int64)).to(device)
    x = model.token_embedding(tokens) + model.position_embedding(positions.to(device))
    for block in model.blocks[:layer]:
        x = block(x, documents)
    return (model.norm(x) if layer == model.config.layers else x), first.to(device)


def length_batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices of molecules of similar length, as many at a time as make up a flat batch.

    Args:
        lengths: symbols of each molecule.
        tokens: of a batch at most, begin symbols included; a longer molecule stands alone.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    batch: list[int] = []
    filled = 0
    for index in order.tolist():
        size = int(lengths[index]) + 1
        if batch and filled + size > tokens:
            yield batch
            batch, filled = [], 0
        batch.append(index)
        filled += size
    if batch:
        yield batch
