"""Whether a reduced precision leaves the forces what they are."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # a language model asks for the first function alone, and waits for no library of graphs
    from torch_geometric.data import Data

    from chemscale.models.potential import Potential


@contextlib.contextmanager
def computing_in(precision: str, device: str) -> Iterator[None]:
    """The forward pass as a run in this precision has it."""
    if precision == "32":
        yield
        return
    if precision == "tf32":
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    with torch.autocast(device, dtype=dtype):
        yield


def force_error(potential: Potential, batch: Data, precision: str) -> float:
    """RMS difference of forces in a reduced precision from those in float64, over the RMS of the latter.

    Measured on a real batch with the potential's own weights, where it runs.
    """
    exact = copy.deepcopy(potential)
    exact.network.to(torch.float64)
    reference = exact(batch, create_graph=False).forces
    with computing_in(precision, batch.pos.device.type):
        reduced = potential(batch, create_graph=False).forces
    assert reference is not None
    assert reduced is not None
    return float((reduced - reference).square().mean().sqrt() / reference.square().mean().sqrt())
