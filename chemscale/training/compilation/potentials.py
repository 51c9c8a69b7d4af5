"""Compiled training steps of interatomic potentials: energies, forces, and the gradient of a loss on both."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping

import torch
from torch import Tensor
from torch._dynamo.exc import RecompileError
from torch_geometric.data import Data

from chemscale.models.potential import Potential, Prediction, largest_of
from chemscale.tasks.potential import InteratomicPotential
from chemscale.training.compilation.adoption import adopt
from chemscale.training.compilation.comparison import Difference, compare
from chemscale.training.compilation.graph import CompiledGraph, compile_graph
from chemscale.training.distributed.control import Control

log = logging.getLogger(__name__)

VARYING = {
    "z": (0,),
    "pos": (0,),
    "edge_index": (1,),
    "batch": (0,),
    "ptr": (0,),
    "charge": (0,),
    "spin": (0,),
    "cell": (0,),
    "edge_shift": (0,),
    "slots": (0,),
}
"""What a potential reads of a batch, and which dimensions differ from batch to batch.

``slots`` (n,) stands for the number of atoms of the largest structure.
"""


class CompiledPotential:
    """Predicts as the potential of a task does, through one compiled graph for batches of every size.

    Energies and forces are traced into one graph, the derivative included, with the parameters as inputs;
    ``torch.compile`` makes a forward and a backward pass of that, so that the gradient of a loss on forces is
    an ordinary first derivative of compiled code. The graph is made at the first batch it is called with,
    from the sizes of `example`: the same at every start of a run, so that one which is resumed computes the
    same to the bit. A batch that the graph does not hold for (a single structure, no edge, crystals where
    `example` has none) is predicted by the model itself.

    Args:
        task: whose model it is; the potential is used as it stands, on its device.
        example: a batch of usual size.
        precision: ``trainer.precision``.
        control: how the ranks of the point agree.
        backend: of ``torch.compile``.
    """

    def __init__(
        self,
        task: InteratomicPotential,
        example: Data,
        precision: str,
        control: Control,
        backend: str = "inductor",
    ):
        self.model: Potential = task.model
        self.forces = task.loss.forces > 0
        self.precision, self.control, self.backend = precision, control, backend
        self._example: Data | None = example
        self._graph: CompiledGraph | None = None

    def __call__(self, batch: Data) -> Prediction:
        """Predict a batch as ``Potential.forward`` does.

        Args:
            batch: as it takes it.
        """
        if self._example is not None:
            example, self._example = self._example.to(batch.pos.device), None
            self._graph = adopt(lambda: self._compile(example), self.precision, self.control)
        if self._graph is not None and self._graph.takes(tensors := self._read(batch)):
            try:
                return Prediction(*self._graph(tensors))
            except RecompileError as error:  # sizes of another kind, such as sums beyond 2³¹ numbers
                warn_once(str(error).strip().splitlines()[0])
        return self.model(batch, forces=self.forces)

    def _compile(self, example: Data) -> tuple[CompiledGraph, Difference]:
        tensors = self._read(example)
        state = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        graph = compile_graph(self._predict, state, tensors, VARYING, self.backend)

        def reference(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return self._near_one(self._predict(dict(values), tensors), example)

        def candidate(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return self._near_one(graph(tensors, values), example)

        return graph, compare(reference, candidate, state)

    def _read(self, batch: Data) -> dict[str, Tensor]:
        """What the potential reads of a batch, by name."""
        tensors = {key: batch[key] for key in VARYING if batch.get(key) is not None}
        if self.model.couples_all_atoms:
            tensors["slots"] = batch.pos.new_empty(largest_of(batch))
        return tensors

    def _predict(self, state: dict[str, Tensor], tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """What is traced."""
        data = Data(**{key: tensor for key, tensor in tensors.items() if key != "slots"})
        if "slots" in tensors:
            data.largest = tensors["slots"].shape[0]
        options = {"forces": self.forces, "create_graph": True}
        found = torch.func.functional_call(self.model, state, (data,), options)
        outputs = (found.energy, found.atomic_energies)
        return outputs if found.forces is None else (*outputs, found.forces)

    def _near_one(self, found: tuple[Tensor, ...], batch: Data) -> dict[str, Tensor]:
        """Outputs without the large constant of the elements, in units of the potential's scale."""
        _, atomic, *forces = found
        network = (atomic - self.model.references[self.model.type_of[batch.z]]) / self.model.scale
        return {"energies": network, **({"forces": forces[0] / self.model.scale} if forces else {})}


@functools.cache
def warn_once(problem: str) -> None:
    """Say that a batch was not for the compiled code; a problem that was told is not told again."""
    log.warning("A batch was computed by the model itself, not by compiled code: %s", problem)
