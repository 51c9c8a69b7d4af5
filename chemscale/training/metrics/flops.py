"""FLOPs of force training as PyTorch counts them: 6ND is wrong for potentials by 3 to 25 times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from chemscale.models.adaptation.lora import adapter_product_flops

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from chemscale.models.potential import Potential

PHASES = ("forward", "force", "double_backward")


@dataclass(frozen=True)
class PotentialFlops:
    """FLOPs of matrix products in one training step as a linear function of what the batch holds.

    Each phase has a coefficient for an atom, an edge, a pair of slots of padded structures (attention) and a
    structure (what is computed of total charge and spin).
    """

    coefficients: dict[str, tuple[float, float, float, float]]

    def of(
        self, atoms: int, edges: int, pairs: int, structures: int, phases: tuple[str, ...] = PHASES
    ) -> float:
        """FLOPs of a step on a batch."""
        amounts = (atoms, edges, pairs, structures)
        return sum(c * n for phase in phases for c, n in zip(self.coefficients[phase], amounts, strict=True))


def count_potential_flops(potential: Potential, batch: Data, *, forces: bool = True) -> PotentialFlops:
    """Count variants of a batch and solve for the coefficients, in which all layers are linear.

    The variants differ in edges (every second one left out) and in how the same atoms are divided into
    structures: one for all, or one for each.
    """
    fewer = batch.clone()
    fewer.edge_index, fewer.sender_order = batch.edge_index[:, ::2], None
    if batch.get("edge_shift") is not None:
        fewer.edge_shift = batch.edge_shift[::2]
    atoms = batch.z.shape[0]
    variants = [
        batch,
        fewer,
        _divided(batch, torch.tensor([0, atoms])),
        _divided(batch, torch.arange(atoms + 1)),
    ]
    features = torch.tensor([_features(v) for v in variants], dtype=torch.float64)
    counted = [phase_flops(potential, variant, forces=forces) for variant in variants]
    scale = features.amax(0)  # the system is solved in units of its largest numbers
    solved = torch.linalg.lstsq(
        features / scale, torch.tensor(counted, dtype=torch.float64), driver="gelsd"
    ).solution
    table = (solved / scale[:, None]).clamp(min=0)
    return PotentialFlops({phase: tuple(table[:, i].tolist()) for i, phase in enumerate(PHASES)})


def _divided(batch: Data, ptr: Tensor) -> Data:
    """The same atoms and edges as other structures: nothing physical, but every layer does its work."""
    other = batch.clone()
    other.ptr = ptr
    structures = len(ptr) - 1
    sizes = ptr[1:] - ptr[:-1]
    other.batch = torch.repeat_interleave(torch.arange(structures), sizes)
    other.largest = int(sizes.max())
    for key in ("charge", "spin", "energy"):
        other[key] = batch[key][:1].repeat(structures)
    if batch.get("cell") is not None:
        other.cell = batch.cell[:1].repeat(structures, 1, 1)
    return other


def _features(batch: Data) -> list[float]:
    sizes = batch.ptr[1:] - batch.ptr[:-1]
    return [batch.z.shape[0], batch.edge_index.shape[1], len(sizes) * int(sizes.max()) ** 2, len(sizes)]


def phase_flops(potential: Potential, batch: Data, *, forces: bool = True) -> list[float]:
    """FLOPs of the forward pass, of the forces, and of the gradient of a loss on both, of one batch.

    What depends on a distance alone is counted for every edge, as papers have it, although it is computed
    once for the two edges between neighbours: compute means the same on both sides of that change. Products
    of two matrices of an adapter are left out: one batch has as many as another.
    """
    batch = batch.clone()
    batch.halves = batch.pair_of = batch.both = None
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
    products = adapter_product_flops(potential)
    return [forward - products, with_forces - forward, backward - 2 * products]


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
