"""Last-layer features of a potential: what its energy is linear in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from chemscale.models.atom_graph import Connectivity
from chemscale.models.layers.activations import ScaledMLP
from chemscale.models.layers.segments import Segments, segment_sum
from chemscale.models.potential import Potential
from chemscale.models.potentials import PotentialError


@dataclass
class Features:
    """Last-layer features of B structures.

    The energy of a structure is its feature vector times the weights of the last layer, and what does not
    depend on them: the features are its derivative by these weights.

    Args:
        of_structures: (B, P) eV a unit of the weights.
        energy: (B,) eV.
        connectivity: of the batch.
        leaves: edge vectors (and those of all pairs), by which features can be differentiated.
        atomic_energies: (N,) eV.
    """

    of_structures: Tensor
    energy: Tensor
    connectivity: Connectivity
    leaves: list[Tensor]
    atomic_energies: Tensor


def last_layer_features(potential: Potential, data: Data, *, differentiable: bool = False) -> Features:
    """Run a potential and collect the features of its last layer.

    The input of the last linear layer of each readout is caught as the network runs (MACE has a readout a
    layer, whose features stand side by side). What it is multiplied by on the way to the energy (the scale;
    in Allegro the cutoff of each edge) is the energy's derivative by the output of the readout, exactly,
    since the energy is linear in it. Rows are then summed over the atoms, or edges, of a structure. A bias
    counts as a feature of ones.

    Args:
        potential: of any family.
        data: a batch, as ``Potential.forward`` takes it.
        differentiable: whether features are wanted as a function of the edge vectors.

    Raises:
        PotentialError: an architecture of which this is not known.
    """
    connectivity = potential.connectivity(data)
    vectors, pairs = potential.vectors(data, data.pos.detach())
    with torch.enable_grad():
        leaves = [leaf.requires_grad_(differentiable) for leaf in (vectors, pairs) if leaf is not None]
        with _caught(readouts_of(potential)) as caught:
            atomic = potential.energies_of(connectivity, vectors, pairs)
        outputs = [each.output for each in caught]
        # A batch of lone atoms has no edges, and Allegro then no row to read out.
        weights = torch.autograd.grad(
            atomic.sum(), outputs, create_graph=differentiable, allow_unused=True, materialize_grads=True
        )
        columns = [
            _summed(each, weight, connectivity, potential)
            for each, weight in zip(caught, weights, strict=True)
        ]
        features = torch.cat(columns, 1)
        energy = segment_sum(atomic, connectivity.structures)
    if not differentiable:
        features = features.detach()
    return Features(features, energy.detach(), connectivity, leaves, atomic.detach())


def readouts_of(potential: Potential) -> list[nn.Module]:
    """Modules whose last linear layer gives energies: ``network.readout``, or each of ``network.readouts``.

    Raises:
        PotentialError: the network has neither, or one of another kind.
    """
    network: Any = potential.network
    found = list(getattr(network, "readouts", None) or [getattr(network, "readout", None)])
    known = all(
        isinstance(each, ScaledMLP | nn.Linear)
        or (isinstance(each, nn.Sequential) and len(each) and isinstance(each[-1], nn.Linear))
        for each in found
    )
    if not known:
        raise PotentialError(
            f"{type(network).__name__}: its last layer is not known. Call the module from features to "
            "energies `readout` (or `readouts`, a list): torch.nn.Linear, a Sequential that ends in one, or "
            "ScaledMLP."
        )
    return found


def last_weights(readout: nn.Module) -> list[Tensor]:
    """The weights that features belong to, those of the last layer and its bias.

    Args:
        readout: of ``readouts_of``.
    """
    if isinstance(readout, ScaledMLP):
        return [readout.weights[-1]]
    linear = readout if isinstance(readout, nn.Linear) else readout[-1]  # type: ignore[index]
    assert isinstance(linear, nn.Linear)
    return [linear.weight] if linear.bias is None else [linear.weight, linear.bias]


@dataclass
class _Caught:
    """What went through a readout: (R, F) features of its last layer, and its (R, 1) output."""

    hidden: Tensor = field(default_factory=lambda: torch.empty(0))
    output: Tensor = field(default_factory=lambda: torch.empty(0))


@contextmanager
def _caught(readouts: list[nn.Module]) -> Iterator[list[_Caught]]:
    """Hooks on readouts for as long as the block lasts."""
    found = [_Caught() for _ in readouts]

    def hook(into: _Caught) -> Any:
        def catch(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
            into.hidden = _hidden(module, given[0])
            into.output = output if output.requires_grad else output.detach().requires_grad_()
            return into.output

        return catch

    handles = [
        readout.register_forward_hook(hook(into)) for readout, into in zip(readouts, found, strict=True)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _hidden(readout: nn.Module, x: Tensor) -> Tensor:
    """Input of the last layer, a one beside it where that has a bias: ∂output/∂weights, (R, P)."""
    if isinstance(readout, ScaledMLP):
        hidden = readout.hidden(x)
        return hidden * hidden.shape[-1] ** -0.5
    hidden = readout[:-1](x) if isinstance(readout, nn.Sequential) else x
    return (
        hidden if len(last_weights(readout)) == 1 else torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1)
    )


def _summed(caught: _Caught, weight: Tensor, c: Connectivity, potential: Potential) -> Tensor:
    """Weighted rows summed over each structure, (B, P) float64."""
    rows = caught.hidden.double() * weight.double()
    if getattr(potential.network, "reads_out_edges", False):
        of_edges = Segments(c.batch.index_select(0, c.receivers), c.receiver_offsets.index_select(0, c.ptr))
        return segment_sum(rows, of_edges)
    return segment_sum(rows, c.structures)
