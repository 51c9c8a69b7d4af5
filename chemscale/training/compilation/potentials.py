"""Compiled training steps of interatomic potentials: energies, forces, and the gradient of a loss on both."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch._dynamo.exc import RecompileError
from torch_geometric.data import Data

from chemscale.models.potential import Potential, Prediction, largest_of
from chemscale.tasks.potential import InteratomicPotential
from chemscale.training.compilation.comparison import Difference, compare
from chemscale.training.compilation.graph import CompiledGraph, compile_graph, warn_once

SLOTS = "slots"
"""(n,) of no meaning but its size: the number of atoms of the largest structure."""
VARYING = {
    "z": (0,),
    "pos": (0,),
    "edge_index": (1,),
    "batch": (0,),
    "ptr": (0,),
    "sender_order": (0,),
    "halves": (0,),
    "pair_of": (0,),
    "both": (0,),
    "half_offsets": (0,),
    "charge": (0,),
    "spin": (0,),
    "cell": (0,),
    "edge_shift": (0,),
    SLOTS: (0,),
}
"""What a potential reads of a batch, and which dimensions differ from batch to batch."""


class CompiledPotential:
    """Predicts as a potential does, through one compiled graph for batches of every size.

    A batch that the graph does not hold for (a single structure, no edge, crystals where there were none at
    first) is predicted by the model itself.

    Args:
        model: the potential.
        graph: compiled of it.
        forces: whether forces are wanted.
        stress: whether the graph has the stress of crystals among its outputs.
    """

    def __init__(self, model: Potential, graph: CompiledGraph, *, forces: bool, stress: bool = False):
        self.model, self.graph, self.forces, self.stress = model, graph, forces, stress

    def __call__(self, batch: Data) -> Prediction:
        """Predict a batch as ``Potential.forward`` does, in training.

        Args:
            batch: as it takes it.
        """
        tensors = read_tensors(self.model, batch)
        if self.graph.takes(tensors):
            try:
                return _prediction(self.graph(tensors), self.forces, self.stress)
            except RecompileError as error:  # sizes of another kind, such as sums beyond 2³¹ numbers
                warn_once(error)
        return self.model(batch, forces=self.forces, stress=self.stress and batch.get("cell") is not None)


def _prediction(outputs: tuple[Tensor, ...], forces: bool, stress: bool) -> Prediction:
    energy, atomic, *rest = outputs
    return Prediction(
        energy, atomic, rest[0] if forces else None, stress=rest[int(forces)] if stress else None
    )


def compile_potential(
    task: InteratomicPotential, example: Data, backend: str = "inductor"
) -> tuple[CompiledPotential, Difference]:
    """Compile the training steps of a potential, and compare them with its own.

    Energies and forces are traced into one graph, the derivative included, with the parameters as inputs;
    ``torch.compile`` makes a forward and a backward pass of that, so that the gradient of a loss on forces is
    an ordinary first derivative of compiled code.

    Args:
        task: whose model it is; the potential is used as it stands, on its device.
        example: a batch of usual size, there too.
        backend: as ``compile_graph`` takes it.

    Raises:
        CompilationError: the example is too small, or the model cannot be traced for every size.
    """
    model, forces = task.model, task.loss.forces > 0
    stress = task.loss.stress > 0 and example.get("cell") is not None
    tensors = read_tensors(model, example)
    state = dict(model.named_parameters()) | dict(model.named_buffers())

    def predict(values: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        data = Data(**{key: tensor for key, tensor in batch.items() if key != SLOTS})
        if SLOTS in batch:
            data.largest = batch[SLOTS].shape[0]
        options = {"forces": forces, "stress": stress, "create_graph": True}
        found = torch.func.functional_call(model, dict(values), (data,), options)
        optional = (found.forces, found.stress)
        return (found.energy, found.atomic_energies, *(each for each in optional if each is not None))

    def near_one(outputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Without the large constants of the elements, in units of the potential's scale."""
        found = _prediction(outputs, forces, stress)
        energy, atomic = found.energy, found.atomic_energies
        constants = model.references[model.type_of[example.z]]
        of_structures = torch.zeros_like(energy).index_add(0, example.batch, constants)
        network = torch.cat([atomic - constants, energy - of_structures]) / model.scale
        near = {"energies": network}
        if found.forces is not None:
            near["forces"] = found.forces / model.scale
        if found.stress is not None:
            typical = found.stress.detach().nan_to_num().abs().amax().clamp(min=1e-12)
            near["stress"] = found.stress.nan_to_num() / typical
        return near

    graph = compile_graph(predict, state, tensors, VARYING, backend)
    difference = compare(
        lambda values: near_one(predict(values, tensors)),
        lambda values: near_one(graph(tensors, values)),
        state,
    )
    return CompiledPotential(model, graph, forces=forces, stress=stress), difference


def read_tensors(model: Potential, batch: Data) -> dict[str, Tensor]:
    """What a potential reads of a batch, by name.

    Args:
        model: the potential.
        batch: as it takes it.
    """
    tensors = {key: batch[key] for key in VARYING if batch.get(key) is not None}
    if model.couples_all_atoms:
        tensors[SLOTS] = batch.pos.new_empty(largest_of(batch))
    return tensors
