"""Whether a reduced precision leaves the forces what they are."""

from __future__ import annotations

import copy

import torch
from torch_geometric.data import Data

from chemscale.models.potential import Potential


def force_error(potential: Potential, batch: Data, dtype: torch.dtype) -> float:
    """RMS difference of forces under autocast to `dtype` from those in float64, over the RMS of the latter.

    Measured on a real batch with the potential's own weights, where it runs.
    """
    exact = copy.deepcopy(potential)
    exact.network.to(torch.float64)
    reference = exact(batch, create_graph=False).forces
    with torch.autocast(batch.pos.device.type, dtype=dtype):
        reduced = potential(batch, create_graph=False).forces
    assert reference is not None
    assert reduced is not None
    return float((reduced - reference).square().mean().sqrt() / reference.square().mean().sqrt())
