"""A language model that was never trained, to be steered: quick to make, and its molecules are small."""

from pathlib import Path

import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.loading import save_trained
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer

SYMBOLS = ["[C]", "[=C]", "[N]", "[O]", "[F]", "[=O]", "[Ring1]", "[Branch1]"]


def write_prior(folder: Path, symbols: list[str] = SYMBOLS, seed: int = 0) -> Path:
    """A model folder of random weights."""
    torch.manual_seed(seed)
    tokenizer = SelfiesTokenizer.from_symbols(symbols, stereo=False)
    config = ChemGPTConfig(tokenizer.vocab_size, 16, 2, 2, max_positions=64, initializer_range=0.3)
    save_trained(ChemGPT(config), tokenizer, folder, name="random", block=64)
    return folder
