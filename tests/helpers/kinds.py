"""A small model folder of each kind that there is, with random weights: quick, and the verbs do not care."""

from pathlib import Path

import torch

from chemscale.models.adaptation.adaptation import Adaptation
from chemscale.models.adaptation.chemgpt import chemgpt_groups
from chemscale.models.adaptation.lora import Lora, merged
from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.loading import load_trained, save_trained
from chemscale.molecules.tokenizers.conditioned import ConditionedTokenizer, Conditions, ValueCondition
from chemscale.molecules.tokenizers.opening import tokenizer_of
from chemscale.points.trained.export import export
from tests.helpers.published import published_like
from tests.helpers.published_models import downloaded

KINDS = ("selfies", "smiles", "conditioned", "published", "lora")
SELFIES = ["[C]", "[=C]", "[N]", "[O]", "[=O]", "[Ring1]", "[Branch1]", "[=Branch1]", "[Ring2]"]
LOGP = ValueCondition("logP", (0.0, 1.0), -2.0, 4.0, False)


def write_kind(kind: str, folder: Path) -> Path:
    """A folder that every verb opens.

    Args:
        kind: one of ``KINDS``.
        folder: to write into.
    """
    if kind == "published":
        downloaded(folder / "download", published_like("1"))
        export(from_hf=folder / "download", to=folder / kind, rows="keep", check=False)
    elif kind == "lora":
        _write_lora(write_kind("selfies", folder), folder / kind)
    else:
        symbols, notation = (["C", "O", "N"], "smiles") if kind == "smiles" else (SELFIES, "selfies")
        tokenizer = tokenizer_of(symbols, notation, stereo=False)
        if kind == "conditioned":
            tokenizer = ConditionedTokenizer(tokenizer, Conditions((LOGP,), True))
        torch.manual_seed(0)
        shape = ChemGPTConfig(tokenizer.vocab_size, 16, 2, 2, max_positions=64, initializer_range=0.3)
        save_trained(ChemGPT(shape), tokenizer, folder / kind, name=kind, block=64)
    return folder / kind


def _write_lora(parent: Path, folder: Path) -> None:
    """What fine-tuning by adapters leaves: they are merged into the weights."""
    model, tokenizer = load_trained(parent, "cpu")
    torch.manual_seed(1)
    tuned = Adaptation(lora=Lora(2, 4.0)).apply(model, chemgpt_groups(model.config))
    for name, weight in tuned.named_parameters():
        if "lora_" in name:
            weight.data = 0.3 * torch.randn_like(weight)
    save_trained(merged(tuned), tokenizer, folder, name="lora", block=64)
