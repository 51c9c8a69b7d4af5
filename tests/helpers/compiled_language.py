"""A small language model and its batches, for tests of compiled steps."""

from contextlib import nullcontext

import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.data_module import BatchShape, MoleculeDataModule
from chemscale.tasks.language_model import LanguageModel
from chemscale.tasks.optimisation import AdamW, Schedule


def autocast(precision, device="cpu"):
    return nullcontext() if precision == "32" else torch.autocast(device, torch.bfloat16)


def data_of(corpus, *, filled, tokens=512, accumulate=1):
    data = MoleculeDataModule(corpus, BatchShape(tokens, 256, accumulate), seed=0)
    data.filled = filled
    return data


def task_of(corpus, width=16, layers=2, heads=4, window=24):
    torch.manual_seed(0)
    vocabulary = corpus.tokenizer.vocab_size
    config = ChemGPTConfig(vocabulary, width, layers, heads, window, initializer_range=0.1)
    return LanguageModel(ChemGPT(config), AdamW(1e-3), Schedule(), 10)


def loss_and_gradients(nll, batch, task, precision="32"):
    with autocast(precision, task.device.type):
        loss = nll(batch).sum() / batch.size
    return [loss.detach(), *torch.autograd.grad(loss, list(task.model.parameters()))]


def gap(found, expected):
    """Largest relative difference, by tensor."""
    return max(
        float((a - b).norm() / b.norm().clamp(min=1e-30)) for a, b in zip(found, expected, strict=True)
    )
