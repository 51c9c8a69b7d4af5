"""A model of random, large weights: what it writes depends on every position, and is of every kind."""

import pytest
import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.loading import save_trained
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer

SYMBOLS = (
    "[C] [=C] [N] [=N] [O] [=O] [F] [S] [NH1] [Ring1] [Ring2] [Branch1] [=Branch1] [Branch2] [#C] [=N+1] ."
)


@pytest.fixture(scope="session")
def tokenizer():
    return SelfiesTokenizer.from_symbols(SYMBOLS.split(), stereo=False)


@pytest.fixture(scope="session")
def folder(tmp_path_factory, tokenizer):
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("generation") / "model"
    config = ChemGPTConfig(tokenizer.vocab_size, 16, 2, 2, max_positions=64, initializer_range=0.3)
    save_trained(ChemGPT(config), tokenizer, made, name="random", block=64)
    return made
