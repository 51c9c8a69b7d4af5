"""Numbers that may still lie on a device, read together: reading one makes the host wait for the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def read_values(values: Sequence[Tensor | float]) -> list[float]:
    """All values as Python numbers, in one transfer.

    Args:
        values: tensors of one element, on one device, of any types; or numbers.
    """
    tensors = [value.detach().double().reshape(()) for value in values if isinstance(value, Tensor)]
    read = iter(torch.stack(tensors).tolist() if tensors else ())
    return [next(read) if isinstance(value, Tensor) else float(value) for value in values]


def read_rows(rows: Sequence[Sequence[Tensor | float]]) -> list[list[float]]:
    """The same for rows of any lengths.

    Args:
        rows: of values as ``read_values`` takes them.
    """
    read = iter(read_values([value for row in rows for value in row]))
    return [[next(read) for _ in row] for row in rows]
