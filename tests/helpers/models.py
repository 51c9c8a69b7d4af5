"""Folders of small language models with random weights, large enough that every position matters."""

import selfies
import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.loading import save_trained
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer


def save_random_model(folder, smiles, *, stereo=True, layers=2, block=64, positions=96):
    """A model of width 16 whose vocabulary is that of the molecules."""
    symbols = {symbol for text in smiles for symbol in selfies.split_selfies(selfies.encoder(text))}
    tokenizer = SelfiesTokenizer.from_symbols(symbols, stereo=stereo)
    torch.manual_seed(0)
    config = ChemGPTConfig(
        tokenizer.vocab_size, 16, layers, 2, max_positions=positions, initializer_range=0.5
    )
    save_trained(ChemGPT(config), tokenizer, folder, name="random", block=block)
    return folder
