"""Compiled training steps of language models: one graph for packed batches of one length."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from chemscale.models.layers.opaque import OpaqueDocuments
from chemscale.molecules.batches import PackedBatch
from chemscale.tasks.language_model import LanguageModel
from chemscale.training.compilation.adoption import adopt
from chemscale.training.compilation.comparison import Difference, compare
from chemscale.training.compilation.graph import CompiledGraph, compile_graph
from chemscale.training.distributed.control import Control

DOCUMENTS = 64
"""Offsets come in multiples of this many: kernels, and CUDA graphs, see few numbers of documents."""
VARYING = {"offsets": (0,)}


class CompiledLanguageModel:
    """Negative log-likelihoods as ``LanguageModel.nll`` gives them, through one compiled graph.

    Training batches are filled to one length (``MoleculeDataModule.filled``), and attention is one operation
    whose shapes do not depend on the molecules (``models.layers.opaque``), so that a single graph, made at
    the first batch, serves the whole run. A batch of another length is computed by the model itself.

    Args:
        task: whose model it is; it is used as it stands, on its device.
        example: a filled batch, the first of the run wherever it goes on.
        longest: tokens of the longest molecule of the run.
        precision: ``trainer.precision``.
        control: how the ranks of the point agree.
        backend: of ``torch.compile``.
        cuda_graph: whether a GPU replays the step as one CUDA graph.
    """

    def __init__(
        self,
        task: LanguageModel,
        example: PackedBatch,
        longest: int,
        precision: str,
        control: Control,
        backend: str = "inductor",
        *,
        cuda_graph: bool = False,
    ):
        self.model, self.longest = task.model, longest
        self.precision, self.control, self.backend = precision, control, backend
        self.length, self.cuda_graph = example.tokens.numel(), cuda_graph
        self._example: PackedBatch | None = example
        self._graph: CompiledGraph | None = None

    def __call__(self, batch: PackedBatch) -> Tensor:
        """(T,) negative log-likelihood of each target, in nats, float32; 0 where it is ignored."""
        if self._example is not None:
            example, self._example = self._example.to(batch.tokens.device), None
            self._graph = adopt(lambda: self._compile(example), self.precision, self.control)
        if self._graph is not None and batch.tokens.numel() == self.length:
            if self.cuda_graph:
                torch.compiler.cudagraph_mark_step_begin()
            return self._graph(self._read(batch))[0]
        return LanguageModel.nll_of(
            self.model(batch.tokens, batch.positions, batch.documents), batch.targets
        )

    def _compile(self, example: PackedBatch) -> tuple[CompiledGraph, Difference]:
        tensors = self._read(example)
        state = dict(self.model.named_parameters())
        graph = compile_graph(
            self._nll, state, tensors, VARYING, self.backend, cuda_graph=self.cuda_graph
        )

        def reference(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            given = (example.tokens, example.positions, example.documents)
            logits = torch.func.functional_call(self.model, dict(values), given)
            return {"losses": LanguageModel.nll_of(logits, example.targets)}

        def candidate(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {"losses": graph(tensors, values)[0]}

        return graph, compare(reference, candidate, state)

    def _read(self, batch: PackedBatch) -> dict[str, Tensor]:
        """What the graph takes of a batch, by name."""
        offsets = batch.documents.offsets
        if self.on_host:
            offsets = offsets.cpu()
        missing = -len(offsets) % DOCUMENTS
        return {
            "tokens": batch.tokens,
            "positions": batch.positions,
            "targets": batch.targets,
            "offsets": F.pad(offsets, (0, missing), value=self.length),
        }

    @property
    def on_host(self) -> bool:
        """Whether attention reads the offsets on the host: without the kernel for GPUs, which is of half precision."""
        return self.precision in ("32", "tf32")

    def _nll(self, state: dict[str, Tensor], tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """What is traced."""
        documents = OpaqueDocuments(tensors["offsets"], self.longest)
        logits = torch.func.functional_call(
            self.model, state, (tensors["tokens"], tensors["positions"], documents)
        )
        return (LanguageModel.nll_of(logits, tensors["targets"]),)
