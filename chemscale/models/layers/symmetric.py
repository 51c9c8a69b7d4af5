"""All products of up to ν atomic features that are equivariant: the basis of the atomic cluster expansion."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn import functional

from chemscale.models.layers.equivariant import Irreps, dimension, slices, wigner_3j

Polynomial = dict[tuple[int, ...], float]
"""Monomial (indices of its factors, ascending) → coefficient."""


class SymmetricContraction(nn.Module):
    """B = Σ_ν Σ_η W[Z, ν, η] · C[ν, η] · A^⊗ν for each channel (MACE, Batatia et al. 2022, Eqs. 10 and 11).

    The products of ν components that are the same in another order are taken once: on monomials the
    contraction is a single matrix product shared by all atoms and channels. (N, I, U) → (N, I', U).

    Shapes: N atoms, I components of the input, U channels, P paths, M monomials.

    Args:
        irreps_in: of the atomic basis A.
        irreps_out: of the result B.
        channels: U.
        correlation: highest ν.
        types: number of elements.
    """

    def __init__(self, irreps_in: Irreps, irreps_out: Irreps, channels: int, correlation: int, types: int):
        super().__init__()
        self.irreps_out, self.correlation = irreps_out, correlation
        size = dimension(irreps_in)
        self.sizes = []
        for degree in range(1, correlation + 1):
            monomials = list(itertools.combinations_with_replacement(range(size), degree))
            if degree > 1:
                # A monomial of degree ν is one of degree ν - 1 times its last factor.
                before = {
                    m: i
                    for i, m in enumerate(itertools.combinations_with_replacement(range(size), degree - 1))
                }
                heads = torch.tensor([before[m[:-1]] for m in monomials])
                tails = torch.tensor([m[-1] for m in monomials])
                self.register_buffer(f"heads_{degree}", heads, persistent=False)
                self.register_buffer(f"tails_{degree}", tails, persistent=False)
            bases = [equivariant_basis(irreps_in, ir, degree) for ir in irreps_out]
            matrix = torch.cat([basis.flatten(0, 1) for basis in bases])  # (Σ P·(2l+1), M)
            self.register_buffer(f"basis_{degree}", matrix.to(torch.get_default_dtype()), persistent=False)
            self.sizes.append([basis.shape[0] for basis in bases])
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.randn(types, sum(paths), channels)) for paths in self.sizes]
        )

    def forward(self, x: Tensor, types: Tensor) -> Tensor:
        total: list[Tensor | None] = [None] * len(self.irreps_out)
        monomials = x
        for degree in range(1, self.correlation + 1):
            if degree > 1:
                heads, tails = getattr(self, f"heads_{degree}"), getattr(self, f"tails_{degree}")
                monomials = monomials.index_select(1, heads) * x.index_select(1, tails)  # (N, M, U)
            products = torch.matmul(getattr(self, f"basis_{degree}"), monomials)  # (N, ΣP(2l+1), U)
            weights = functional.embedding(types, self.weights[degree - 1].flatten(1))
            weights = weights.unflatten(1, (-1, x.shape[2]))  # (N, ΣP, U)
            row = path = 0
            for index, (ir, paths) in enumerate(zip(self.irreps_out, self.sizes[degree - 1], strict=True)):
                if not paths:
                    continue
                part = products[:, row : row + paths * ir.dim].unflatten(1, (paths, ir.dim))
                weighted = part * weights[:, path : path + paths, None, :] / math.sqrt(paths)
                term, so_far = weighted.sum(1), total[index]
                total[index] = term if so_far is None else so_far + term
                row, path = row + paths * ir.dim, path + paths
        return torch.cat(
            [
                x.new_zeros(x.shape[0], ir.dim, x.shape[2]) if part is None else part
                for ir, part in zip(self.irreps_out, total, strict=True)
            ],
            1,
        )


@lru_cache(maxsize=64)
def equivariant_basis(irreps_in: Irreps, target: o3.Irrep, degree: int) -> Tensor:
    """An orthonormal basis of the equivariant polynomials of one degree, (P, 2l+1, M), float64.

    Components are coupled one by one along every tree; polynomials that come out dependent are removed.
    M counts the monomials of the degree in ``itertools.combinations_with_replacement`` order.

    Args:
        irreps_in: of the factors.
        target: irrep of the result.
        degree: number of factors.
    """
    index = {
        m: i
        for i, m in enumerate(itertools.combinations_with_replacement(range(dimension(irreps_in)), degree))
    }
    rows = []
    for tree in _trees(irreps_in, degree, target):
        table = torch.zeros(target.dim, len(index), dtype=torch.float64)
        for k, polynomial in enumerate(tree):
            for monomial, value in polynomial.items():
                table[k, index[monomial]] = value
        rows.append(table)
    if not rows:
        return torch.zeros(0, target.dim, len(index), dtype=torch.float64)
    # Norms of polynomials of independent standard normal variables are near those of their coefficients.
    stacked = torch.stack(rows).flatten(1)
    _, values, basis = torch.linalg.svd(stacked, full_matrices=False)
    kept = basis[values > 1e-6 * values[0]] if values[0] > 1e-9 else basis[:0]
    return kept.unflatten(1, (target.dim, len(index))) * math.sqrt(target.dim)


@lru_cache(maxsize=256)
def _trees(irreps_in: Irreps, degree: int, target: o3.Irrep) -> list[list[Polynomial]]:
    """Every coupling tree of `degree` factors that ends in `target`, as one polynomial a component."""
    at = slices(irreps_in)
    if degree == 1:
        return [
            [{(i,): 1.0} for i in range(at[n].start, at[n].stop)]
            for n, ir in enumerate(irreps_in)
            if ir == target
        ]
    found = []
    highest = (degree - 1) * max(ir.l for ir in irreps_in)
    for n, ir in enumerate(irreps_in):
        for middle in (
            o3.Irrep(degree_l, target.p * ir.p)
            for degree_l in range(abs(target.l - ir.l), min(highest, target.l + ir.l) + 1)
        ):
            symbol = wigner_3j(middle.l, ir.l, target.l)
            for tree in _trees(irreps_in, degree - 1, middle):
                found.append([_couple(tree, at[n].start, symbol[:, :, k]) for k in range(target.dim)])
    return found


def _couple(tree: list[Polynomial], start: int, symbol: Tensor) -> Polynomial:
    """Component of a tree of polynomials coupled to one more factor.

    Args:
        tree: a polynomial for each component of what is coupled so far.
        start: index of the first component of the new factor.
        symbol: (components, components) coupling coefficients.
    """
    result: Polynomial = {}
    for i, j in torch.nonzero(symbol.abs() > 1e-12).tolist():
        factor = float(symbol[i, j])
        for monomial, value in tree[i].items():
            key = tuple(sorted((*monomial, start + j)))
            result[key] = result.get(key, 0.0) + factor * value
    return result
