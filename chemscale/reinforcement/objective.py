"""What an agent is moved towards: the prior's likelihood, augmented by the score.

Olivecrona, Blaschke, Engkvist and Chen, J. Cheminf. 9, 48 (2017), equation 4:
log P_augmented(x) = log P_prior(x) + σ s(x), and the loss is the mean of (log P_augmented − log P_agent)².
Here everything is in nats of negative log-likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def augmented_nll(prior_nll: Tensor, rewards: Tensor, sigma: float) -> Tensor:
    """(n,) nats that the agent should need for each molecule.

    Args:
        prior_nll: (n,) nats that the prior needs.
        rewards: (n,) from 0 to 1.
        sigma: nats of a reward of 1.
    """
    return prior_nll - sigma * rewards


def squared_distance(agent_nll: Tensor, target: Tensor) -> Tensor:
    """(n,) squared nats between what the agent needs and what it should."""
    return (target - agent_nll).square()


def best_part(rewards: Sequence[float], fraction: float) -> list[int]:
    """Places of the best part of a batch, in their order; of equals those that were drawn first.

    Thomas, O'Boyle, Bender and de Graaf, J. Cheminf. 14, 68 (2022): learning from the best half alone needs
    many times fewer molecules.

    Args:
        rewards: of the batch.
        fraction: kept, one at least.
    """
    kept = max(1, math.floor(fraction * len(rewards)))
    order = torch.tensor(rewards, dtype=torch.float64).argsort(descending=True, stable=True)
    return sorted(order[:kept].tolist())
