"""Started on the CUDA device that is not there: what a compiled ChemGPT is traced to for a GPU, as JSON."""

import json
import sys
from collections import Counter
from unittest import mock

import torch
from torch._functorch.aot_autograd import aot_export_joint_simple

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.kernels.opaque import OpaqueDocuments
from chemscale.tasks.language_model import LanguageModel
from chemscale.testing.fake_cuda.pretence import cuda_is_there
from chemscale.training.compilation import tracing

LAYERS, TOKENS, OFFSETS = 2, 512, 64


def on_cuda(mode, tensor, varying=()):
    """A fake tensor of the device, of the shape of a real one."""
    with mode:
        like = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
        return like.requires_grad_(tensor.requires_grad)


def traced(model):
    """Operations of the forward graph, and of that with the backward pass."""

    def losses(values, batch):
        documents = OpaqueDocuments(batch["offsets"], 60)
        given = (batch["tokens"], batch["positions"], documents)
        logits = torch.func.functional_call(model, dict(values), given)
        return (LanguageModel.nll_of(logits, batch["targets"]),)

    ids = torch.zeros(TOKENS, dtype=torch.int64)
    batch = {"tokens": ids, "positions": ids, "targets": ids, "offsets": torch.zeros(OFFSETS).int()}
    waits = []
    with (
        cuda_is_there(waits.append),
        mock.patch.object(tracing, "_fake", on_cuda),
        torch.autocast("cuda", torch.bfloat16, cache_enabled=False),
    ):
        graph, _ = tracing.trace(losses, dict(model.named_parameters()), batch, {})
        given = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
        with given[0].fake_mode:
            fresh = tuple(torch.empty_like(x).requires_grad_(x.is_floating_point()) for x in given)
            joint = aot_export_joint_simple(graph, fresh, trace_joint=True)
    return graph, joint, waits


def main():
    graph, joint, waits = traced(ChemGPT(ChemGPTConfig(50, 64, LAYERS, 16)))
    values = [node.meta.get("val") for node in graph.graph.nodes]
    elsewhere = [str(v.device) for v in values if isinstance(v, torch.Tensor) and v.device.type != "cuda"]
    calls = Counter(str(node.target) for node in joint.graph.nodes if node.op == "call_function")
    with open(sys.argv[1], "w") as file:
        json.dump({"calls": calls, "elsewhere": elsewhere, "waits": waits}, file)


if __name__ == "__main__":
    main()
