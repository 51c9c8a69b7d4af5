"""FLOPs of force training as PyTorch counts them: 6ND is wrong for potentials by 3 to 25 times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric.data import Data

from chemscale.models.potential import Potential

PHASES = ("forward", "force", "double_backward")


@dataclass(frozen=True)
class PotentialFlops:
    """FLOPs of matrix products in one training step as a linear function of what the batch holds.

    Each phase has a coefficient for an atom, an edge, and a pair of slots of padded structures (attention).
    """

    per_atom: dict[str, float]
    per_edge: dict[str, float]
    per_pair: dict[str, float]

    def of(self, atoms: int, edges: int, pairs: int, phases: tuple[str, ...] = PHASES) -> float:
        """FLOPs of a step on a batch."""
        return sum(
            self.per_atom[p] * atoms + self.per_edge[p] * edges + self.per_pair[p] * pairs for p in phases
        )


def count_potential_flops(potential: Potential, batch: Data, *, forces: bool = True) -> PotentialFlops:
    """Count three variants of a batch and solve for the coefficients, in which all layers are linear.

    The variants differ in edges alone (every second one left out) and in padded pairs alone (all atoms taken
    as one structure).
    """
    fewer = batch.clone()
    fewer.edge_index = batch.edge_index[:, ::2]
    if batch.get("edge_shift") is not None:
        fewer.edge_shift = batch.edge_shift[::2]
    merged = batch.clone()
    merged.ptr = batch.ptr[[0, -1]]
    merged.batch = torch.zeros_like(batch.batch)
    for key in ("charge", "spin", "energy"):
        merged[key] = batch[key][:1]
    if batch.get("cell") is not None:
        merged.cell = batch.cell[:1]
    variants = [batch, fewer, merged]
    rows = torch.tensor([_features(v) for v in variants], dtype=torch.float64)
    if rows[0, 2] == rows[2, 2]:
        variants, rows = variants[:2], rows[:2, :2]
    counted = [phase_flops(potential, variant, forces=forces) for variant in variants]
    coefficients = torch.linalg.lstsq(rows, torch.tensor(counted, dtype=torch.float64)).solution
    table = torch.zeros(3, len(PHASES), dtype=torch.float64)
    table[: coefficients.shape[0]] = coefficients
    by_kind = [dict(zip(PHASES, row, strict=True)) for row in table.clamp(min=0).tolist()]
    return PotentialFlops(*by_kind)


def _features(batch: Data) -> list[float]:
    sizes = batch.ptr[1:] - batch.ptr[:-1]
    return [batch.z.shape[0], batch.edge_index.shape[1], len(sizes) * int(sizes.max()) ** 2]


def phase_flops(potential: Potential, batch: Data, *, forces: bool = True) -> list[float]:
    """FLOPs of the forward pass, of the forces, and of the gradient of a loss on both, of one batch."""
    was_training = potential.training
    potential.train()

    def energy() -> Tensor:
        return potential(batch, forces=False).energy.sum()

    def both() -> Any:
        return potential(batch, forces=forces, create_graph=True)

    forward = _count(lambda: energy())
    result: list[Any] = []
    with_forces = _count(lambda: result.append(both()))
    loss = result[0].energy.square().sum()
    if forces:
        loss = loss + result[0].forces.square().sum()
    backward = _count(lambda: loss.backward())
    potential.zero_grad(set_to_none=True)
    potential.train(was_training)
    return [forward, with_forces - forward, backward]


def _count(run: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def saved_bytes(run: Callable[[], Any]) -> int:
    """Bytes that autograd keeps while `run` runs, each storage once: the activations of a step."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(seen.values())
