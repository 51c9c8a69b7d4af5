"""The agent as a policy: molecules that it draws, and the step that moves it towards a target likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from chemscale.models.chemgpt import ChemGPT
from chemscale.molecules.conditions import Opening
from chemscale.molecules.generation.sampling import Sampling, sample_batch
from chemscale.molecules.likelihood import sequence_nll
from chemscale.molecules.preparation.standardize import ANY_LENGTH, Molecule, standardize
from chemscale.molecules.tokenizers.opening import AnyTokenizer
from chemscale.reinforcement.objective import squared_distance

PACK = 64
"""Sequences of one forward and backward pass: memory does not grow with the batch."""


class DivergedError(ValueError):
    """An agent whose loss is no number any more."""


@dataclass(frozen=True)
class Draw:
    """One sequence that the agent drew.

    Args:
        ids: of its symbols, the end included where there is one.
        smiles: canonical; empty where it is no molecule, or was cut off.
    """

    ids: tuple[int, ...]
    smiles: str


def random_seed(seed: int, step: int, purpose: int = 0) -> np.random.SeedSequence:
    """Random numbers of a step: a pure function of the seed and its number, so that none are to be saved."""
    return np.random.SeedSequence((seed, step, purpose))


def draw(
    agent: ChemGPT,
    tokenizer: AnyTokenizer,
    batch: int,
    sampling: Sampling,
    *,
    opening: Opening,
    seed: int,
    step: int,
) -> list[Draw]:
    """Molecules of the agent's own distribution, each sequence once.

    Args:
        agent: that draws.
        tokenizer: of the agent.
        batch: sequences that are drawn.
        sampling: how symbols are drawn.
        opening: what stands before each of them, and what is never drawn.
        seed: of the run.
        step: number of the step.
    """
    state = int(random_seed(seed, step).generate_state(1, np.uint64)[0]) >> 1
    generator = torch.Generator(device=agent.token_embedding.weight.device).manual_seed(state)
    drawn = sample_batch(agent, batch, sampling, generator, start=opening.start, banned=opening.banned)
    sequences = dict.fromkeys(map(tuple, drawn))
    return [Draw(ids, _molecule(tokenizer, ids)) for ids in sequences if ids]


def _molecule(tokenizer: AnyTokenizer, ids: Sequence[int]) -> str:
    if ids[-1] != tokenizer.eos_id:
        return ""
    found = standardize(tokenizer.to_smiles(ids), ANY_LENGTH)
    return found.smiles if isinstance(found, Molecule) else ""


@torch.no_grad()
def nats(model: ChemGPT, sequences: Sequence[Sequence[int]], start: Sequence[int] = ()) -> Tensor:
    """(n,) nats of sequences under a model, behind `start`, without gradients."""
    parts = (sequences[i : i + PACK] for i in range(0, len(sequences), PACK))
    return torch.cat([sequence_nll(model, part, start=start) for part in parts])


def update(
    agent: ChemGPT,
    optimizer: torch.optim.Optimizer,
    sequences: Sequence[Sequence[int]],
    target: Tensor,
    start: Sequence[int] = (),
) -> float:
    """Move the agent one step towards target likelihoods; the loss before it.

    Args:
        agent: that learns.
        optimizer: of its weights.
        sequences: ids.
        target: (n,) nats that each should need.
        start: ids that stand before each.

    Raises:
        DivergedError: the loss or a gradient is not finite; the weights are as they were.
    """
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for first in range(0, len(sequences), PACK):
        part = slice(first, first + PACK)
        distance = squared_distance(sequence_nll(agent, sequences[part], start=start), target[part])
        loss = distance.sum() / len(sequences)
        loss.backward()
        total += loss.item()
    gradients = [p.grad for p in agent.parameters() if p.grad is not None]
    if not (np.isfinite(total) and all(bool(gradient.isfinite().all()) for gradient in gradients)):
        raise DivergedError(
            "The agent diverged (its loss is not finite). Begin again in another folder with a lower "
            "--learning-rate or a smaller --sigma; what was scored is in molecules.csv."
        )
    optimizer.step()
    return total
