"""A small ChemGPT with random weights that matter, and a window that sequences leave."""

import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig

SHAPE = ChemGPTConfig(23, 16, layers=2, heads=4, window=8, max_positions=20, initializer_range=0.3)


def model_of(shape):
    """Weights large enough that attention matters, biases and norms that are not what they begin with."""
    torch.manual_seed(0)
    model = ChemGPT(shape).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def tokens_of(shape, length):
    """Ids of three sequences."""
    return torch.randint(shape.vocab_size, (3, length), generator=torch.Generator().manual_seed(1))
