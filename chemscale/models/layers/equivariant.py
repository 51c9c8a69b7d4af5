"""Features that carry irreducible representations of O(3), and the products that couple them.

A feature is a tensor (rows, I, U): U channels for each of the I components of a list of irreps, every irrep
of the list once (or once for each path that led to it). Channels lie innermost, so that each step is a dense
product over contiguous memory. e3nn gives the irreps, the spherical harmonics and the Wigner 3j symbols.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

import torch
from e3nn import o3
from torch import Tensor, nn

from chemscale.common.sections import Range
from chemscale.models.layers.activations import SILU_NORM
from chemscale.models.layers.trilinear import trilinear

Degree = Annotated[int, Range(0, 11)]
"""Of spherical harmonics: e3nn has them to degree 11."""
Irreps = tuple[o3.Irrep, ...]
SCALAR = o3.Irrep(0, 1)
TANH_NORM = 1.5927
"""1/√E[tanh(x)²] for standard normal x, as ``SILU_NORM``."""


def irreps_up_to(l_max: int, *, parity: bool) -> Irreps:
    """Irreps 0e, 1o, 2e, … to a degree, each once.

    Args:
        l_max: highest degree.
        parity: whether both parities of each degree are in it, or only that of the spherical harmonics.
    """
    both = [o3.Irrep(degree, p) for degree in range(l_max + 1) for p in (1, -1)]
    return tuple(ir for ir in both if parity or ir.p == (-1) ** ir.l)


def dimension(irreps: Sequence[o3.Irrep]) -> int:
    """Components of a list of irreps."""
    return sum(ir.dim for ir in irreps)


def slices(irreps: Sequence[o3.Irrep]) -> list[slice]:
    """Where the components of each irrep of a list lie."""
    found, start = [], 0
    for ir in irreps:
        found.append(slice(start, start + ir.dim))
        start += ir.dim
    return found


class SphericalHarmonics(nn.Module):
    """Y_l(v/|v|) for l = 0 … l_max, component normalised: (E, 3) → (E, (l_max + 1)²).

    Args:
        l_max: highest degree.
    """

    def __init__(self, l_max: int):
        super().__init__()
        self.irreps = irreps_up_to(l_max, parity=False)
        # Made once: e3nn's function of the same name makes this module anew at each call, in 0.5 to 1 ms.
        self.polynomials = o3.SphericalHarmonics(list(range(l_max + 1)), True, "component")

    def forward(self, vectors: Tensor) -> Tensor:
        return self.polynomials(vectors)


@lru_cache(maxsize=512)
def wigner_3j(a: int, b: int, c: int) -> Tensor:
    """Wigner 3j symbol, (2a+1, 2b+1, 2c+1): coupling of degrees a and b to c, float64, norm 1."""
    return o3.wigner_3j(a, b, c, dtype=torch.float64)


def coupling_paths(
    left: Irreps, right: Irreps, wanted: Sequence[o3.Irrep]
) -> list[tuple[int, int, o3.Irrep]]:
    """Every (index in left, index in right, irrep) that O(3) allows, ordered by the resulting irrep."""
    return [
        (i, j, ir)
        for ir in dict.fromkeys(wanted)
        for i, a in enumerate(left)
        for j, b in enumerate(right)
        if abs(a.l - b.l) <= ir.l <= a.l + b.l and ir.p == a.p * b.p
    ]


def coupling_tensor(left: Irreps, right: Irreps, paths: list[tuple[int, int, o3.Irrep]]) -> Tensor:
    """Coupling coefficients (K, I, J): component k of all paths from components i and j.

    Scaled so that independent unit-variance components give unit-variance components.
    """
    left_at, right_at, out_at = slices(left), slices(right), slices([ir for _, _, ir in paths])
    tensor = torch.zeros(
        dimension([ir for _, _, ir in paths]), dimension(left), dimension(right), dtype=torch.float64
    )
    for (i, j, ir), rows in zip(paths, out_at, strict=True):
        symbol = wigner_3j(left[i].l, right[j].l, ir.l) * math.sqrt(ir.dim)
        tensor[rows, left_at[i], right_at[j]] = symbol.permute(2, 0, 1)
    return tensor


class ChannelMixing(nn.Module):
    """Mixes channels, and the paths that lead to one irrep, for each irrep apart: (M, I, U) → (M, I', V).

    Args:
        irreps_in: irreps of the input, repeated where several paths lead to one, grouped by irrep.
        channels_in: U.
        irreps_out: irreps of the output, grouped; one may stand there several times (gates).
        channels_out: V.

    Raises:
        ValueError: an output irrep that no input leads to, or irreps that are not grouped.
    """

    def __init__(
        self,
        irreps_in: Sequence[o3.Irrep],
        channels_in: int,
        irreps_out: Sequence[o3.Irrep],
        channels_out: int,
    ):
        super().__init__()
        self.channels_in, self.channels_out = channels_in, channels_out
        self.blocks: list[tuple[slice, int, int, int]] = []
        weights = []
        wanted = list(dict.fromkeys(irreps_out))
        if list(irreps_out) != [ir for ir in wanted for _ in range(list(irreps_out).count(ir))]:
            raise ValueError("Output irreps must be grouped.")
        at = slices(irreps_in)
        for ir in wanted:
            sources = [i for i, candidate in enumerate(irreps_in) if candidate == ir]
            if not sources:
                raise ValueError(f"No path leads to {ir}.")
            copies = list(irreps_out).count(ir)
            self.blocks.append(
                (slice(at[sources[0]].start, at[sources[-1]].stop), len(sources), ir.dim, copies)
            )
            weights.append(nn.Parameter(torch.randn(len(sources) * channels_in, copies * channels_out)))
        self.weights = nn.ParameterList(weights)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.shape[0]
        outputs = []
        for (where, paths, dim, copies), weight in zip(self.blocks, self.weights, strict=True):
            part = (
                x[:, where]
                .view(rows, paths, dim, self.channels_in)
                .transpose(1, 2)
                .reshape(rows * dim, paths * self.channels_in)
            )
            mixed = part @ (weight * (weight.shape[0] ** -0.5))
            mixed = mixed.view(rows, dim, copies, self.channels_out).transpose(1, 2)
            outputs.append(mixed.reshape(rows, copies * dim, self.channels_out))
        return torch.cat(outputs, 1) if len(outputs) > 1 else outputs[0]


class ElementMixing(nn.Module):
    """Channel mixing with weights of each element: (N, I, U) → (N, I', V); 0 where no input irrep fits.

    Args:
        irreps_in: irreps of the input, each once.
        channels_in: U.
        irreps_out: irreps of the output, grouped; one may stand there several times.
        channels_out: V.
        types: number of elements.
    """

    def __init__(
        self,
        irreps_in: Irreps,
        channels_in: int,
        irreps_out: Sequence[o3.Irrep],
        channels_out: int,
        types: int,
    ):
        super().__init__()
        self.types, self.channels_out = types, channels_out
        at = slices(irreps_in)
        self.blocks: list[tuple[slice | None, int, int]] = []
        weights = []
        for ir in dict.fromkeys(irreps_out):
            copies = list(irreps_out).count(ir)
            where = at[irreps_in.index(ir)] if ir in irreps_in else None
            self.blocks.append((where, ir.dim, copies))
            if where is not None:
                weights.append(nn.Parameter(torch.randn(types, channels_in, copies * channels_out)))
        self.weights = nn.ParameterList(weights)

    def forward(self, x: Tensor, types: Tensor) -> Tensor:
        rows = x.shape[0]
        one_hot = torch.nn.functional.one_hot(types, self.types).to(x.dtype)[:, None, :, None]
        weights = iter(self.weights)
        outputs = []
        for where, dim, copies in self.blocks:
            if where is None:
                outputs.append(x.new_zeros(rows, copies * dim, self.channels_out))
                continue
            weight = next(weights)
            # One product for all elements: an atom's channels stand in the block of rows of its element.
            spread = (x[:, where, None, :] * one_hot).flatten(2)  # (N, 2l+1, T·U)
            mixed = spread @ (weight.flatten(0, 1) * (weight.shape[1] ** -0.5))
            mixed = mixed.view(rows, dim, copies, self.channels_out).transpose(1, 2)
            outputs.append(mixed.reshape(rows, copies * dim, self.channels_out))
        return torch.cat(outputs, 1)


class NeighbourCoupling(nn.Module):
    """What a neighbour's features become along an edge: x_j ⊗ Y(r̂) with a weight for each path and channel.

    (E, I, U), (E, J), (E, P, U) → (E, K, U) with K components of P paths ("uvu" in e3nn's terms).

    Args:
        irreps_in: of the features, I components.
        harmonics: irreps of the spherical harmonics, J components.
        wanted: irreps that paths may lead to.
    """

    coupling: Tensor
    path_of: Tensor

    def __init__(self, irreps_in: Irreps, harmonics: Irreps, wanted: Sequence[o3.Irrep]):
        super().__init__()
        paths = coupling_paths(irreps_in, harmonics, wanted)
        self.irreps_out = tuple(ir for _, _, ir in paths)
        self.paths = len(paths)
        tensor = coupling_tensor(irreps_in, harmonics, paths)  # (K, I, J)
        self.components, self.inputs = tensor.shape[:2]
        self.register_buffer(
            "coupling", tensor.permute(2, 0, 1).flatten(1).to(torch.get_default_dtype()), persistent=False
        )
        of_component = [p for p, ir in enumerate(self.irreps_out) for _ in range(ir.dim)]
        self.register_buffer("path_of", torch.tensor(of_component), persistent=False)

    def forward(self, x: Tensor, harmonics: Tensor, weights: Tensor) -> Tensor:
        matrices = (harmonics @ self.coupling).unflatten(1, (self.components, self.inputs))  # (E, K, I)
        return torch.bmm(matrices, x) * weights.index_select(1, self.path_of)


class ChannelCoupling(nn.Module):
    """Channel by channel product: (M, I, U), (M, J, U) → (M, K, U), one block of rows a path ("uuu").

    Args:
        left: irreps of the first factor, I components.
        right: irreps of the second factor, J components.
        wanted: irreps that paths may lead to.
    """

    coupling: Tensor

    def __init__(self, left: Irreps, right: Irreps, wanted: Sequence[o3.Irrep]):
        super().__init__()
        paths = coupling_paths(left, right, wanted)
        self.irreps_out = tuple(ir for _, _, ir in paths)
        tensor = coupling_tensor(left, right, paths)
        self.register_buffer("coupling", tensor.to(torch.get_default_dtype()), persistent=False)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return trilinear(self.coupling, left, right)


class Gate(nn.Module):
    """SiLU on even scalars, tanh on odd ones, and each other irrep times the SiLU of a scalar of its own.

    (N, I + G, U) → (N, I, U); the G gate scalars come first, as `irreps_in` has them.

    Args:
        irreps: of the output.
    """

    def __init__(self, irreps: Irreps):
        super().__init__()
        self.irreps = irreps
        self.gated = tuple(ir for ir in irreps if ir.l > 0)
        self.irreps_in: Irreps = (*(SCALAR for _ in self.gated), *irreps)

    def forward(self, x: Tensor) -> Tensor:
        gates, x = x[:, : len(self.gated)], x[:, len(self.gated) :]
        gates = torch.nn.functional.silu(gates) * SILU_NORM
        outputs, gate = [], 0
        for ir, where in zip(self.irreps, slices(self.irreps), strict=True):
            part = x[:, where]
            if ir.l > 0:
                outputs.append(part * gates[:, gate : gate + 1])
                gate += 1
            elif ir.p == 1:
                outputs.append(torch.nn.functional.silu(part) * SILU_NORM)
            else:
                outputs.append(torch.tanh(part) * TANH_NORM)
        return torch.cat(outputs, 1)
