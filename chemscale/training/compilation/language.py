"""Compiled training steps of language models: one graph for packed batches of one length."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.exc import RecompileError

from chemscale.models.chemgpt import ChemGPT
from chemscale.models.kernels.opaque import OpaqueDocuments
from chemscale.models.kernels.varlen import takes_heads
from chemscale.molecules.batches import PackedBatch
from chemscale.tasks.language_model import LanguageModel
from chemscale.training.compilation.comparison import Difference, compare
from chemscale.training.compilation.graph import CompiledGraph, compile_graph, warn_once

DOCUMENTS = 64
"""Offsets come in multiples of this many: kernels, and CUDA graphs, see few numbers of documents."""
VARYING = {"offsets": (0,)}


class CompiledLanguageModel:
    """Negative log-likelihoods as ``LanguageModel.nll`` gives them, through one compiled graph.

    Training batches are filled to one length (``MoleculeDataModule.filled``), and attention is one operation
    whose shapes do not depend on the molecules (``models.kernels.opaque``), so that a single graph serves the
    whole run. A batch of another length, or one that the graph refuses, is computed by the model itself.

    Args:
        model: the language model.
        graph: compiled of it.
        length: T, tokens of the batches that the graph is for.
        on_host: whether attention reads the offsets there, as ``reads_on_host``.
        cuda_graph: whether a GPU replays the graph.
    """

    def __init__(self, model: ChemGPT, graph: CompiledGraph, *, length: int, on_host: bool, cuda_graph: bool):
        self.model, self.graph, self.length = model, graph, length
        self.on_host, self.cuda_graph = on_host, cuda_graph

    def __call__(self, batch: PackedBatch) -> Tensor:
        """(T,) negative log-likelihood of each target, in nats, float32; 0 where it is ignored."""
        if batch.tokens.numel() == self.length:
            if self.cuda_graph:
                torch.compiler.cudagraph_mark_step_begin()
            try:
                return self.graph(read_tensors(batch, on_host=self.on_host))[0]
            except RecompileError as error:
                warn_once(error)
        logits = self.model(batch.tokens, batch.positions, batch.documents)
        return LanguageModel.nll_of(logits, batch.targets)


def compile_language_model(
    task: LanguageModel,
    example: PackedBatch,
    longest: int,
    backend: str = "inductor",
    *,
    cuda_graph: bool = False,
) -> tuple[CompiledLanguageModel, Difference]:
    """Compile the forward and backward pass of a language model, losses included, and compare with its own.

    Args:
        task: whose model it is; it is used as it stands, on its device, under the autocast of the caller.
        example: a filled batch, there too.
        longest: tokens of the longest molecule of the run.
        backend: as ``compile_graph`` takes it.
        cuda_graph: whether a GPU replays the graph, if nothing in it is done by the host.

    Raises:
        CompilationError: the model cannot be traced.
    """
    model = task.model
    on_host = reads_on_host(model, example.tokens.device)
    cuda_graph = cuda_graph and not on_host
    tensors = read_tensors(example, on_host=on_host)
    state = dict(model.named_parameters())

    def losses(values: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        documents = OpaqueDocuments(batch["offsets"], longest)
        given = (batch["tokens"], batch["positions"], documents)
        logits = torch.func.functional_call(model, dict(values), given)
        return (LanguageModel.nll_of(logits, batch["targets"]),)

    def reference(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        given = (example.tokens, example.positions, example.documents)
        logits = torch.func.functional_call(model, dict(values), given)
        return {"losses": LanguageModel.nll_of(logits, example.targets)}

    graph = compile_graph(losses, state, tensors, VARYING, backend, cuda_graph=cuda_graph)
    difference = compare(reference, lambda values: {"losses": graph(tensors, values)[0]}, state)
    length = example.tokens.numel()
    return CompiledLanguageModel(
        model, graph, length=length, on_host=on_host, cuda_graph=cuda_graph
    ), difference


def reads_on_host(model: ChemGPT, device: torch.device) -> bool:
    """Whether attention reads where molecules begin on the host: everywhere but in the kernel of GPUs.

    Args:
        model: under the autocast that it is trained with.
        device: where it is trained.
    """
    half = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if half else model.token_embedding.weight.dtype
    return not takes_heads(model.config.width // model.config.heads, dtype, device)


def read_tensors(batch: PackedBatch, *, on_host: bool) -> dict[str, Tensor]:
    """What a graph takes of a batch, by name; offsets for documents that are not there are T.

    Args:
        batch: of molecules.
        on_host: whether the offsets are wanted there.
    """
    offsets = batch.documents.offsets_on_host if on_host else batch.documents.offsets
    missing = -len(offsets) % DOCUMENTS
    return {
        "tokens": batch.tokens,
        "positions": batch.positions,
        "targets": batch.targets,
        "offsets": F.pad(offsets, (0, missing), value=batch.tokens.numel()),
    }
